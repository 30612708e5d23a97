"""How far raters agree: with each other, with the others' consensus, and with themselves.

An answer is (rater, image a, image b, outcome): 1 if a is preferred, −1 if b is, 0 for a tie. Which image is named first does not matter.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.preferences.records import Tiers
from lib_rankopt.evaluation.statistics import Estimate, wilson_interval

Answer = tuple[Hashable, Hashable, Hashable, int]
Counts = NDArray[np.int64]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class RaterAgreement:
    """One rater; intervals are Wilson's, 95 %.

    Attributes:
        rater: as named in the answers.
        answers: number of answers.
        consensus: share of the pairs on which the rater says what most of the others say, over the pairs that others judged and on which
            one outcome leads among them. None where there are none.
        repeats: share of answers to a pair shown again that equal the rater's answer to it before. None where none was shown again.
    """

    rater: Hashable
    answers: int
    consensus: Estimate | None
    repeats: Estimate | None


@dataclass(frozen=True)
class Agreement:
    """All raters; of each rater's answers to a pair the latest counts.

    Attributes:
        raters: by number of answers, most first.
        pairs: number of different pairs judged; ``shared`` by two raters or more.
        percent: share of equal outcomes among all (pair, two raters who judged it), with ``n`` of them; 0 … 1. The interval is Wilson's and
            takes them as independent, which three and more raters on one pair are not quite. None without shared pairs.
        alpha_nominal, alpha_ordinal: Krippendorff's alpha: 1 is full agreement, 0 what chance gives. None without shared pairs, or where
            everybody always says tie.
    """

    raters: tuple[RaterAgreement, ...]
    pairs: int
    shared: int
    percent: Estimate | None
    alpha_nominal: float | None
    alpha_ordinal: float | None


def outcomes(tiers: Tiers) -> Iterator[tuple[int, int, int]]:
    """Yield what an answer in tiers, best first, says of its images two by two: (a, b, 1), or (a, b, 0) for a tie.

    Images of one tier are tied; but of three and more, those of the last tier were shown and not ordered, which is no tie.
    """
    count = sum(map(len, tiers))
    for level, tier in enumerate(tiers):
        for later in tiers[level + 1 :]:
            yield from ((one, other, 1) for one, other in product(tier, later))
        if level < len(tiers) - 1 or count == 2:
            yield from ((one, other, 0) for one, other in combinations(tier, 2))


def agreement(answers: Iterable[Answer]) -> Agreement:
    """Return the agreement over a stream of answers, in the order they were given.

    Memory: 13 bytes an answer while reading, and one dictionary entry an image and a rater; then about 100 bytes an answer while sorting.

    Raises:
        InvalidInputError: an outcome other than −1, 0, 1, or an image compared with itself; the message names the answer.
    """
    raters, table = _read(answers)
    votes, again = _latest(table)
    pair, counts = _count(votes)
    own = np.zeros_like(counts)
    own[np.arange(len(votes.outcome)), votes.outcome] = 1
    others = counts - own
    leading = others.max(1)
    # no consensus among nobody, nor where two outcomes are level
    led = (leading > 0) & ((others == leading[:, None]).sum(1) == 1)
    same = led & (others.argmax(1) == votes.outcome)
    size = len(raters)
    given = np.bincount(table.rater, minlength=size)
    rows = zip(
        given.tolist(),
        _shares(votes.rater[same], votes.rater[led], size),
        _shares(again.rater[again.equal], again.rater, size),
        strict=True,
    )
    found = [RaterAgreement(name, count, consensus, repeats) for name, (count, consensus, repeats) in zip(raters, rows, strict=True)]
    found.sort(key=lambda one: -one.answers)
    units = counts[np.unique(pair, return_index=True)[1]] if len(pair) else counts
    shared = units[units.sum(1) > 1]
    return Agreement(tuple(found), len(units), len(shared), _percent(shared), _alpha(shared, _nominal), _alpha(shared, _ordinal))


@dataclass(frozen=True)
class _Table:
    """One an answer; ``outcome`` is for ``low``, the image seen first in the stream."""

    rater: NDArray[np.int32]
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    outcome: NDArray[np.int8]


@dataclass(frozen=True)
class _Votes:
    """One a (pair, rater): outcomes as 0, 1, 2."""

    rater: NDArray[np.int32]
    pair: Counts
    outcome: Counts


@dataclass(frozen=True)
class _Repeats:
    """Answers to a pair that the rater had judged before."""

    rater: NDArray[np.int32]
    equal: NDArray[np.bool_]


def _read(answers: Iterable[Answer]) -> tuple[list[Hashable], _Table]:
    """The raters' names, and the answers by number, in the order they were given."""
    raters: dict[Hashable, int] = {}
    images: dict[Hashable, int] = {}
    who, low, high, outcomes = array("i"), array("i"), array("i"), array("b")
    for rater, a, b, outcome in answers:
        if outcome not in (-1, 0, 1):
            raise InvalidInputError(f"Answer {len(who)}: outcome {outcome!r}; it must be -1, 0 or 1.")
        i, j = images.setdefault(a, len(images)), images.setdefault(b, len(images))
        if i == j:
            raise InvalidInputError(f"Answer {len(who)} of {rater!r} compares image {a!r} with itself.")
        who.append(raters.setdefault(rater, len(raters)))
        low.append(min(i, j))
        high.append(max(i, j))
        outcomes.append(outcome if i < j else -outcome)
    return list(raters), _Table(np.array(who, np.int32), np.array(low, np.int32), np.array(high, np.int32), np.array(outcomes, np.int8))


def _latest(table: _Table) -> tuple[_Votes, _Repeats]:
    """The latest answer of each rater to each pair, sorted by pair, and the comparison of each answer with the one before it."""
    pair = table.low.astype(np.int64) << 32 | table.high
    order = np.lexsort((table.rater, pair))  # stable: equal keys stay in the order they were given
    who, pair, value = table.rater[order], pair[order], table.outcome[order].astype(np.int64) + 1
    follows = (pair[1:] == pair[:-1]) & (who[1:] == who[:-1])
    last = np.append(~follows, True)[: len(pair)]
    again = np.flatnonzero(follows) + 1
    return _Votes(who[last], pair[last], value[last]), _Repeats(who[again], value[again] == value[again - 1])


def _count(votes: _Votes) -> tuple[Counts, Counts]:
    """For each vote its pair's number, and how often the pair got each outcome, ``[votes, 3]``."""
    pair = np.unique(votes.pair, return_inverse=True)[1].reshape(-1)
    size = int(pair[-1]) + 1 if len(pair) else 0
    table = np.bincount(pair * 3 + votes.outcome, minlength=3 * size).reshape(size, 3)
    return pair, table[pair]


def _shares(right: NDArray[np.int32], asked: NDArray[np.int32], size: int) -> list[Estimate | None]:
    """Share of ``right`` in ``asked`` for each rater."""
    wins, trials = np.bincount(right, minlength=size), np.bincount(asked, minlength=size)
    return [_estimate(int(k), int(n)) for k, n in zip(wins, trials, strict=True)]


def _estimate(wins: int, n: int) -> Estimate | None:
    return Estimate(wins / n, *wilson_interval(wins, n), n) if n else None


def _percent(units: Counts) -> Estimate | None:
    judged = units.sum(1)
    return _estimate(int((units * (units - 1)).sum()) // 2, int((judged * (judged - 1)).sum()) // 2)


def _nominal(totals: Array) -> Array:
    return 1.0 - np.eye(3)


def _ordinal(totals: Array) -> Array:
    """(Σ_{g from c to k} n_g − (n_c + n_k)/2)²."""
    middle = np.cumsum(totals) - totals / 2.0
    square: Array = (middle[:, None] - middle) ** 2
    return square


def _alpha(units: Counts, metric: Callable[[Array], Array]) -> float | None:
    """α = 1 − (n − 1) Σ o_ck δ²_ck / Σ n_c n_k δ²_ck (K. Krippendorff, "Computing Krippendorff's alpha-reliability", 2011, sections C, D).

    Each pair enters in both directions, (a, b) and (b, a): which of the two is named first is arbitrary, and so alpha does not hang on it.
    """
    both = np.concatenate([units, units[:, ::-1]]).astype(np.float64)
    judged = both.sum(1)
    scaled = both / np.maximum(judged - 1.0, 1.0)[:, None]
    coincidences = scaled.T @ both - np.diag(scaled.sum(0))
    totals = coincidences.sum(0)
    distance = metric(totals)
    expected = float((np.outer(totals, totals) * distance).sum())
    if expected == 0.0:
        return None
    return 1.0 - float((totals.sum() - 1.0) * (coincidences * distance).sum()) / expected
