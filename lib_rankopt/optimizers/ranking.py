"""Ranking algebra: from answers about a round to edges and weights.

An answer says of some pairs of candidates which one is better. Each such statement is an *edge* better → worse, and the weight
of candidate *i* is the edge rule

    w_i = (edges in which i is better − edges in which i is worse) / number of edges,

which sums to zero and, for one (m, k) ranking, is the collapsed form of the estimator of ZO-RankSGD (arXiv 2303.03751, Alg. 1):
(m − 1 − 2r)/|E| for the candidate of rank r < k, −k/|E| for every other one, |E| = km − k(k+1)/2. Ties give no edge; edges in
opposite directions cancel, one against one, before they are counted; so one rule covers full rankings, top-k, tiers, single
comparisons and several raters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .base import RoundFeedback, Scores, Tiers


@dataclass(frozen=True)
class Answer:
    """A checked answer.

    Attributes:
        size: number of proposals of the round.
        shown: the candidates that were on screen, ascending.
        rankings: one entry per rater, every shown candidate in exactly one tier, best first. A ``none_better`` about a round
            that holds an incumbent is one more ranking: the incumbent above all others.
        pairs: single comparisons ``(better, worse)`` that are left after opposite ones cancelled.
        none_better: as in the feedback.
        scores: one entry per ranking: the numbers behind it, one per tier, or ``None``.
    """

    size: int
    shown: tuple[int, ...]
    rankings: tuple[Tiers, ...]
    pairs: tuple[tuple[int, int], ...]
    none_better: bool
    scores: tuple[Scores | None, ...]

    @property
    def is_skip(self) -> bool:
        """True when the answer says nothing at all."""
        return not (self.rankings or self.pairs or self.none_better)


def check(feedback: RoundFeedback, size: int, incumbent: int | None = None) -> Answer:
    """Validate ``feedback`` about a round of ``size`` proposals, of which ``incumbent`` (a position) is the incumbent.

    Raises:
        InvalidInputError: another size, an unknown, hidden or repeated id (named), scores that do not fit their ranking.
    """
    if feedback.size != size:
        raise InvalidInputError(
            f"the answer is about a round of {feedback.size} candidates, but the round has {size}"
        )
    shown = _checked_shown(feedback.shown, size)
    rankings = [complete_tiers(tiers, shown) for tiers in feedback.rankings]
    scores = _checked_scores(feedback.scores, rankings)
    if feedback.none_better and incumbent is not None and incumbent in shown:
        rankings.append(complete_tiers(((incumbent,),), shown))
        scores.append(None)
    pairs = tuple(_checked_pair(pair, shown) for pair in feedback.pairs)
    return Answer(size, shown, tuple(rankings), cancel(pairs), feedback.none_better, tuple(scores))


def complete_tiers(tiers: Iterable[Iterable[int]], shown: Sequence[int]) -> Tiers:
    """Return ``tiers`` without empty ones, with the shown candidates that they do not name as the last tier.

    Raises:
        InvalidInputError: an id that was not shown, or one that is named twice.
    """
    known, seen, out = set(shown), set(), []
    for tier in tiers:
        members = tuple(_checked_id(i, known) for i in tier)
        for i in members:
            if i in seen:
                raise InvalidInputError(f"candidate {i} is ranked twice; name each candidate once")
            seen.add(i)
        if members:
            out.append(members)
    rest = tuple(i for i in shown if i not in seen)
    return (*out, rest) if rest else tuple(out)


def _checked_shown(shown: tuple[int, ...] | None, size: int) -> tuple[int, ...]:
    if shown is None:
        return tuple(range(size))
    known = set(range(size))
    ids = [_checked_id(i, known) for i in shown]
    repeated = sorted({i for i in ids if ids.count(i) > 1})
    if repeated:
        raise InvalidInputError(f"candidate {repeated[0]} is listed as shown twice")
    return tuple(sorted(ids))


def _checked_scores(scores: Sequence[Scores | None], rankings: Sequence[Tiers]) -> list[Scores | None]:
    if not scores:
        return [None] * len(rankings)
    if len(scores) != len(rankings):
        raise InvalidInputError(f"{len(scores)} sets of scores for {len(rankings)} rankings; give one each, or none at all")
    for one, tiers in zip(scores, rankings, strict=True):
        if one is None:
            continue
        if len(one.values) != len(tiers):
            raise InvalidInputError(f"{len(one.values)} scores of '{one.scale}' for {len(tiers)} tiers; every shown candidate needs one")
        if not falling(one.values):
            raise InvalidInputError(f"the scores of '{one.scale}' must be finite and fall from tier to tier, not {one.values!r}")
    return list(scores)


def _checked_id(value: int, known: set[int]) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or int(value) not in known:
        raise InvalidInputError(
            f"candidate {value!r} was not shown in this round; the shown ones are {sorted(known)}"
        )
    return int(value)


def _checked_pair(pair: Sequence[int], shown: Sequence[int]) -> tuple[int, int]:
    if len(pair) != 2:
        raise InvalidInputError(f"a comparison names two candidates (better, worse), not {tuple(pair)!r}")
    known = set(shown)
    better, worse = (_checked_id(i, known) for i in pair)
    if better == worse:
        raise InvalidInputError(f"candidate {better} is compared with itself")
    return better, worse


def cancel(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ``pairs`` without those that an opposite one cancels, in their order of first appearance."""
    left: dict[tuple[int, int], int] = {}
    for better, worse in pairs:
        if left.get((worse, better), 0) > 0:
            left[worse, better] -= 1
        else:
            left[better, worse] = left.get((better, worse), 0) + 1
    return tuple(pair for pair, count in left.items() for _ in range(count))


def edge_counts(answer: Answer) -> NDArray[np.int64]:
    """Return the net edges ``[size, size]``: entry (i, j) is how often i was called better than j, minus the contrary."""
    net = np.zeros((answer.size, answer.size), dtype=np.int64)
    for tiers in answer.rankings:
        for a, tier in enumerate(tiers):
            for worse in tiers[a + 1 :]:
                net[np.ix_(tier, worse)] += 1
                net[np.ix_(worse, tier)] -= 1
    for better, worse_one in answer.pairs:
        net[better, worse_one] += 1
        net[worse_one, better] -= 1
    return net


def weights(answer: Answer) -> NDArray[np.float64]:
    """Return the weight of every candidate ``[size]`` by the edge rule: sums to 0; all zero where no edge is left."""
    net = edge_counts(answer)
    edges = int(np.maximum(net, 0).sum())
    return np.asarray(net.sum(axis=1) / max(edges, 1), dtype=np.float64)


def rank_weights(tiers: Iterable[Iterable[int]], size: int) -> NDArray[np.float64]:
    """Return the weights ``[size]`` of one ranking of all ``size`` candidates.

    Raises:
        InvalidInputError: an unknown or repeated id.
    """
    full = complete_tiers(tiers, range(size))
    return weights(Answer(size, tuple(range(size)), (full,), (), none_better=False, scores=(None,)))


def tiers_from_labels(liked: Iterable[int], disliked: Iterable[int], shown: Sequence[int]) -> Tiers:
    """Return up to three tiers: liked, not labelled, disliked.

    Raises:
        InvalidInputError: an id that was not shown, or one with two labels.
    """
    known = set(shown)
    good = [_checked_id(i, known) for i in liked]
    bad = [_checked_id(i, known) for i in disliked]
    both = sorted(set(good) & set(bad))
    if both:
        raise InvalidInputError(f"candidate {both[0]} is both liked and disliked")
    middle = [i for i in shown if i not in good and i not in bad]
    return complete_tiers((good, middle, bad), shown)


def tiers_from_scores(scores: Sequence[float], ids: Sequence[int] | None = None) -> Tiers:
    """Return the tiers of ``scores``, highest first; equal scores share a tier.

    Args:
        scores: one finite or infinite number per candidate.
        ids: the candidate of each score; its position by default.

    Raises:
        InvalidInputError: a score is not a number, or the lengths differ.
    """
    names = list(range(len(scores))) if ids is None else list(ids)
    if len(names) != len(scores):
        raise InvalidInputError(f"{len(scores)} scores for {len(names)} candidates")
    groups: dict[float, list[int]] = {}
    for name, score in zip(names, scores, strict=True):
        if math.isnan(score):
            raise InvalidInputError(f"the score of candidate {name} is not a number")
        groups.setdefault(float(score), []).append(name)
    return tuple(tuple(groups[score]) for score in sorted(groups, reverse=True))


def falling(values: object) -> tuple[float, ...]:
    """Return ``values`` if they are finite numbers, each lower than the one before, as the scores of a ranking's tiers are; else ``()``."""
    if not isinstance(values, (list, tuple)):
        return ()
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not math.isfinite(v) for v in values):
        return ()
    return tuple(float(v) for v in values) if all(a > b for a, b in pairwise(values)) else ()


def scores_of(scores: Sequence[float], scale: str) -> Scores:
    """Return the numbers that go with :func:`tiers_from_scores` of the same ``scores``: one per tier, highest first.

    Args:
        scores: one finite number per candidate.
        scale: what they are numbers of; only numbers of one scale compare.
    """
    return Scores(scale, tuple(sorted({float(v) for v in scores}, reverse=True)))
