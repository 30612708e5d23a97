"""The network that is trained: a frozen UNet with a LoRA in float32, and the same network without its LoRA as the reference."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.lora.file import LoraModule
from lib_rankopt.errors import MissingDependencyError

_ATTENTION = r".*attentions\..*\.(to_q|to_k|to_v|to_out\.0)"
_FULL = rf"{_ATTENTION}|.*attentions\..*\.(ff\.net\.0\.proj|ff\.net\.2)|.*attentions\.\d+\.proj_(in|out)"
_TARGETS = {"attention": _ATTENTION, "full": _FULL}


class LoraNetwork:
    """A model with a fresh LoRA, whose weight change is zero.

    Args:
        model: loaded, frozen; its UNet is changed in place.
        targets: ``full`` or ``attention``.
        seed: of the LoRA's initial down matrices (Kaiming uniform, as kohya's).

    Raises:
        MissingDependencyError: peft is not installed, or does not fit.
    """

    def __init__(self, model: StableDiffusion, rank: int, alpha: float, targets: str, seed: int) -> None:
        try:
            from peft import LoraConfig
        except ImportError as error:
            raise MissingDependencyError(f"training needs peft ({error}); install it with: pip install 'peft>=0.11'") from error
        self.model, self.alpha = model, alpha
        self.schedule = model.schedule.alphas_cumprod.to(model.device)
        # shares every weight; switching hundreds of adapters off and on takes milliseconds of every step
        shared = {id(one): one for one in (*model.unet.parameters(), *model.unet.buffers())}
        self._plain = replace(model, unet=copy.deepcopy(model.unet, shared))
        # peft's own default of alpha is 8 whatever the rank is
        scale: Any = alpha  # declared as a whole number; any number works
        model.unet.add_adapter(LoraConfig(r=rank, lora_alpha=scale, target_modules=_TARGETS[targets]))
        self._layers = {name: layer for name, layer in model.unet.named_modules() if hasattr(layer, "lora_A") and layer.lora_A}
        generator = torch.Generator().manual_seed(seed)
        for down, up in self._matrices():
            # add_adapter gives the base's type, and half precision would lose the small steps
            bound = 1 / math.sqrt(down[0].numel())
            down.data = (torch.empty(down.shape).uniform_(-bound, bound, generator=generator)).to(down.device)
            up.data = torch.zeros(up.shape, device=up.device)
        self.parameters = [weight for pair in self._matrices() for weight in pair]

    def _matrices(self) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        for layer in self._layers.values():
            yield layer.lora_A["default"].weight, layer.lora_B["default"].weight

    @contextmanager
    def reference(self) -> Iterator[None]:
        """The network is without its LoRA inside, and no gradient is kept."""
        own, self.model = self.model, self._plain
        try:
            with torch.no_grad():
                yield
        finally:
            self.model = own

    def compile(self) -> None:
        """``torch.compile`` of the UNet, with and without the LoRA."""
        for model in (self.model, self._plain):
            model.unet.compile()

    @contextmanager
    def weights(self, others: Sequence[Tensor]) -> Iterator[None]:
        """Other LoRA weights (a snapshot, a moving average) inside."""
        own = [parameter.data for parameter in self.parameters]
        for parameter, other in zip(self.parameters, others, strict=True):
            parameter.data = other
        try:
            yield
        finally:
            for parameter, data in zip(self.parameters, own, strict=True):
                parameter.data = data

    def noised(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of clean latents ``[n, C, h, w]`` at timesteps ``[n]``."""
        share = self.schedule[t].view(-1, 1, 1, 1)
        return share.sqrt() * clean + (1 - share).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should say: the noise, or v (arXiv 2202.00512)."""
        if self.model.config.prediction_type != "v_prediction":
            return noise
        share = self.schedule[t].view(-1, 1, 1, 1)
        return share.sqrt() * noise - (1 - share).sqrt() * clean

    def residual(self, x: Tensor, t: Tensor, condition: Conditioning, target: Tensor) -> Tensor:
        """Output less target ``[n, C, h, w]``, float32: squares and means in 16 bits would drown what objectives compare."""
        return self.model.predict(x, t, condition) - target.float()

    @torch.no_grad()
    def policy_point(self, noise: Tensor, condition: Conditioning, index: int, t: Sequence[int]) -> tuple[Tensor, Tensor]:
        """x_t and the network's own prediction after ``index`` DDIM steps without guidance along timesteps ``t`` (arXiv 2010.02502)."""
        x = noise
        for i in range(index + 1):
            now = torch.full((len(x),), t[i], device=x.device)
            said = self.model.predict(x, now, condition)
            if i == index:
                return x, said
            x = self._ddim(x, said, t[i], t[i + 1])
        raise AssertionError("unreachable")

    def _ddim(self, x: Tensor, said: Tensor, t: int, following: int) -> Tensor:
        here, there = self.schedule[t], self.schedule[following]
        if self.model.config.prediction_type == "v_prediction":
            clean, noise = here.sqrt() * x - (1 - here).sqrt() * said, here.sqrt() * said + (1 - here).sqrt() * x
        else:
            clean, noise = (x - (1 - here).sqrt() * said) / here.sqrt(), said
        return there.sqrt() * clean + (1 - there).sqrt() * noise

    def modules(self) -> dict[str, LoraModule]:
        """The LoRA by diffusers' module paths, copied to the CPU."""
        found = {}
        for name, (down, up) in zip(self._layers, self._matrices(), strict=True):
            found[name] = LoraModule(down.detach().cpu().clone(), up.detach().cpu().clone(), self.alpha)
        return found

    @torch.no_grad()
    def change_norm(self) -> float:
        """Frobenius norm of the change of all weights together, from r × r products: ‖BA‖² = ⟨BᵀB, AAᵀ⟩."""
        total = torch.zeros((), device=self.model.device)
        for down, up in self._matrices():
            a, b = down.flatten(1), up.flatten(1)
            total += ((b.T @ b) * (a @ a.T)).sum() * (self.alpha / len(down)) ** 2
        return float(total.sqrt())

    def base_weights(self) -> dict[str, Tensor]:
        """The frozen weights that the LoRA changes, by the same paths."""
        return {name: layer.get_base_layer().weight.detach() for name, layer in self._layers.items()}
