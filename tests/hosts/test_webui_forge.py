"""Pools in Forge's samplers, of which the stand-ins here have what differs: shared noise, DDIM's answers, and a memory of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.selection.settings import Selection
from tests.hosts.standin_webui import standin
from tests.hosts.test_webui_pools import GREEDY, SEEDS, WORD, Denoiser, Sampler, Told, no_pictures, run

__all__ = ["no_pictures"]

KEPT = torch.linspace(0.99, 0.01, 1000, dtype=torch.float64)
FUNCTIONS = ["sample_euler_ancestral", "sample_dpm_2_ancestral", "sample_dpmpp_2m_sde"]


@pytest.fixture(scope="module")
def webui() -> Iterator[Any]:
    with standin("rng", "sd_models", "sd_samplers_common", "shared") as modules:
        yield modules


@pytest.fixture
def forge(webui: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forge's modules that draw, and its generator of start noise, which seeds torch's as well."""
    plain = webui.rng.ImageRNG

    class Seeding(plain):  # type: ignore[misc, valid-type]
        def next(self) -> Tensor:
            if self.is_first:
                for seed in self.seeds:
                    torch.manual_seed((seed + 100000) % 65536)
            found: Tensor = super().next()
            return found

    monkeypatch.setattr(webui.rng, "ImageRNG", Seeding)
    modules = {name: SimpleNamespace(torch=torch) for name in ("modules.sd_samplers_cfg_denoiser", "backend.modules.k_diffusion_extra")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield SimpleNamespace(denoiser=modules["modules.sd_samplers_cfg_denoiser"], extra=modules["backend.modules.k_diffusion_extra"])
    assert all(module.torch is torch for module in modules.values())


class Masked(Denoiser):
    """Puts the first picture back under the mask, with noise."""

    def __init__(self, sampler: Any, forge: Any) -> None:
        super().__init__(sampler)
        self.forge, self.mask = forge, torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(4)

    def forward(self, x: Tensor, sigma: Tensor, **named: Any) -> Tensor:  # type: ignore[override]
        noisy = self.init_latent + sigma.view(-1, 1, 1, 1) * self.forge.denoiser.torch.randn_like(self.init_latent)
        return super().forward(x * (1 - self.mask) + noisy * self.mask, sigma, **named)


def masked(webui: Any, forge: Any, function: str, told: Told | None, seeds: tuple[int, ...]) -> Tensor:
    sampler = Sampler(webui, function)
    sampler.model_wrap_cfg = Masked(sampler, forge)
    return run(webui, function, told, seeds, sampler, repaint=True)[0]


# -- noise from torch's one generator
@pytest.mark.parametrize("at_once", [0, 1, 3])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_mask_covers_has_the_noise_of_an_image_alone(webui: Any, forge: Any, function: str, at_once: int) -> None:
    halved = Told(Selection("halving", pool=2, at_once=at_once))
    latent = masked(webui, forge, function, halved, SEEDS)
    assert halved.error is None
    assert halved.seed is not None
    assert (masked(webui, forge, function, None, (halved.seed,)) - latent).abs().max() <= 1e-12


@pytest.mark.parametrize("at_once", [0, 1, 3])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_path_below_a_mask_is_found_again(webui: Any, forge: Any, function: str, at_once: int) -> None:
    told = Told(Selection("greedy", every=2, start=0.1, at_once=at_once))
    latent = masked(webui, forge, function, told, SEEDS)
    assert told.error is None
    path = told.record.path_text()  # type: ignore[union-attr]
    assert "@" in path
    seeds = tuple(dict.fromkeys(int(one.partition("@")[0]) for one in path.split()))
    again = Told(Selection("greedy", every=2, start=0.1, at_once=at_once, path=path))
    assert (masked(webui, forge, function, again, seeds) - latent).abs().max() <= 1e-12
    assert again.error is None


def test_a_sampler_that_draws_from_it_parts_the_paths(webui: Any, forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample_ddpm(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: bool) -> Tensor:
        for i in range(len(sigmas) - 1):
            denoised = model(x, sigmas[i] * x.new_ones(len(x)), **extra_args)
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
            x = denoised + (x - denoised) * (0.5 * sigmas[i + 1] / sigmas[i]) + 0.5 * sigmas[i + 1] * forge.extra.torch.randn_like(x)
        return x

    monkeypatch.setattr(kdiffusion.module(), "sample_ddpm", sample_ddpm, raising=False)
    told = Told(GREEDY)
    latent, _ = run(webui, "sample_ddpm", told)
    assert told.error is None
    path = told.record.path_text()  # type: ignore[union-attr]
    assert "@" in path
    seeds = tuple(dict.fromkeys(int(one.partition("@")[0]) for one in path.split()))
    again = Told(Selection("greedy", every=2, start=0.1, at_once=1, path=path))
    assert (run(webui, "sample_ddpm", again, seeds)[0] - latent).abs().max() <= 1e-12
    halved = Told(Selection("halving", pool=2))
    latent, _ = run(webui, "sample_ddpm", halved)
    assert (run(webui, "sample_ddpm", None, (halved.seed,))[0] - latent).abs().max() <= 1e-12  # type: ignore[arg-type]


def test_without_seeding_every_row_has_its_own_noise_all_the_same(webui: Any, forge: Any) -> None:
    from lib_rankopt.hosts.webui.pool_noise import PoolNoise

    own = webui.rng.ImageRNG.__bases__[0]((4, 8, 8), [5])  # as with the generator of NVIDIA's cards, of which torch knows nothing
    noise = PoolNoise(own, SEEDS, own.next()).shared((1, 3), torch.device("cpu")).randn_like(torch.zeros(1, 4, 8, 8))
    assert noise.shape == (2, 4, 8, 8)
    assert torch.equal(noise[1], torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(8)))


# -- what DDIM's denoiser answers
class Noise(Denoiser):
    """Answers the noise; the clean picture behind it is always the same one."""

    classic_ddim_eps_estimation = True

    def __init__(self, sampler: Any) -> None:
        super().__init__(sampler)
        self.inner_model = SimpleNamespace(inner_model=SimpleNamespace(alphas_cumprod=KEPT.float()))

    def forward(self, x: Tensor, sigma: Tensor, **named: Any) -> Tensor:  # type: ignore[override]
        super().forward(x, sigma, **named)
        kept = KEPT.float()[sigma.long()].view(-1, 1, 1, 1)
        return (x - kept.sqrt() * WORD) / (1 - kept).sqrt()


def test_candidates_of_ddim_are_judged_by_what_they_are_going_to_be(webui: Any, forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ddim(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: bool) -> Tensor:
        for i in range(len(sigmas) - 1):
            t = (60 * sigmas[i]).round()
            x = x - 0.1 * model(x, t * x.new_ones(len(x)), **extra_args)
            callback({"x": x, "i": i, "sigma": 0, "denoised": x})
        return x

    class Looking(Told):
        def score(self, images: list[Tensor], prompt: str) -> Tensor:
            self.looked = [*getattr(self, "looked", []), images]
            return super().score(images, prompt)

    monkeypatch.setattr(kdiffusion.module(), "ddim", ddim, raising=False)
    sampler, told = Sampler(webui, "ddim"), Looking(Selection("halving", pool=2))
    sampler.model_wrap_cfg = Noise(sampler)
    run(webui, "ddim", told, sampler=sampler)
    assert told.error is None
    *during, _ = told.looked
    assert [len(images) for images in during] == [4, 2]
    assert all((image - WORD).abs().max() < 1e-4 for images in during for image in images)


# -- its memory
def test_the_model_is_brought_back_when_a_decoder_has_driven_it_out(webui: Any, forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unet, loads = object(), list[int]()
    memory = SimpleNamespace(current_loaded_models=[SimpleNamespace(model=object()), SimpleNamespace(model=unet)])

    def prepare(wanted: Any, x: Tensor) -> None:
        loads.append(len(x))
        memory.current_loaded_models.append(SimpleNamespace(model=wanted))

    class Loaded(Denoiser):
        def forward(self, *args: Any, **named: Any) -> Tensor:  # type: ignore[override]
            assert any(one.model is unet for one in memory.current_loaded_models), "the model is on another device"
            return super().forward(*args, **named)

    class Decoding(Told):
        def score(self, images: list[Tensor], prompt: str) -> Tensor:
            memory.current_loaded_models.clear()
            return super().score(images, prompt)

    monkeypatch.setitem(sys.modules, "backend.memory_management", memory)
    monkeypatch.setitem(sys.modules, "backend.sampling.sampling_function", SimpleNamespace(sampling_prepare=prepare))
    sampler, told = Sampler(webui, "sample_euler_ancestral"), Decoding(Selection("halving", pool=2))
    sampler.model_wrap_cfg = Loaded(sampler)
    sampler.model_wrap_cfg.inner_model = SimpleNamespace(inner_model=SimpleNamespace(forge_objects=SimpleNamespace(unet=unet)))
    run(webui, "sample_euler_ancestral", told, sampler=sampler)
    assert told.error is None
    assert loads == [2, 1]  # after the two looks within the run, for the rows that go on


def test_after_a_refiner_the_first_checkpoint_comes_back_with_its_loras(webui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_rankopt.hosts.webui import moving

    done = list[Any]()
    monkeypatch.setattr(webui.sd_models, "forge_model_reload", lambda: done.append("loaded"), raising=False)
    networks = SimpleNamespace(activate=lambda _p, data: done.append(data))
    monkeypatch.setitem(sys.modules, "modules.extra_networks", networks)

    class Wrapped(SimpleNamespace):
        @property
        def inner_model(self) -> str:
            return self.model_wrap or "the first checkpoint"

    sampler = SimpleNamespace(model_wrap="the refiner", model_wrap_cfg=Wrapped(model_wrap="the refiner"))
    p = SimpleNamespace(sampler=sampler, disable_extra_networks=False, extra_network_data={"lora": ["fox"]})
    moving.load_again(p, object())
    assert done == ["loaded", {"lora": ["fox"]}]
    assert sampler.model_wrap == sampler.model_wrap_cfg.inner_model == "the first checkpoint"
    p.disable_extra_networks = True
    moving.load_again(p, object())
    assert done[2:] == ["loaded"]
