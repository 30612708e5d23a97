"""Intervals for win rates and means: how sure one can be that something helped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from lib_rankopt.errors import InvalidInputError


@dataclass(frozen=True)
class Estimate:
    """A mean with its two-sided interval; ``n`` is the number of independent units behind it."""

    mean: float
    low: float
    high: float
    n: int


def wilson_interval(wins: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a win rate.

    Args:
        wins: number of wins, a tie counts 0.5; 0 ≤ wins ≤ n.
        n: number of trials; 0 gives the whole range (0, 1).
        confidence: two-sided, in (0, 1).

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), eq. for the roots of
        ``(p̂ − p)² = z² p(1 − p)/n``.

    Raises:
        InvalidInputError: wins outside 0…n, or a confidence outside (0, 1).
    """
    if not 0.0 <= wins <= n:
        raise InvalidInputError(f"{wins} wins in {n} trials: wins must be between 0 and the number of trials.")
    if not 0.0 < confidence < 1.0:
        raise InvalidInputError(f"Confidence {confidence} is outside (0, 1).")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = wins / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean of independent values with Student's t interval.

    A single value has an infinite interval: one unit says nothing about spread.

    Raises:
        InvalidInputError: no values, or one that is not finite.
    """
    n = len(values)
    if n == 0:
        raise InvalidInputError("No values to average.")
    if not all(math.isfinite(v) for v in values):
        raise InvalidInputError("Values contain NaN or infinity; look for a broken image or scorer.")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, -math.inf, math.inf, 1)
    from scipy.stats import t

    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * spread / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)
