"""Intervals against scipy's own and against brute-force simulation."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation import mean_interval, wilson_interval


@pytest.mark.parametrize(("wins", "n"), [(0, 8), (1, 8), (7, 8), (8, 8), (13, 40), (500, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_equals_scipy(wins: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(wins, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(wins, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_takes_ties_as_half_and_no_trials() -> None:
    low, high = wilson_interval(3.5, 7)
    assert low == pytest.approx(1 - high)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("wins", "n", "confidence"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0), (math.nan, 3, 0.95)])
def test_wilson_refuses(wins: float, n: int, confidence: float) -> None:
    with pytest.raises(InvalidInputError):
        wilson_interval(wins, n, confidence)


def test_mean_interval_equals_scipy() -> None:
    rng = random.Random(3)
    values = [rng.gauss(2, 3) for _ in range(32)]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    got = mean_interval(values)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    assert got.n == 32


def test_mean_interval_covers_as_often_as_it_says() -> None:
    rng = random.Random(5)
    hits = 0
    for _ in range(400):
        got = mean_interval([rng.gauss(1.0, 2.0) for _ in range(6)])
        hits += got.low <= 1.0 <= got.high
    assert 0.92 <= hits / 400 <= 0.98


def test_mean_of_one_is_honest_and_nan_is_refused() -> None:
    assert mean_interval([4.0]).high == math.inf
    with pytest.raises(InvalidInputError, match="NaN"):
        mean_interval([1.0, math.nan])
    with pytest.raises(InvalidInputError):
        mean_interval([])
