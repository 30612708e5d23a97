"""What answers say, as statements "this look is better than that one": the rows that a preference model is fitted to.

A *look* is one judgement of one latent. A ranking orders the looks of its round. Scores go further: the numbers of one scale compare
between rounds, so all looks of a scale stand in one order, and a new image is placed among all earlier ones without showing any of
them again. Of the numbers only that order is used, so every growing function of a scorer is the same scorer here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from .base import Scores, Tiers
from .ranking import Answer

Statement = tuple[int, int, int, int]  # look of the better, look of the worse, latent of the better, latent of the worse


@dataclass(frozen=True)
class _Scored:
    """A look that has a number."""

    value: float
    look: int
    point: int


@dataclass
class _Round:
    """One answer: what it says by itself, and by scale the looks that stand in an order over rounds."""

    within: list[Statement] = field(default_factory=list)
    scored: dict[str, list[_Scored]] = field(default_factory=dict)


class Statements:
    """The statements of the newest answers, at most ``budget`` where three or more answers are left; latents are numbered by the caller."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._rounds: list[_Round] = []
        self._looks = 0
        self.rows: list[Statement] = []

    @property
    def ordered(self) -> bool:
        """Whether the newest answer came with numbers."""
        return bool(self._rounds and self._rounds[-1].scored)

    def add(self, answer: Answer, points: dict[int, int]) -> set[int]:
        """Add an answer; ``points`` maps its candidates to latents. A look that two raters take counts as two.

        Returns:
            The looks that left, because there would be too many statements.
        """
        new = _Round()
        for tiers, scores in zip(answer.rankings, answer.scores, strict=True):
            if scores is None:
                new.within += self._ranked(tiers, points)
            else:
                new.scored.setdefault(scores.scale, []).extend(self._placed(tiers, scores, points))
            self._looks += answer.size
        for i, j in answer.pairs:
            new.within.append((self._looks, self._looks + 1, points[i], points[j]))
            self._looks += 2
        self._rounds.append(new)
        self.rows, gone = self._written(), set[int]()
        while len(self.rows) > self._budget and len(self._rounds) > 2:
            gone |= _looks_of(self._rounds.pop(0))
            self.rows = self._written()
        return gone

    def _ranked(self, tiers: Tiers, points: dict[int, int]) -> Iterator[Statement]:
        for upper, lower in pairwise(tiers):
            for i in sorted(upper):
                for j in sorted(lower):
                    yield self._looks + i, self._looks + j, points[i], points[j]

    def _placed(self, tiers: Tiers, scores: Scores, points: dict[int, int]) -> Iterator[_Scored]:
        """Looks with numbers; an image that is shown again and has the number it had is no new look."""
        known = {(s.point, s.value) for one in self._rounds for s in one.scored.get(scores.scale, ())}
        for tier, value in zip(tiers, scores.values, strict=True):
            for i in sorted(tier):
                if (points[i], value) not in known:
                    yield _Scored(value, self._looks + i, points[i])

    def _written(self) -> list[Statement]:
        rows = [row for one in self._rounds for row in one.within]
        for scale in sorted({scale for one in self._rounds for scale in one.scored}):
            rows += _chain([s for one in self._rounds for s in one.scored.get(scale, ())])
        return rows


def _chain(looks: list[_Scored]) -> Iterator[Statement]:
    """Say of an order that each look is better than one of the next tier, and every look of a tier than some.

    That is all where numbers differ. Equal ones (a scorer that counts has many) would need a statement for every pair; as many as the
    larger tier has looks still tie both tiers together.
    """
    order = sorted(looks, key=lambda s: (-s.value, s.look))
    tiers = [list(tier) for _, tier in groupby(order, key=lambda s: s.value)]
    for upper, lower in pairwise(tiers):
        for k in range(max(len(upper), len(lower))):
            a, b = upper[k % len(upper)], lower[k % len(lower)]
            yield a.look, b.look, a.point, b.point


def _looks_of(one: _Round) -> set[int]:
    within = {look for row in one.within for look in row[:2]}
    return within | {s.look for placed in one.scored.values() for s in placed}
