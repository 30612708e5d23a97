"""The denoiser against k-diffusion's own wrappers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.diffusion.denoiser import (
    CFGDenoiser,
    Conditioning,
    Denoiser,
    LCMDenoiser,
    LCMSchedule,
    NoiseSchedule,
)
from lib_rankopt.errors import ModelError

SIGMAS = torch.tensor([0.0292, 0.05, 0.333, 1.0, 4.7, 14.6])


def net(x: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
    """A smooth stand-in for a UNet that depends on everything it is given."""
    shift = 0.0 if cond is None else cond.context.mean(dim=(1, 2))[:, None, None, None]
    return torch.tanh(x * 0.7 + t[:, None, None, None].float() / 500) + shift


class Reference:
    """What k-diffusion's CompVis wrappers expect of a model."""

    def __init__(self, alphas: Tensor) -> None:
        self.alphas_cumprod = alphas

    def apply_model(self, x: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        return net(x, t, cond)


def context(value: float = 0.0) -> Conditioning:
    return Conditioning(torch.full((1, 77, 4), value))


def noisy(n: int) -> Tensor:
    return torch.randn((n, 4, 8, 8), generator=torch.Generator().manual_seed(1)) * 5


@pytest.mark.parametrize(
    ("kind", "wrapper"), [("epsilon", "CompVisDenoiser"), ("v_prediction", "CompVisVDenoiser")]
)
def test_equals_k_diffusions_wrapper(kind: str, wrapper: str, alphas: Tensor, levels: NoiseSchedule) -> None:
    reference = getattr(kdiffusion.module("external"), wrapper)(Reference(alphas), quantize=False)
    x = noisy(len(SIGMAS))
    ours = Denoiser(net, levels, kind)(x, SIGMAS, context())
    torch.testing.assert_close(ours, reference(x, SIGMAS, cond=context()), rtol=1e-5, atol=1e-5)


def test_timesteps_and_levels_equal_k_diffusions(alphas: Tensor, levels: NoiseSchedule) -> None:
    reference = kdiffusion.module("external").CompVisDenoiser(Reference(alphas), quantize=False)
    everything = torch.cat([torch.logspace(-3, 2, 200), levels.sigmas])
    torch.testing.assert_close(
        levels.sigma_to_t(everything), reference.sigma_to_t(everything), rtol=0, atol=2e-3
    )
    t = torch.linspace(0, 999, 333)
    torch.testing.assert_close(levels.t_to_sigma(t), reference.t_to_sigma(t))
    torch.testing.assert_close(levels.uniform_sigmas(17), reference.get_sigmas(17))


def test_the_table_holds_sd1s_published_range(levels: NoiseSchedule) -> None:
    assert levels.sigma_min == pytest.approx(0.0292, abs=1e-4)
    assert levels.sigma_max == pytest.approx(14.6146, abs=1e-3)
    assert torch.equal(levels.sigma_to_t(levels.sigmas).round().long(), torch.arange(1000))


def test_levels_outside_the_table_are_clamped(levels: NoiseSchedule) -> None:
    assert levels.sigma_to_t(torch.tensor([1e-4, 1e3])).tolist() == [0.0, 999.0]


def test_on_mps_the_table_is_searched_on_the_cpu(
    levels: NoiseSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch 2.1 has no searchsorted there; tensors that only say they are on MPS stand in for the device."""

    class OnMps(Tensor):
        device = torch.device("mps")

    def to(tensor: Tensor, target: torch.device) -> Tensor:
        return tensor.as_subclass(OnMps if target.type == "mps" else Tensor)

    def searchsorted(table: Tensor, values: Tensor, **options: bool) -> Tensor:
        assert not isinstance(table, OnMps)
        assert not isinstance(values, OnMps)
        return real(table, values, **options)

    real, expected = torch.searchsorted, levels.sigma_to_t(SIGMAS)
    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(torch, "searchsorted", searchsorted)
    found = levels.sigma_to_t(SIGMAS.as_subclass(OnMps))
    assert isinstance(found, OnMps)
    assert torch.equal(found.as_subclass(Tensor), expected)


def test_guidance_combines_both_prompts(levels: NoiseSchedule) -> None:
    denoiser = Denoiser(net, levels)
    x, sigma = noisy(3), torch.full((3,), 2.0)
    cond, uncond = denoiser(x, sigma, context(0.5).rows(3)), denoiser(x, sigma, context(-0.2).rows(3))
    guided = CFGDenoiser(denoiser, context(0.5), context(-0.2), 4.0)(x, sigma)
    torch.testing.assert_close(guided, uncond + 4.0 * (cond - uncond))


def test_guidance_of_one_skips_the_negative_prompt(levels: NoiseSchedule) -> None:
    seen: list[int] = []

    def counted(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        seen.append(len(x))
        return net(x, t, cond)

    x, sigma = noisy(3), torch.full((3,), 2.0)
    for scale in (1.0, 2.0):
        CFGDenoiser(Denoiser(counted, levels), context(0.5), context(-0.2), scale)(x, sigma)
    assert seen == [3, 6]


def test_joined_conditioning_keeps_every_part() -> None:
    first = Conditioning(torch.zeros(1, 77, 4), torch.zeros(1, 5), torch.zeros(1, 6))
    second = Conditioning(torch.ones(1, 77, 4), torch.ones(1, 5), torch.ones(1, 6))
    joined = first.rows(2).joined(second.rows(2))
    assert joined.pooled is not None
    assert joined.time_ids is not None
    for part in (joined.context.mean(dim=(1, 2)), joined.pooled.mean(dim=1), joined.time_ids.mean(dim=1)):
        assert part.tolist() == [0, 0, 1, 1]


def test_lcm_levels_are_every_twentieth_from_the_last(alphas: Tensor, levels: NoiseSchedule) -> None:
    lcm = LCMSchedule(alphas)
    assert len(lcm.sigmas) == 50
    assert lcm.sigma_to_t(lcm.sigmas).tolist() == list(range(19, 1000, 20))
    assert lcm.sigma_max == levels.sigma_max
    torch.testing.assert_close(lcm.t_to_sigma(torch.tensor([19.0, 999.0])), lcm.sigmas[[0, -1]])


def test_lcm_takes_every_level_of_a_short_table() -> None:
    assert len(LCMSchedule(torch.linspace(0.9, 0.1, 30)).sigmas) == 30


def test_lcm_boundary_condition_fades_the_input_out(alphas: Tensor) -> None:
    levels = LCMSchedule(alphas)
    x, sigma = noisy(1), levels.sigmas[:1]
    plain, bounded = Denoiser(net, levels)(x, sigma, context()), LCMDenoiser(net, levels)(x, sigma, context())
    scaled = 19 * 10.0
    expected = plain * scaled / (scaled**2 + 0.25) ** 0.5 + x * 0.25 / (scaled**2 + 0.25)
    torch.testing.assert_close(bounded, expected)
    assert not torch.equal(bounded, plain)


def test_an_unknown_prediction_type_is_refused(levels: NoiseSchedule) -> None:
    with pytest.raises(ModelError, match=r"flow.*epsilon, v_prediction"):
        Denoiser(net, levels, "flow")
