"""What every stage's training loop shares."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

log = logging.getLogger("rankopt.pocket.training")


class Average:
    """A running average (EMA) of a model's weights; the model to keep is `.model`."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.count = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the model's weights in; early on the average is shorter."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        mine, new = list(self.model.parameters()), [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(mine, new, 1 - decay)


def cosine(step: int, steps: int, warmup: int = 100, floor: float = 0.02) -> float:
    """The learning rate at `step` as a share of its peak."""
    warmup = min(warmup, max(1, steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Endless shuffled batches of row numbers."""
    rng = np.random.default_rng(seed)
    rest = np.empty(0, np.int64)
    while True:
        while len(rest) < size:
            rest = np.concatenate([rest, rng.permutation(count)])
        yield torch.from_numpy(rest[:size])
        rest = rest[size:]


def train(
    model: nn.Module,
    loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    steps: int,
    rate: float,
    *,
    name: str,
    average: Average | None = None,
    weight_decay: float = 0.01,
    first: int = 0,
    optimizer: torch.optim.Optimizer | None = None,
    after: Callable[[int], None] | None = None,
    betas: tuple[float, float] = (0.9, 0.99),
) -> None:
    """AdamW with warm-up and cosine decay over `loss(step) -> (loss, figures to log)`."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer or torch.optim.AdamW(parameters, rate, betas=betas, weight_decay=weight_decay)
    started, sums = time.monotonic(), {}
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine(step, steps)
        value, figures = loss(step)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(model)
        for key, figure in {"loss": value.item(), **figures}.items():
            sums.setdefault(key, []).append(figure)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            text = " ".join(f"{k} {np.mean(v):.4f}" for k, v in sums.items())
            log.info("%s %d/%d %s (%.0f s)", name, step + 1, steps, text, time.monotonic() - started)
            sums.clear()
        if after is not None:
            after(step)
