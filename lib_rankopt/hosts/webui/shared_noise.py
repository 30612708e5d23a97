"""Noise that Forge draws from torch's one generator for all: where it keeps what a mask covers, and in the sampler DDPM.

An image alone draws what follows the seed that its start noise has left there. So does every row of a pool here, from a generator of its
own: whatever runs beside it, and although it may not be asked about for some steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lib_rankopt.hosts.webui import probes

_DRAWING = ("modules.sd_samplers_cfg_denoiser", "backend.modules.k_diffusion_extra")


def drawing() -> list[Any]:
    """The modules of Forge that draw so; none in the original."""
    found = [probes.optional(name) for name in _DRAWING] if probes.optional("backend.modules.k_diffusion_extra") else []
    return [module for module in found if hasattr(module, "torch")]


class SharedNoise:
    """Stands in for ``torch`` in these modules, for some rows of a pool.

    Args:
        seeds: of torch's generator after each row's start noise.
        device: of the latents.

    Attributes:
        asked: places of the rows that the model is asked about, ``None`` outside of it.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.asked: Sequence[int] | None = None
        self.drawn = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: Tensor) -> Tensor:
        """Draw for every row, and return the noise of those that are asked about, of the shape of ``x``."""
        self.drawn += 1
        noise = torch.cat([torch.empty_like(x[:1]).normal_(generator=one) for one in self._generators])
        return noise if self.asked is None else noise[list(self.asked)]
