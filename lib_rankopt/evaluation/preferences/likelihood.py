"""Log-likelihood of comparisons under Bradley–Terry and Plackett–Luce, with its gradient and curvature, piece by piece.

Strengths s are natural log-odds: P(i is preferred to j) = 1 / (1 + exp(s_j − s_i)).

* Pairs: R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs", Biometrika 39 (1952). A tie counts as half a win
  each way.
* Rankings: R. L. Plackett, "The analysis of permutations", Applied Statistics 24 (1975): the best is drawn with probability
  exp(s_i) / Σ exp(s_j) over all shown, the next from the rest, and so on. Inside a tier of t images the order is not known. The sum over
  its t! orders is approximated by B. Efron, "The efficiency of Cox's likelihood function for censored data", JASA 72 (1977): the j-th draw
  (j = 0 … t−1) divides by Σ_left exp(s) − (j/t)·Σ_tier exp(s). That is concave, and its gradient is exact where the strengths of a tier
  are equal. The last tier adds nothing: all its orders together have probability 1.
* A like is a win, a dislike a loss, against a virtual average image whose strength is fixed at 0 (the prior's mean).

Each piece keeps float64 work to blocks of about a million entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lib_rankopt.evaluation.preferences.records import Comparisons, Rankings, slices

Array = NDArray[np.float64]
Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Edges:
    """Off-diagonal curvature of a piece: H[a, b] = H[b, a] = −value, value ≥ 0; pairs may be named more than once."""

    a: Integers
    b: Integers
    value: Array


class Piece(Protocol):
    """A summand of the log-likelihood; H below is minus its Hessian, at the strengths of the last call of ``expand``."""

    def value(self, s: Array) -> float:
        """Log-likelihood, up to a constant."""

    def expand(self, s: Array) -> tuple[Array, Array]:
        """Gradient and diagonal of H, both ``[n]``, at s; H stays there."""

    def product(self, v: Array) -> Array:
        """H v."""

    def edges(self) -> Iterator[Edges]:
        """H's off-diagonal entries, block by block."""


def pieces(comparisons: Comparisons) -> list[Piece]:
    """Return what the comparisons hold; their log-likelihood is the sum."""
    found: list[Piece] = []
    for pairs, won in ((comparisons.wins, 1.0), (comparisons.ties, 0.5)):
        if len(pairs):
            found.append(PairPiece(comparisons.n, pairs.first, pairs.second, pairs.weight, won))
    if len(comparisons.rankings):
        found.extend(ranking_pieces(comparisons.n, comparisons.rankings))
    if comparisons.likes.any() or comparisons.dislikes.any():
        found.append(LabelPiece(comparisons.likes, comparisons.dislikes))
    return found


class PairPiece:
    """Pairs of which ``first`` won the share ``won`` (1, or ½ for ties): Σ w·(won·d − log(1 + e^d)), d = s_first − s_second."""

    def __init__(self, n: int, first: Integers, second: Integers, weight: NDArray[np.float32], won: float) -> None:
        self._n, self._first, self._second, self._weight, self._won = n, first, second, weight, won
        self._curvature = np.zeros(len(first), np.float32)

    def value(self, s: Array) -> float:
        """Log-likelihood."""
        total = 0.0
        for part in slices(len(self._first)):
            d = s[self._first[part]] - s[self._second[part]]
            total += float(np.dot(self._weight[part], self._won * d - np.logaddexp(0.0, d)))
        return total

    def expand(self, s: Array) -> tuple[Array, Array]:
        """Gradient and diagonal."""
        gradient, diagonal = np.zeros(self._n), np.zeros(self._n)
        for part in slices(len(self._first)):
            i, j = self._first[part], self._second[part]
            p = expit(s[i] - s[j])
            slope = self._weight[part] * (self._won - p)
            curvature = self._weight[part] * (p * (1.0 - p))
            self._curvature[part] = curvature
            gradient += np.bincount(i, slope, self._n) - np.bincount(j, slope, self._n)
            diagonal += np.bincount(i, curvature, self._n) + np.bincount(j, curvature, self._n)
        return gradient, diagonal

    def product(self, v: Array) -> Array:
        """H v."""
        out = np.zeros(self._n)
        for part in slices(len(self._first)):
            i, j = self._first[part], self._second[part]
            flow = self._curvature[part] * (v[i] - v[j])
            out += np.bincount(i, flow, self._n) - np.bincount(j, flow, self._n)
        return out

    def edges(self) -> Iterator[Edges]:
        """One edge a pair."""
        for part in slices(len(self._first)):
            yield Edges(self._first[part], self._second[part], self._curvature[part].astype(np.float64))


class LabelPiece:
    """Likes and dislikes: Σ likes·log σ(s) + dislikes·log σ(−s)."""

    def __init__(self, likes: Array, dislikes: Array) -> None:
        self._likes, self._total = likes, likes + dislikes
        self._curvature = np.zeros_like(likes)

    def value(self, s: Array) -> float:
        """Log-likelihood."""
        return float(np.dot(self._likes, s) - np.dot(self._total, np.logaddexp(0.0, s)))

    def expand(self, s: Array) -> tuple[Array, Array]:
        """Gradient and diagonal."""
        p = expit(s)
        self._curvature = self._total * p * (1.0 - p)
        return self._likes - self._total * p, self._curvature

    def product(self, v: Array) -> Array:
        """H v."""
        return self._curvature * v

    def edges(self) -> Iterator[Edges]:
        """None: the average image does not move."""
        return iter(())


def ranking_pieces(n: int, rankings: Rankings) -> Iterator[Piece]:
    """One piece for all rankings of the same length, cut to blocks of about a million images."""
    begin = rankings.tiers[rankings.starts[:-1]]
    lengths = rankings.tiers[rankings.starts[1:]] - begin
    tier_size = np.diff(rankings.tiers)
    tier_of_item = np.repeat(np.arange(len(tier_size)), tier_size)
    last_tier = rankings.starts[1:] - 1
    for length in np.unique(lengths):
        which = np.flatnonzero(lengths == length)
        for part in slices(len(which), max(1, (1 << 20) // int(length))):
            rows = which[part]
            places = begin[rows, None] + np.arange(length)
            tier = tier_of_item[places]
            yield RankingPiece(
                n,
                items=rankings.items[places],
                tier_start=(rankings.tiers[tier] - begin[rows, None]),
                tier_size=tier_size[tier],
                ordered=tier < last_tier[rows, None],
                weight=rankings.weight[rows].astype(np.float64),
            )


class RankingPiece:
    """R rankings of m images each, as ``[R, m]`` arrays, best tier first.

    Args:
        n: number of images in all.
        items: image of each place.
        tier_start, tier_size: first place and size of the place's tier.
        ordered: whether the place is before the last tier; only such places are draws.
        weight: ``[R]``.
    """

    def __init__(
        self, n: int, items: Integers, tier_start: Integers, tier_size: Integers, ordered: NDArray[np.bool_], weight: Array
    ) -> None:
        m = items.shape[1]
        small = np.int16 if m < 2**15 else np.int32
        self._n, self._items, self._weight = n, items, weight
        self._start, self._next = tier_start.astype(small), (tier_start + tier_size).astype(small)
        self._share = ((np.arange(m) - tier_start) / tier_size).astype(np.float32)  # j/t of Efron's formula
        self._ordered = ordered
        self._e = self._inverse = np.zeros(items.shape)

    def value(self, s: Array) -> float:
        """Log-likelihood."""
        values = self._scaled(s)
        denominators = np.where(self._ordered, self._tails(np.exp(values)), 1.0)
        per_draw = np.where(self._ordered, values, 0.0) - np.log(denominators)
        return float(np.dot(self._weight, per_draw.sum(1)))

    def expand(self, s: Array) -> tuple[Array, Array]:
        """Gradient and diagonal; keeps exp(s) and the draws' 1/denominators."""
        values = self._scaled(s)
        self._e = np.exp(values)
        self._inverse = np.divide(self._ordered, self._tails(self._e), where=self._ordered, out=np.zeros_like(self._e))
        chosen = self._e * self._heads(self._inverse)  # Σ over the draws of the probability to be drawn
        squares = self._e**2 * self._heads(self._inverse**2, squared=True)
        return self._gather(self._ordered - chosen), self._gather(chosen - squares)

    def product(self, v: Array) -> Array:
        """H v."""
        values = v[self._items]
        mean = self._tails(self._e * values) * self._inverse  # of v over each draw's probabilities
        return self._gather(self._e * (values * self._heads(self._inverse) - self._heads(self._inverse * mean)))

    def edges(self) -> Iterator[Edges]:
        """The m(m−1)/2 edges of each ranking."""
        m = self._items.shape[1]
        upper = np.triu_indices(m, 1)
        place = np.arange(m)
        for part in slices(len(self._items), max(1, (1 << 20) // (m * m))):
            start, after = self._start[part, :, None], self._next[part, :, None]
            factor = np.where(place >= after, 1.0, np.where(place >= start, 1.0 - self._share[part, :, None], 0.0))
            q = factor * self._e[part, None, :] * self._inverse[part, :, None]  # [ranking, draw, image]
            both = np.einsum("rdi,rdj->rij", q * self._weight[part, None, None], q, optimize=True)
            items = self._items[part]
            yield Edges(items[:, upper[0]].ravel(), items[:, upper[1]].ravel(), both[:, upper[0], upper[1]].ravel())

    def _scaled(self, s: Array) -> Array:
        """Strengths by place, less each ranking's largest: the likelihood is the same, and nothing overflows."""
        values = s[self._items]
        scaled: Array = values - values.max(1, keepdims=True)
        return scaled

    def _tails(self, x: Array) -> Array:
        """Efron's denominators of the draws: (1 − j/t)·Σ_{from the tier on} x + (j/t)·Σ_{after the tier} x."""
        sums = np.zeros((len(x), x.shape[1] + 1))
        sums[:, :-1] = np.cumsum(x[:, ::-1], axis=1)[:, ::-1]
        from_tier = np.take_along_axis(sums, self._start.astype(np.intp), 1)
        after_tier = np.take_along_axis(sums, self._next.astype(np.intp), 1)
        mixed: Array = from_tier + self._share * (after_tier - from_tier)
        return mixed

    def _heads(self, x: Array, squared: bool = False) -> Array:
        """Transpose of :meth:`_tails`: Σ x over the draws of earlier tiers, plus Σ (1 − j/t)·x (or its square's) over the own tier's."""
        before = np.zeros((len(x), x.shape[1] + 1))
        np.cumsum(x, axis=1, out=before[:, 1:])
        kept = 1.0 - self._share
        own = np.zeros_like(before)
        np.cumsum(x * (kept**2 if squared else kept), axis=1, out=own[:, 1:])
        start, after = self._start.astype(np.intp), self._next.astype(np.intp)
        inside = np.take_along_axis(own, after, 1) - np.take_along_axis(own, start, 1)
        heads: Array = np.take_along_axis(before, start, 1) + inside
        return heads

    def _gather(self, x: Array) -> Array:
        """Weighted sum by image."""
        return np.bincount(self._items.ravel(), (x * self._weight[:, None]).ravel(), minlength=self._n).astype(np.float64)
