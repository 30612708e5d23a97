"""Samplers: equal to k-diffusion called directly, to diffusers' DDIM, and independent of the batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion, samplers, schedules
from lib_rankopt.diffusion.denoiser import (
    CFGDenoiser,
    Conditioning,
    Denoiser,
    LCMDenoiser,
    LCMSchedule,
    NoiseSchedule,
)
from lib_rankopt.diffusion.extra_samplers import ddim_timesteps
from lib_rankopt.diffusion.noise import ImageNoise, start_noise
from lib_rankopt.diffusion.samplers import Plan, kept_steps, plan, repainting
from lib_rankopt.diffusion.sampling import Step, sample
from lib_rankopt.errors import GenerationError, GenerationInterrupted
from tests.diffusion.test_denoiser import Reference, context, net

SHAPE = (4, 8, 8)
SEEDS = (11, 12, 13, 14)
STEPS = 8
STOCHASTIC = [name for name, s in samplers.SAMPLERS.items() if s.noise != "none" and (s.eta or name == "LCM")]
DETERMINISTIC = [name for name in samplers.NAMES if name not in STOCHASTIC]


def levels_for(name: str, alphas: Tensor) -> NoiseSchedule:
    return LCMSchedule(alphas) if name == "LCM" else NoiseSchedule(alphas)


def guided(
    name: str, alphas: Tensor, predict: Callable[..., Tensor] = net, scale: float = 3.0
) -> CFGDenoiser:
    kind = LCMDenoiser if name == "LCM" else Denoiser
    return CFGDenoiser(kind(predict, levels_for(name, alphas)), context(0.1), context(-0.1), scale)


def run(
    name: str,
    alphas: Tensor,
    seeds: tuple[int, ...] = SEEDS,
    noise: Tensor | None = None,
    eta: float | None = None,
) -> Tensor:
    steps = plan(name, "Automatic", STEPS, levels_for(name, alphas), eta=eta)
    return sample(steps, guided(name, alphas), start_noise(seeds, SHAPE) if noise is None else noise, seeds)


@pytest.mark.parametrize("name", samplers.NAMES)
def test_a_batch_equals_its_images_alone(name: str, alphas: Tensor) -> None:
    batch = run(name, alphas)
    alone = torch.cat([run(name, alphas, (seed,)) for seed in SEEDS])
    torch.testing.assert_close(batch, alone, rtol=1e-4, atol=1e-4)
    assert (batch[0] - batch[1]).abs().max() > 0.1


@pytest.mark.parametrize("name", samplers.NAMES)
def test_the_same_seed_twice_is_bit_identical(name: str, alphas: Tensor) -> None:
    torch.manual_seed(1)
    first = run(name, alphas)
    torch.manual_seed(2)
    assert torch.equal(first, run(name, alphas))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_inside_the_run_comes_from_the_images_seed(name: str, alphas: Tensor) -> None:
    shared = start_noise((5,), SHAPE).expand(2, *SHAPE)
    same, different = (run(name, alphas, seeds, shared) for seeds in ((7, 7), (7, 8)))
    assert torch.equal(same[0], same[1])
    assert (different[0] - different[1]).abs().max() > 1e-2
    torch.testing.assert_close(different[0], same[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_samplers_depend_on_the_latent_only(name: str, alphas: Tensor) -> None:
    shared = start_noise((5,), SHAPE).expand(2, *SHAPE)
    both = run(name, alphas, (7, 8), shared)
    assert torch.equal(both[0], both[1])


def k_diffusion_directly(
    function: str, alphas: Tensor, sigmas: Tensor, noise: Tensor, **arguments: object
) -> Tensor:
    """The reference: k-diffusion's own wrapper and sampler, guidance written out."""
    wrapper = kdiffusion.module("external").CompVisDenoiser(Reference(alphas), quantize=False)

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        cond, uncond = (wrapper(x, sigma, cond=context(v).rows(len(x))) for v in (0.1, -0.1))
        return uncond + 3.0 * (cond - uncond)

    return getattr(kdiffusion.module(), function)(model, noise * sigmas[0], sigmas, disable=True, **arguments)


def test_euler_equals_k_diffusion_called_directly(alphas: Tensor) -> None:
    wrapper = kdiffusion.module("external").CompVisDenoiser(Reference(alphas), quantize=False)
    noise = start_noise(SEEDS, SHAPE)
    expected = k_diffusion_directly("sample_euler", alphas, wrapper.get_sigmas(STEPS), noise)
    torch.testing.assert_close(run("Euler", alphas), expected, rtol=1e-4, atol=1e-4)


def test_dpmpp_2m_on_karras_equals_k_diffusion_called_directly(alphas: Tensor, levels: NoiseSchedule) -> None:
    sigmas = kdiffusion.module().get_sigmas_karras(STEPS, levels.sigma_min, levels.sigma_max)
    expected = k_diffusion_directly("sample_dpmpp_2m", alphas, sigmas, start_noise(SEEDS, SHAPE))
    torch.testing.assert_close(run("DPM++ 2M", alphas), expected, rtol=1e-4, atol=1e-4)


def test_euler_a_draws_as_the_webuis_generators_do(alphas: Tensor) -> None:
    """One torch generator per image: its first draw is the start noise, one more follows per step."""
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]

    def draw(*_: object) -> Tensor:
        return torch.stack([torch.randn(SHAPE, generator=g) for g in generators])

    noise = draw()
    sigmas = (
        kdiffusion.module("external").CompVisDenoiser(Reference(alphas), quantize=False).get_sigmas(STEPS)
    )
    expected = k_diffusion_directly("sample_euler_ancestral", alphas, sigmas, noise, noise_sampler=draw)
    torch.testing.assert_close(run("Euler a", alphas), expected, rtol=1e-4, atol=1e-4)


def test_2m_sde_uses_one_brownian_tree_per_image(alphas: Tensor, levels: NoiseSchedule) -> None:
    k = kdiffusion.module()
    sigmas = k.get_sigmas_exponential(STEPS, levels.sigma_min, levels.sigma_max)
    noise = start_noise(SEEDS, SHAPE)
    tree = k.BrownianTreeNoiseSampler(noise, sigmas[-2], sigmas[0], seed=list(SEEDS))
    expected = k_diffusion_directly("sample_dpmpp_2m_sde", alphas, sigmas, noise, noise_sampler=tree)
    torch.testing.assert_close(run("DPM++ 2M SDE", alphas), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_equals_diffusers_scheduler(eta: float, alphas: Tensor) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    steps = 20
    scheduler.set_timesteps(steps)
    noise = ImageNoise(SEEDS, SHAPE)
    x = noise.next()
    start = x.clone()
    for t in scheduler.timesteps[
        :-1
    ]:  # the webui stops at timestep 1, where the scheduler still takes a step to 0
        cond, uncond = (net(x, t.expand(len(x)), context(v).rows(len(x))) for v in (0.1, -0.1))
        eps = uncond + 3.0 * (cond - uncond)
        x = scheduler.step(eps, int(t), x, eta=eta, variance_noise=noise.next()).prev_sample

    def predict(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        assert torch.equal(t, t.round())
        return net(x, t, cond)

    ours = plan("DDIM", "Automatic", steps, NoiseSchedule(alphas), eta=eta)
    latents = sample(ours, guided("DDIM", alphas, predict), start, SEEDS)
    torch.testing.assert_close(latents, x, rtol=1e-3, atol=1e-3)


def test_ddim_timesteps_are_the_webuis() -> None:
    assert ddim_timesteps(20)[:3] == [1, 51, 101]
    assert ddim_timesteps(20)[-1] == 951
    assert len(ddim_timesteps(30)) == 31  # 1,000 // 30 is 33
    assert ddim_timesteps(1) == [1]


def test_lcm_renoises_its_prediction(alphas: Tensor) -> None:
    clean = torch.full(SHAPE, 0.25)

    class Knows(LCMDenoiser):
        def __call__(self, x: Tensor, sigma: Tensor, cond: Conditioning) -> Tensor:
            return clean.expand_as(x).clone()

    levels = LCMSchedule(alphas)
    seen: list[Tensor] = []
    steps = plan("LCM", "Automatic", 4, levels)
    model = CFGDenoiser(Knows(net, levels), context(), context(), 1.0)
    latents = sample(steps, model, start_noise((3,), SHAPE), (3,), lambda step: seen.append(step.x))
    noise = ImageNoise((3,), SHAPE)
    noise.next()
    assert torch.equal(latents[0], clean)
    for x, sigma in zip(seen[1:], steps.sigmas[1:], strict=False):
        torch.testing.assert_close(x, clean + sigma * noise.next())


@pytest.mark.parametrize("name", samplers.NAMES)
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_every_planned_step_is_reported_once(name: str, steps: int, alphas: Tensor) -> None:
    seen: list[Step] = []
    steps = max(steps, samplers.SAMPLERS[name].min_steps)
    ours = plan(name, "Automatic", steps, levels_for(name, alphas))
    sample(ours, guided(name, alphas), start_noise((1,), SHAPE), (1,), seen.append)
    assert [s.index for s in seen] == list(range(ours.steps))
    assert {s.steps for s in seen} == {ours.steps}
    assert all(s.denoised.shape == (1, *SHAPE) for s in seen)
    levels = [s.sigma for s in seen]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("name", samplers.NAMES)
@pytest.mark.parametrize("scheduler", schedules.NAMES)
def test_every_sampler_runs_on_every_schedule(name: str, scheduler: str, alphas: Tensor) -> None:
    ours = plan(name, scheduler, 6, levels_for(name, alphas))
    latents = sample(ours, guided(name, alphas), start_noise((1,), SHAPE), (1,))
    assert latents.shape == (1, *SHAPE)
    assert latents.std() > 0.01


@pytest.mark.parametrize("name", ["DPM2", "DPM2 a", "DPM++ 3M SDE"])
def test_the_penultimate_level_is_dropped(name: str, levels: NoiseSchedule) -> None:
    ours = plan(name, "Karras", 10, levels)
    whole = kdiffusion.module().get_sigmas_karras(11, levels.sigma_min, levels.sigma_max)
    torch.testing.assert_close(ours.sigmas, torch.cat([whole[:10], torch.zeros(1)]))


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("DPM++ 2M", "Karras"), ("DPM++ 2M SDE", "Exponential"), ("Euler a", "Automatic"), ("LMS", "Automatic")],
)
def test_automatic_is_what_the_webui_takes(name: str, scheduler: str, levels: NoiseSchedule) -> None:
    assert plan(name, "Automatic", 10, levels).scheduler == scheduler
    assert plan(name, "Simple", 10, levels).scheduler == "Simple"


def test_eta_changes_only_samplers_that_have_one(alphas: Tensor) -> None:
    for name in ("Euler a", "DDIM", "DPM++ 2M SDE"):
        assert not torch.equal(run(name, alphas, eta=0.5), run(name, alphas))
    assert torch.equal(run("DPM++ 2M", alphas, eta=0.5), run("DPM++ 2M", alphas))


def test_an_euler_a_without_noise_is_euler(alphas: Tensor) -> None:
    torch.testing.assert_close(run("Euler a", alphas, eta=0.0), run("Euler", alphas), rtol=1e-4, atol=1e-4)


def test_noise_that_is_finite_but_explodes_is_an_error(alphas: Tensor) -> None:
    def broken(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        return torch.where(t[:, None, None, None] < 500, torch.nan, x)

    ours = plan("Euler", "Automatic", STEPS, NoiseSchedule(alphas))
    with pytest.raises(GenerationError, match=r"not-a-number.*step \d of 8"):
        sample(ours, guided("Euler", alphas, broken), start_noise(SEEDS, SHAPE), SEEDS)


def test_a_step_may_stop_the_run(alphas: Tensor) -> None:
    def stop(step: Step) -> None:
        if step.index == 2:
            raise GenerationInterrupted("enough")

    ours: Plan = plan("DPM++ SDE", "Automatic", STEPS, NoiseSchedule(alphas))
    with pytest.raises(GenerationInterrupted):
        sample(ours, guided("DPM++ SDE", alphas), start_noise(SEEDS, SHAPE), SEEDS, stop)


@pytest.mark.parametrize("name", ["Euler a", "DPM2 a", "DPM++ 2S a", "DPM++ SDE", "LCM", "DDIM"])
def test_replacing_rows_in_place_moves_the_lineage(name: str, alphas: Tensor) -> None:
    """Slot 0 goes on from slot 1, and ends where a run does that began there with slot 0's noise."""
    ours = plan(name, "Automatic", STEPS, levels_for(name, alphas), eta=1.0)
    noise = start_noise((1, 2), SHAPE)

    def take_over(step: Step) -> None:
        if step.index == 0:
            step.x[0], step.denoised[0] = step.x[1], step.denoised[1]

    moved = sample(ours, guided(name, alphas), noise, (7, 8), take_over)
    reference = sample(ours, guided(name, alphas), noise[[1, 1]], (7, 8))
    torch.testing.assert_close(moved, reference, rtol=0, atol=0)


def test_start_noise_is_the_webuis_cpu_noise() -> None:
    torch.manual_seed(1234)
    expected = torch.randn(SHAPE)
    assert torch.equal(start_noise((1234,), SHAPE)[0], expected)
    assert start_noise((), SHAPE).shape == (0, *SHAPE)


def test_plan_scales_the_start_as_each_family_of_samplers_needs(levels: NoiseSchedule) -> None:
    assert plan("Euler", "Automatic", 10, levels).start_scale == pytest.approx(levels.sigma_max)
    ddim = plan("DDIM", "Automatic", 10, levels)
    assert ddim.start_scale == pytest.approx(math.sqrt(1 + float(ddim.sigmas[0]) ** 2))


@pytest.mark.parametrize("name", samplers.NAMES)
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_repainting_makes_the_last_steps_on_the_image(name: str, strength: float, alphas: Tensor) -> None:
    levels = levels_for(name, alphas)
    ours = repainting(plan(name, "Automatic", 10, levels), 10, strength, levels)
    start, seen = torch.full(SHAPE, 0.5), []  # type: ignore[var-annotated]
    sample(ours, guided(name, alphas), start_noise((1,), SHAPE), (1,), seen.append, start=start)
    assert [s.index for s in seen] == list(range(ours.steps))
    assert ours.start_scale == pytest.approx(seen[0].sigma, rel=1e-4)
    if name != "DPM fast":
        assert ours.steps == min(kept_steps(10, strength), 9 if name == "DDIM" else 10)


@pytest.mark.parametrize(("steps", "strength", "expected"), [(20, 0.75, 16), (20, 1.0, 20), (20, 0.01, 1), (30, 0.5, 16), (7, 0.999, 7)])
def test_kept_steps_are_the_webuis(steps: int, strength: float, expected: int) -> None:
    t_enc = int(min(strength, 0.999) * steps)  # its setup_img2img_steps, and it slices the levels at steps - t_enc - 1
    assert kept_steps(steps, strength) == expected == len(range(steps + 1)[steps - t_enc - 1 :]) - 1


def test_repainting_with_euler_equals_k_diffusion_called_directly(alphas: Tensor, levels: NoiseSchedule) -> None:
    sigmas = kdiffusion.module("external").CompVisDenoiser(Reference(alphas), quantize=False).get_sigmas(STEPS)[STEPS - 5 :]
    start, noise = torch.linspace(-1, 1, 256).reshape(SHAPE), start_noise(SEEDS, SHAPE)
    expected = k_diffusion_directly("sample_euler", alphas, sigmas, noise + start / sigmas[0])
    ours = repainting(plan("Euler", "Automatic", STEPS, levels), STEPS, 0.5, levels)
    found = sample(ours, guided("Euler", alphas), noise, SEEDS, start=start)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
