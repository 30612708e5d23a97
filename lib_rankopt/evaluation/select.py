"""The best of many images, as papers pick their training sets: the best N of all, or the best of each prompt.

Sources: Diffusion-DRO (arXiv 2510.18353) trains on the 500 (image, caption) pairs of Pick-a-Pic with the highest score of one scorer, of
all captions together; HPS v2 (arXiv 2306.09341) compares models by the best of each benchmark prompt and style.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lib_rankopt.errors import InvalidInputError


@dataclass(frozen=True)
class Scored:
    """An image with a prompt, and how good they are together.

    Attributes:
        name: identity among the candidates; settles ties, so that the same candidates in any order give the same choice.
        score: higher is better; never NaN.
        group: what it competes in where each group has its best ones: the prompt, or prompt and style.
    """

    name: str
    score: float
    group: str = ""


def best(candidates: Iterable[Scored], top: int | None = None, per_group: int | None = None) -> list[Scored]:
    """Return the best candidates, best first; of equal scores the one whose name sorts first.

    One pass. Memory for ``top`` of them, or for ``per_group`` of each group.

    Args:
        top: at most so many of all. per_group: at most so many of each group; with both, the best ``top`` of those.

    Raises:
        InvalidInputError: a number below 1, or a score that is not a number.
    """
    for said, number in (("top", top), ("per group", per_group)):
        if number is not None and number < 1:
            raise InvalidInputError(f"{number} images {said}: at least 1 is needed.")
    numbers: Iterable[Scored] = map(_number, candidates)
    if per_group is not None:
        numbers = _of_each_group(numbers, per_group)
    return sorted(numbers, key=_order) if top is None else heapq.nsmallest(top, numbers, key=_order)


def _order(one: Scored) -> tuple[float, str]:
    return -one.score, one.name


def _number(one: Scored) -> Scored:
    if math.isnan(one.score):
        raise InvalidInputError(f"The score of {one.name} is not a number.")
    return one


def _of_each_group(candidates: Iterable[Scored], most: int) -> list[Scored]:
    groups: dict[str, list[tuple[float, str]]] = {}
    for one in candidates:
        kept = groups.setdefault(one.group, [])
        if len(kept) < most or _order(one) < kept[-1]:
            insort(kept, _order(one))
            del kept[most:]
    return [Scored(name, -negative, group) for group, kept in groups.items() for negative, name in kept]


class Scales:
    """Puts the scores of several scorers on one scale: in standard deviations over all candidates, added up.

    A single scorer's scores stay as they are.
    """

    def __init__(self, scorers: Sequence[str]) -> None:
        self._scorers = tuple(scorers)
        self._count = 0
        self._mean = dict.fromkeys(scorers, 0.0)
        self._square = dict.fromkeys(scorers, 0.0)

    def learn(self, scores: Mapping[str, float]) -> None:
        """Take in one candidate's scores (Welford's update)."""
        self._count += 1
        for name in self._scorers:
            before = scores[name] - self._mean[name]
            self._mean[name] += before / self._count
            self._square[name] += before * (scores[name] - self._mean[name])

    def total(self, scores: Mapping[str, float]) -> float:
        """Return one number for a candidate's scores; a scorer that gave all the same score adds nothing."""
        if len(self._scorers) == 1:
            return scores[self._scorers[0]]
        return math.fsum(self._standard(name, scores[name]) for name in self._scorers)

    def _standard(self, name: str, score: float) -> float:
        spread = math.sqrt(self._square[name] / self._count) if self._count else 0.0
        return (score - self._mean[name]) / spread if spread > 0 else 0.0
