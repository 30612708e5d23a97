"""Made comparisons, shared by the tests."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lib_rankopt.evaluation.preferences import Builder, Comparisons

Array = NDArray[np.float64]


def tournament(n: int, pairs: int, seed: int, spread: float = 1.5) -> tuple[Array, list[tuple[int, int]]]:
    """Hidden strengths, and (winner, loser) of random pairs."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(0.0, spread, n)
    found = []
    for _ in range(pairs):
        i, j = (int(k) for k in rng.choice(n, 2, replace=False))
        won = rng.random() < 1.0 / (1.0 + math.exp(hidden[j] - hidden[i]))
        found.append((i, j) if won else (j, i))
    return hidden, found


def from_pairs(n: int, pairs: list[tuple[int, int]]) -> Comparisons:
    """Record of (winner, loser) pairs."""
    builder = Builder()
    for winner, loser in pairs:
        builder.win(winner, loser)
    return builder.finish(n)
