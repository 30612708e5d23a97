"""A pool in a sampler that is built as the webui's are, over k-diffusion's real functions and a toy denoiser in float64."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.errors import GenerationInterrupted, InvalidInputError
from lib_rankopt.hosts.judging import Judging
from lib_rankopt.selection.record import SelectionRecord
from lib_rankopt.selection.settings import Selection
from tests.hosts.standin_webui import standin

SIGMAS = torch.cat([torch.linspace(14, 0.3, 9, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
SEEDS = (5, 6, 7, 8)
WORD = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
GREEDY = Selection("greedy", every=2, start=0.1)
FUNCTIONS = ["sample_euler_ancestral", "sample_dpm_2_ancestral", "sample_dpmpp_sde", "sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde"]


@pytest.fixture(scope="module")
def webui() -> Iterator[Any]:
    with standin("rng", "sd_models", "sd_samplers_common", "shared") as modules:
        yield modules


class Cond(SimpleNamespace):
    """The webui's prompt of a batch."""


class Denoiser(torch.nn.Module):
    """Pulls every row to the prompt's picture, or another one from half of its calls on, as prompt editing does."""

    def __init__(self, sampler: Any) -> None:
        super().__init__()
        self.sampler, self.step, self.init_latent = sampler, 0, None
        self.need_last_noise_uncond, self.last_noise_uncond = False, None
        self.calls: list[int] = []
        self.interrupt_at = -1

    def get_pred_x0(self, _x: Tensor, answer: Tensor, _sigma: Tensor) -> Tensor:
        return answer

    def update_inner_model(self) -> None:
        raise AssertionError("no refiner here")

    def forward(self, x: Tensor, sigma: Tensor, uncond: list[Any], cond: Cond, image_cond: Tensor, **_: Any) -> Tensor:
        assert self.init_latent is None or len(self.init_latent) == len(x)
        assert len(cond.batch) == len(uncond) == len(x) == len(sigma) == len(image_cond) == cond.shape[0]
        if len(self.calls) == self.interrupt_at:
            raise self.sampler.interrupted
        self.calls.append(len(x))
        word = WORD.to(x) if self.step < 6 else -WORD.to(x)
        self.step += 1
        self.sampler.last_latent = x + (word - x) / (1 + sigma.view(-1, 1, 1, 1) ** 2) * torch.tanh(x.mean((1, 2, 3), keepdim=True) + 1)
        found: Tensor = self.sampler.last_latent
        return found.clone()


class Sampler:
    """What of the webui's ``KDiffusionSampler`` a run meets."""

    def __init__(self, webui: Any, function: str) -> None:
        self.func: Callable[..., Tensor] = getattr(kdiffusion.module(), function)
        self.model_wrap_cfg = Denoiser(self)
        self.hijack = webui.sd_samplers_common.TorchHijack
        self.interrupted = webui.sd_samplers_common.InterruptedException
        self.last_latent: Any = None
        self.steps: list[int] = []

    def callback_state(self, values: dict[str, Any]) -> None:
        self.steps.append(values["i"])

    def create_noise_sampler(self, x: Tensor, sigmas: Tensor, p: Any) -> Any:
        return kdiffusion.module().BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=p.all_seeds)

    def sample_img2img(self, p: Any, x: Tensor, noise: Tensor, *rest: Any, **named: Any) -> Tensor:
        self.model_wrap_cfg.init_latent = x
        return self._sample(p, x + noise.double() * SIGMAS[0], *rest, **named)

    def sample(self, p: Any, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        return self._sample(p, x.double() * SIGMAS[0], *rest, **named)

    def _sample(self, p: Any, x: Tensor, conditioning: Any, unconditional: Any, image_conditioning: Any) -> Tensor:
        kdiffusion.module().torch = self.hijack(p)
        self.model_wrap_cfg.step = 0
        more: dict[str, Any] = {}
        if "noise_sampler" in inspect.signature(self.func).parameters and "sde" in self.func.__name__:
            more["noise_sampler"] = self.create_noise_sampler(x, SIGMAS, p)
        self.last_latent = x
        self.sampler_extra_args = {"cond": conditioning, "uncond": unconditional, "image_cond": image_conditioning}
        try:
            more |= {"sigmas": SIGMAS, "extra_args": self.sampler_extra_args, "disable": True, "callback": self.callback_state}
            return self.func(self.model_wrap_cfg, x, **more)
        except self.interrupted:
            latent: Tensor = self.last_latent
            return latent


class Told:
    """Who chooses; the scorer likes rows by a hash of what they look like."""

    def __init__(self, selection: Selection, trouble: Exception | None = None, at: int = 1) -> None:
        self.selection, self._trouble, self._at, self._calls = selection, trouble, at, 0
        self.record: SelectionRecord | None = None
        self.seed: int | None = None
        self.error: Exception | None = None

    @contextlib.contextmanager
    def judge(self, steps: int) -> Iterator[Judging]:
        yield Judging(self.selection, "", steps, list, list, self)  # type: ignore[arg-type]

    def score(self, images: list[Tensor], _prompt: str) -> Tensor:
        self._calls += 1
        if self._trouble is not None and self._calls == self._at:
            raise self._trouble
        return torch.stack([torch.sin(97 * image.mean()) for image in images])

    def chosen(self, seed: int, record: SelectionRecord) -> None:
        self.seed, self.record = seed, record

    def stopped(self, seed: int) -> None:
        self.seed = seed

    def left_out(self, error: Exception) -> None:
        self.error = error


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_rankopt.hosts.judging._thumbnail", lambda _: "")


def run(
    webui: Any, function: str, told: Told | None, seeds: tuple[int, ...] = SEEDS, sampler: Any = None, repaint: bool = False
) -> tuple[Tensor, Any]:
    """One image of seed ``seeds[0]``, by a pool where somebody is to be told."""
    from lib_rankopt.hosts.webui.pools import SamplerHook

    p = SimpleNamespace(rng=webui.rng.ImageRNG((4, 8, 8), [seeds[0]]), all_seeds=[seeds[0]], iteration=0, batch_size=1)
    p.sampler = sampler or Sampler(webui, function)
    x = p.rng.next()
    if told is not None:
        SamplerHook(p, seeds, told).install()
    before = kdiffusion.module().torch
    try:
        values = (Cond(batch=["a"], shape=(1,)), ["b"])
        sample = partial(p.sampler.sample_img2img, p, WORD[None] / 2, x) if repaint else partial(p.sampler.sample, p, x)
        latent = sample(*values, image_conditioning=torch.zeros(1, 5, 1, 1))
    finally:
        kdiffusion.module().torch = before
    assert not {"sample", "sample_img2img", "create_noise_sampler"} & set(vars(p.sampler))
    assert p.sampler.func is getattr(kdiffusion.module(), function)
    assert "update_inner_model" not in vars(p.sampler.model_wrap_cfg)
    return latent, p


@pytest.mark.parametrize("at_once", [0, 1, 2, 3])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_image_is_that_of_its_path_whatever_the_parts(webui: Any, function: str, at_once: int) -> None:
    told = Told(Selection("greedy", every=2, start=0.1, at_once=at_once))
    latent, _ = run(webui, function, told)
    assert told.error is None
    assert told.record is not None
    assert latent.shape == (1, 4, 8, 8)
    path = told.record.path_text()
    assert "@" in path
    seeds = tuple(dict.fromkeys(int(one.partition("@")[0]) for one in path.split()))
    again = Told(Selection("greedy", every=2, start=0.1, at_once=at_once, path=path))
    other, p = run(webui, function, again, seeds)
    assert again.error is None
    assert (other - latent).abs().max() <= 1e-12
    assert sum(p.sampler.model_wrap_cfg.calls) == again.record.evaluated  # type: ignore[union-attr]
    whole = Told(GREEDY)
    assert (run(webui, function, whole)[0] - latent).abs().max() <= 1e-12
    assert whole.record.path_text() == path  # type: ignore[union-attr]


@pytest.mark.parametrize("repaint", [False, True])
@pytest.mark.parametrize("function", [*FUNCTIONS, "sample_dpmpp_2m", "sample_euler"])
def test_what_halving_takes_is_the_plain_image_of_its_seed(webui: Any, function: str, repaint: bool) -> None:
    told = Told(Selection("halving", pool=2))
    latent, p = run(webui, function, told, repaint=repaint)
    assert told.error is None
    assert told.seed is not None
    plain, _ = run(webui, function, None, (told.seed,), repaint=repaint)
    assert (plain - latent).abs().max() <= 1e-12
    assert p.sampler.steps == list(range(9))
    assert p.sampler.model_wrap_cfg.calls[0] == 4
    assert p.sampler.model_wrap_cfg.calls[-1] == 1


@pytest.mark.parametrize("trouble", [InvalidInputError("no"), ValueError("broken")])
@pytest.mark.parametrize("at", [1, 5])
@pytest.mark.parametrize("function", ["sample_euler_ancestral", "sample_dpmpp_2m_sde"])
def test_trouble_leaves_the_plain_image(webui: Any, function: str, at: int, trouble: Exception) -> None:
    told = Told(GREEDY, trouble, at)
    latent, _ = run(webui, function, told)
    assert told.error is trouble
    assert told.record is None
    assert torch.equal(latent, run(webui, function, None)[0])


def test_a_sampler_without_noise_is_left_out_by_name(webui: Any) -> None:
    told = Told(GREEDY)
    latent, _ = run(webui, "sample_dpmpp_2m", told)
    assert "draws no noise" in str(told.error)
    assert torch.equal(latent, run(webui, "sample_dpmpp_2m", None)[0])


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("function", ["sample_euler_ancestral", "sample_dpmpp_2m_sde"])
def test_memory_that_runs_out_begins_again_in_smaller_parts(webui: Any, function: str, at: int) -> None:
    told = Told(GREEDY, RuntimeError("CUDA out of memory. Tried to allocate"), at)
    latent, p = run(webui, function, told)
    assert told.error is None
    expected, _ = run(webui, function, Told(GREEDY))
    assert (expected - latent).abs().max() <= 1e-12
    assert set(p.sampler.model_wrap_cfg.calls) == {4, 2}


@pytest.mark.parametrize("at_once", [0, 2])
def test_an_interrupt_goes_on_with_one_row(webui: Any, at_once: int) -> None:
    told = Told(Selection("greedy", every=2, start=0.1, at_once=at_once))
    sampler = Sampler(webui, "sample_euler_ancestral")
    sampler.model_wrap_cfg.interrupt_at = 5
    latent, _ = run(webui, "sample_euler_ancestral", told, sampler=sampler)
    assert latent.shape == (1, 4, 8, 8)
    assert (told.record, told.error) == (None, None)
    asked = Told(GREEDY, GenerationInterrupted("while a person was asked"), 2)
    latent, _ = run(webui, "sample_euler_ancestral", asked)
    assert latent.shape == (1, 4, 8, 8)
    assert (asked.record, asked.error, asked.seed) == (None, None, 5)


def test_a_given_start_is_that_of_all_candidates(webui: Any) -> None:
    from lib_rankopt.hosts.webui.noise import PresetFirstNoise
    from lib_rankopt.hosts.webui.pool_noise import PoolNoise

    own = webui.rng.ImageRNG((4, 8, 8), [5])
    noise = PresetFirstNoise(own, WORD[None].float())
    pool = PoolNoise(noise, SEEDS, noise.next())
    assert pool.is_equal
    assert torch.equal(pool.start, WORD.float().expand(4, -1, -1, -1))
    free = PresetFirstNoise(webui.rng.ImageRNG((4, 8, 8), [5]), None)
    pool = PoolNoise(free, SEEDS, free.next())
    assert not pool.is_equal
    pool.chosen(2)
    assert torch.equal(free.first, webui.rng.ImageRNG((4, 8, 8), [7]).next())
