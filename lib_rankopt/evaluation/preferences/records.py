"""Comparisons of images that are known only by number: what a fit of strengths reads.

A :class:`Builder` takes answers one by one, or pairs by the array, and keeps 12 bytes a pair; ``finish`` freezes them without a copy.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib_rankopt.errors import InvalidInputError

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
Tiers = Sequence[Sequence[int]]

MAX_IMAGES = 2**31 - 1
MAX_WEIGHT = 1e6  # far beyond any use, and far from where float32 overflows


@dataclass(frozen=True)
class Pairs:
    """Answers about two images each: ``first[k]`` against ``second[k]``, counted ``weight[k]`` times (> 0)."""

    first: IntArray
    second: IntArray
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Rankings:
    """Rankings of images in tiers, best first, laid end to end.

    Ranking r has the tiers ``starts[r] … starts[r+1]−1``, and tier t the images ``items[tiers[t] : tiers[t+1]]``. The order inside a
    tier is not known; the last tier holds what was shown and not ordered, and may be a single image.
    """

    items: IntArray
    tiers: NDArray[np.int64]
    starts: NDArray[np.int64]
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True)
class Comparisons:
    """Everything that was answered about the images 0 … n−1.

    Attributes:
        n: number of images; those that no answer names count too.
        wins: pairs with a preferred image (``first``).
        ties: pairs judged equal; a fit takes one as half a win each way.
        rankings: of three images and more.
        likes, dislikes: weighted number of each image's, ``[n]``.
        games: weighted number of answers that each image took part in, ``[n]``; a ranking counts once for each of its images.
    """

    n: int
    wins: Pairs
    ties: Pairs
    rankings: Rankings
    likes: NDArray[np.float64]
    dislikes: NDArray[np.float64]
    games: NDArray[np.float64]


class Builder:
    """Collects answers, at 12 bytes a pair. A weight of 0 adds nothing; one below 0 or beyond a million is an InvalidInputError, and so is
    an image compared with itself.
    """

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        self._wins = _pair_arrays()
        self._ties = _pair_arrays()
        self._liked = (array("i"), array("f"))
        self._disliked = (array("i"), array("f"))
        self._items, self._tiers, self._starts, self._weights = array("i"), array("q", [0]), array("q", [0]), array("f")

    def win(self, winner: int, loser: int, weight: float = 1.0) -> None:
        """Add one preferred image of two."""
        _append(self._wins, winner, loser, weight)

    def tie(self, a: int, b: int, weight: float = 1.0) -> None:
        """Add two images judged equal."""
        _append(self._ties, a, b, weight)

    def wins(self, winners: Any, losers: Any, weights: Any = 1.0) -> None:
        """Add many pairs at once: integer arrays of one length, and a weight each or one for all.

        Raises:
            InvalidInputError: before any of them is added.
        """
        first, second = _indices(winners), _indices(losers)
        weight = np.asarray(weights, dtype=np.float32)
        if len(first) != len(second) or weight.shape not in ((), first.shape):
            raise InvalidInputError(f"{len(first)} winners, {len(second)} losers, weights of shape {weight.shape}: lengths must agree.")
        weight = np.broadcast_to(weight, first.shape)
        wrong = np.flatnonzero(~((weight >= 0) & (weight <= MAX_WEIGHT)))  # NaN is wrong too
        if wrong.size:
            raise InvalidInputError(f"Weight {weight[wrong[0]]} of pair {wrong[0]}; it must be between 0 and {MAX_WEIGHT:.0f}.")
        same = np.flatnonzero(first == second)
        if same.size:
            raise InvalidInputError(f"Pair {same[0]} of the array compares image {first[same[0]]} with itself.")
        kept = weight > 0
        self._wins[0].frombytes(first[kept].tobytes())
        self._wins[1].frombytes(second[kept].tobytes())
        self._wins[2].frombytes(weight[kept].tobytes())

    def ranking(self, tiers: Tiers, weight: float = 1.0) -> None:
        """Add a ranking: tiers of images, best first; the last may be unordered, empty ones are skipped.

        Two images make a pair: a win in two tiers, a tie in one. Three and more in a single tier say nothing of the strengths; such an
        answer counts among the images' games only.

        Raises:
            InvalidInputError: an image named twice, fewer than two images, or a bad index or weight.
        """
        filled = [tuple(tier) for tier in tiers if len(tier)]
        items = [index(item) for tier in filled for item in tier]
        if len(items) < 2:
            raise InvalidInputError(f"A ranking of {len(items)} image(s); it takes two at least.")
        if len(set(items)) != len(items):
            raise InvalidInputError(f"A ranking names an image twice: {items}.")
        if len(items) == 2:
            _append(self._wins if len(filled) == 2 else self._ties, items[0], items[1], weight)
            return
        _check_index(min(items))
        _check_index(max(items))
        if not _counts(weight):
            return
        self._items.extend(items)
        for tier in filled:
            self._tiers.append(self._tiers[-1] + len(tier))
        self._starts.append(len(self._tiers) - 1)
        self._weights.append(weight)

    def like(self, image: int, weight: float = 1.0) -> None:
        """Add a like."""
        _append_label(self._liked, image, weight)

    def dislike(self, image: int, weight: float = 1.0) -> None:
        """Add a dislike."""
        _append_label(self._disliked, image, weight)

    def finish(self, n: int | None = None) -> Comparisons:
        """Return the comparisons of the images 0 … n−1 (default: up to the highest number named) and start anew.

        Raises:
            InvalidInputError: an answer names an image beyond ``n``; nothing is lost then.
        """
        highest = 1 + max((_highest(column) for column in self._index_columns()), default=-1)
        if n is None:
            n = highest
        if highest > n:
            raise InvalidInputError(f"An answer names image {highest - 1}, but there are only {n} images (numbered from 0).")
        wins, ties = _frozen_pairs(self._wins), _frozen_pairs(self._ties)
        rankings = Rankings(
            items=_frozen(self._items, np.int32),
            tiers=_frozen(self._tiers, np.int64),
            starts=_frozen(self._starts, np.int64),
            weight=_frozen(self._weights, np.float32),
        )
        likes, dislikes = _label_counts(self._liked, n), _label_counts(self._disliked, n)
        self._empty()  # the arrays now belong to the record
        return Comparisons(n, wins, ties, rankings, likes, dislikes, _games(n, wins, ties, rankings) + likes + dislikes)

    def _index_columns(self) -> tuple[array[int], ...]:
        return (*self._wins[:2], *self._ties[:2], self._items, self._liked[0], self._disliked[0])


def slices(length: int, size: int = 1 << 20) -> Iterator[slice]:
    """Cut 0 … length−1 into slices of at most ``size``, so that work in float64 stays small beside the data."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _pair_arrays() -> tuple[array[int], array[int], array[float]]:
    return array("i"), array("i"), array("f")


def _check_index(number: int) -> None:
    if not 0 <= index(number) < MAX_IMAGES:  # before anything is appended, so that columns stay of one length
        raise InvalidInputError(f"Image number {number} is outside 0 … {MAX_IMAGES - 1}.")


def _counts(weight: float) -> bool:
    """Whether an answer of this weight is kept."""
    if not 0.0 <= weight <= MAX_WEIGHT:
        raise InvalidInputError(f"Weight {weight}; it must be between 0 and {MAX_WEIGHT:.0f}.")
    return weight > 0.0


def _append(columns: tuple[array[int], array[int], array[float]], first: int, second: int, weight: float) -> None:
    if first == second:
        raise InvalidInputError(f"Image {first} is compared with itself.")
    _check_index(first)
    _check_index(second)
    if _counts(weight):
        columns[0].append(first)
        columns[1].append(second)
        columns[2].append(weight)


def _append_label(columns: tuple[array[int], array[float]], image: int, weight: float) -> None:
    _check_index(image)
    if _counts(weight):
        columns[0].append(image)
        columns[1].append(weight)


def _indices(values: Any) -> IntArray:
    numbers = np.asarray(values)
    if numbers.ndim != 1 or not (np.issubdtype(numbers.dtype, np.integer) or numbers.size == 0):
        raise InvalidInputError(f"Image numbers must be a flat array of integers, not {numbers.dtype} of shape {numbers.shape}.")
    if numbers.size:
        _check_index(int(numbers.min()))
        _check_index(int(numbers.max()))
    return numbers.astype(np.int32, copy=False)


def _frozen(column: array[Any], dtype: Any) -> NDArray[Any]:
    view = np.frombuffer(column, dtype=dtype) if len(column) else np.empty(0, dtype)
    view.setflags(write=False)
    return view


def _frozen_pairs(columns: tuple[array[int], array[int], array[float]]) -> Pairs:
    return Pairs(_frozen(columns[0], np.int32), _frozen(columns[1], np.int32), _frozen(columns[2], np.float32))


def _highest(column: array[int]) -> int:
    return int(_frozen(column, np.int32).max()) if len(column) else -1


def _label_counts(columns: tuple[array[int], array[float]], n: int) -> NDArray[np.float64]:
    return np.bincount(_frozen(columns[0], np.int32), _frozen(columns[1], np.float32), minlength=n).astype(np.float64)


def _games(n: int, wins: Pairs, ties: Pairs, rankings: Rankings) -> NDArray[np.float64]:
    total = np.zeros(n)
    for pairs in (wins, ties):
        for part in slices(len(pairs)):
            for side in (pairs.first, pairs.second):
                total += np.bincount(side[part], pairs.weight[part], minlength=n)
    lengths = np.diff(rankings.tiers[rankings.starts])
    total += np.bincount(rankings.items, np.repeat(rankings.weight, lengths), minlength=n)
    return total
