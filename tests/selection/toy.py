"""A toy model and its noise, for runs of k-diffusion's own functions in float64."""

from __future__ import annotations

from collections.abc import Callable
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
