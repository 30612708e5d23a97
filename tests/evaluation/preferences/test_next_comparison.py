"""The next comparison: its gain against integration, what may be shown, and that choosing beats chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats
from scipy.special import expit, xlogy

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.preferences import Builder, Pool, choose, fit, information, update

Array = NDArray[np.float64]


def _coin(p: float) -> float:
    return -float(xlogy(p, p) + xlogy(1 - p, 1 - p))


@pytest.mark.parametrize("difference", [0.0, -0.7, 2.0, 5.0])
@pytest.mark.parametrize("spread", [0.05, 0.5, 1.2, 2.12])
def test_information_equals_integration(difference: float, spread: float) -> None:
    def expected(of: Callable[[float], float]) -> float:
        return float(integrate.quad(lambda z: of(float(expit(difference + spread * z))) * stats.norm.pdf(z), -9, 9, limit=200)[0])

    reference = _coin(expected(lambda p: p)) - expected(_coin)
    assert float(information(np.array(difference), np.array(spread))) == pytest.approx(reference, abs=1e-3)


def test_information_is_zero_when_all_is_known() -> None:
    assert information(np.array([0.0, 3.0, 900.0]), np.zeros(3)).tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert float(information(np.array(0.0), np.array(30.0))) <= math.log(2.0)


def test_the_uncertain_and_close_pair_is_chosen() -> None:
    pool = Pool(np.array([0.0, 3.0, 0.1, -3.0]), np.array([1.0, 1.0, 1.0, 0.1]))
    assert sorted(choose(pool, set(), 2, np.random.default_rng(0)) or ()) == [0, 2]
    second = choose(pool, {frozenset((0, 2))}, 2, np.random.default_rng(0))
    assert second is not None
    assert sorted(second) == [1, 2]


def test_all_pairs_come_once_and_then_none() -> None:
    pool = Pool(np.zeros(5), np.ones(5))
    rng, already = np.random.default_rng(0), set[frozenset[int]]()
    for _ in range(10):
        pair = choose(pool, already, 2, rng)
        assert pair is not None
        assert frozenset(pair) not in already
        already.add(frozenset(pair))
    assert choose(pool, already, 2, rng) is None
    assert choose(pool, already, 4, rng) is None


def test_equals_are_decided_by_the_generator() -> None:
    pool = Pool(np.zeros(6), np.ones(6))
    picks = [choose(pool, set(), 2, np.random.default_rng(seed)) for seed in range(60)]
    assert picks == [choose(pool, set(), 2, np.random.default_rng(seed)) for seed in range(60)]
    assert {k for pick in picks for k in pick or ()} == set(range(6))


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_only_one_group_is_shown(size: int) -> None:
    group = np.array([0, 1, 0, 1, 1, 2, 1])
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=7), rng.uniform(0.5, 1.5, 7), group)
    shown = choose(pool, set(), size, rng)
    assert shown is not None
    assert len(set(group[list(shown)])) == 1
    assert len(shown) == len(set(shown)) == min(size, int((group == group[shown[0]]).sum()))
    lonely = Pool(np.zeros(3), np.ones(3), np.arange(3))
    assert choose(lonely, set(), size, rng) is None


def test_lists_grow_by_images_with_new_pairs() -> None:
    pool = Pool(np.array([0.0, 0.1, 0.2, 5.0]), np.array([1.0, 1.0, 1.0, 0.01]))
    assert sorted(choose(pool, set(), 3, np.random.default_rng(0)) or ()) == [0, 1, 2]
    within = {frozenset(pair) for pair in itertools.combinations((0, 1, 2), 2)}
    shown = choose(pool, within, 4, np.random.default_rng(0))
    assert shown is not None
    assert 3 in shown[:2], "only pairs with the fourth are new, so the list starts with one"
    assert len(shown) == 4 or all(frozenset((k, other)) in within for k in set(range(4)) - set(shown) for other in shown)


@pytest.mark.parametrize("size", [0, 1, 9])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(InvalidInputError, match="2 to 8"):
        choose(Pool(np.zeros(3), np.ones(3)), set(), size, np.random.default_rng(0))


@pytest.mark.parametrize("pair", [{0}, {0, 3}, {-1, 0}, {0, 1, 2}])
def test_pairs_beyond_the_pool_are_refused(pair: set[int]) -> None:
    with pytest.raises(InvalidInputError, match="no pair"):
        choose(Pool(np.zeros(3), np.ones(3)), {frozenset(pair)}, 2, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("mean", "sd", "group"),
    [
        (np.zeros(3), np.ones(2), None),
        (np.zeros(3), np.ones(3), np.zeros(2, int)),
        (np.array([0.0, math.nan]), np.ones(2), None),
        (np.zeros(2), np.array([1.0, -1.0]), None),
        (np.zeros((2, 2)), np.ones((2, 2)), None),
    ],
)
def test_unusable_pools_are_refused(mean: Array, sd: Array, group: NDArray[np.int64] | None) -> None:
    with pytest.raises(InvalidInputError):
        Pool(mean, sd, group)


def _tau(seed: int, pairs: int, chosen: bool) -> float:
    """Kendall's τ of 40 images after so many answers of a noisy rater."""
    n = 40
    rng = np.random.default_rng(seed)
    hidden = rng.normal(0.0, 2.0, n)
    mean, sd, already, builder = np.zeros(n), np.full(n, 1.5), set[frozenset[int]](), Builder()
    while len(already) < pairs:
        shown = choose(Pool(mean, sd), already, 2, rng) if chosen else tuple(int(k) for k in rng.choice(n, 2, replace=False))
        assert shown is not None
        if frozenset(shown) in already:
            continue
        already.add(frozenset(shown))
        i, j = shown
        first, second = (i, j) if rng.random() < expit(hidden[i] - hidden[j]) else (j, i)
        builder.win(first, second)
        mean, sd = update(mean, sd, ((first,), (second,)))
    return float(stats.kendalltau(fit(builder.finish(n)).mean, hidden).statistic)


def test_choosing_beats_chance() -> None:
    """At equal numbers of answers; 20 seeds, so that luck does not decide."""
    gained = [_tau(seed, 160, chosen=True) - _tau(seed, 160, chosen=False) for seed in range(20)]
    assert np.mean(gained) > 2.0 * np.std(gained, ddof=1) / math.sqrt(len(gained))
