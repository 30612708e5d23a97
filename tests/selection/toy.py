"""A toy model and its noise, for runs of k-diffusion's own functions in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

ROWS, STEPS = 4, 12
SHAPE = (2, 3, 3)
SIGMAS = torch.cat([torch.linspace(14.6, 0.05, STEPS).double(), torch.zeros(1).double()])


def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """A toy model that is no linear map of ``x`` and treats every row alone."""
    level = sigma.reshape(-1, *([1] * (x.dim() - 1)))
    mixed = x + 0.3 * x.roll(1, -1) + 0.1 * x.flip(-2)
    return torch.tanh(mixed / (1 + level**2) ** 0.5) + 0.2 * torch.sin(3 * x)


class EpsModel:
    """The toy as a model that predicts noise, guided; keeps the unconditional prediction, as CFG++ takes it for the direction."""

    def __init__(self) -> None:
        self.unguided = torch.empty(0)

    def __call__(self, x: Tensor, alpha: Tensor) -> Tensor:
        level = ((1 - alpha) / alpha) ** 0.5
        self.unguided = 0.7 * denoiser(x, level)
        return denoiser(x, level) + 0.2 * self.unguided


ALPHAS = torch.linspace(0.02, 0.98, STEPS + 1).double()  # cumulative products, in the order of sampling


def ddim(
    model: Callable[[Tensor, Tensor], Tensor], x: Tensor, draw: Callable[..., Tensor], unguided: Callable[[], Tensor] | None = None
) -> Tensor:
    """DDIM with eta 1 (arXiv 2010.02502, eq. 12 and 16); with ``unguided`` CFG++ (arXiv 2406.08070), whose direction is the
    unconditional prediction.
    """
    for now, then in pairwise(ALPHAS):
        eps = model(x, now.expand(len(x)))
        clean = (x - (1 - now).sqrt() * eps) / now.sqrt()
        sigma = ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        direction = (1 - then - sigma**2).clamp(min=0).sqrt() * (unguided() if unguided else eps)
        x = then.sqrt() * clean + direction + sigma * draw()
    return x


class Noise:
    """Noise of every row and draw, made once; ``rows`` says whose noise a batch draws next."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.start = torch.randn((ROWS, *SHAPE), generator=generator, dtype=torch.float64) * SIGMAS[0]
        self._all = torch.randn((8 * STEPS, ROWS, *SHAPE), generator=generator, dtype=torch.float64)

    def draws(self, rows: Callable[[int], list[int]], per_step: int) -> Callable[..., Tensor]:
        """A noise source; ``rows(step)`` are the rows whose noise is drawn in that step."""
        count = 0

        def draw(*_: Any) -> Tensor:
            nonlocal count
            index, count = count, count + 1
            return self._all[index][rows(index // per_step)]

        return draw
