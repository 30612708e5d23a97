"""Which images to compare next: a small pool out of millions, and the choice from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lib_rankopt.evaluation.preferences import Pool, choose
from lib_rankopt.store.collected.records import COMPARISONS, FeedbackRecord, Rating

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

_ALL = 160  # images of a collection that is its own pool
_UNCERTAIN, _NEAR, _SLABS, _SLAB = 64, 48, 6, 8
_DEEP = (1_000, 20_000)
_GROUPS = 16
_TRIES, _SINGLY = 12, 4


def compared(event: FeedbackRecord) -> list[frozenset[int]]:
    """Return the pairs of images that an answer has compared: of those left in its last tier none, unless all are equal or skipped."""
    if event.kind == "skip" or (event.kind in COMPARISONS and len(event.tiers) == 1):
        return [frozenset(pair) for pair in combinations(event.images, 2)]
    if event.kind not in COMPARISONS:
        return []
    level = {event.images[place]: number for number, tier in enumerate(event.tiers) for place in tier}
    last = len(event.tiers) - 1
    return [frozenset(pair) for pair in combinations(event.images, 2) if not level[pair[0]] == level[pair[1]] == last]


class Finder:
    """Finds what teaches most among the images of one collection.

    Args:
        within_prompt: compare images of one prompt only.
        size: images of a comparison, 2 to 8.
        seen: reads the pairs among some images that must not come again; called with the images of a choice.
        rng: decides between equals, and draws images at random.
    """

    def __init__(
        self, store: CollectionStore, collection: int, within_prompt: bool, size: int,
        seen: Callable[[Sequence[int]], Collection[frozenset[int]]], rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self._store, self._collection = store, collection
        self._within, self._size = within_prompt, size
        self._seen, self._rng = seen, rng
        self._pairs: set[frozenset[int]] = set()

    def find(self, pairs: Iterable[frozenset[int]], avoid: Collection[int] = (), banned: Collection[int] = ()) -> tuple[int, ...] | None:
        """Return images to compare, ``None`` where none are left.

        Args:
            pairs: known not to be wanted. avoid: images that others are better than. banned: images that may not come.
        """
        self._pairs = set(pairs)
        for ratings in self._pools():
            usable = {one.image: one for one in ratings if one.image not in banned}
            rested = [one for one in usable.values() if one.image not in avoid]
            for pool in (rested, list(usable.values())):
                if found := self._choose(pool):
                    return found
        return None

    def _choose(self, ratings: list[Rating]) -> tuple[int, ...] | None:
        if len(ratings) < 2:
            return None
        pool = Pool(
            np.array([one.mean for one in ratings]),
            np.array([one.sd for one in ratings]),
            np.array([one.prompt for one in ratings]) if self._within else None,
        )
        places = {one.image: place for place, one in enumerate(ratings)}
        already: set[frozenset[int]] = set()
        self._note(self._pairs, places, already)
        for attempt in range(_TRIES):
            chosen = choose(pool, already, self._size, self._rng)
            if chosen is None:
                return None
            images = [ratings[place].image for place in chosen]
            pairs = {frozenset(pair) for pair in combinations(chosen, 2)}
            # once some were compared before, all others of the pool are looked at together
            self._note(self._seen(images if attempt < _SINGLY else list(places)), places, already)
            if self._is_new(pairs, already):
                return tuple(images)
        return None

    def _note(self, pairs: Iterable[frozenset[int]], places: dict[int, int], already: set[frozenset[int]]) -> None:
        self._pairs.update(pairs)
        already.update(frozenset(places[image] for image in pair) for pair in pairs if all(image in places for image in pair))

    def _is_new(self, pairs: set[frozenset[int]], already: set[frozenset[int]]) -> bool:
        """Whether two images have not been compared at all; of more, whether each has a pair that is new."""
        fresh = pairs - already
        return {place for pair in fresh for place in pair} == {place for pair in pairs for place in pair}

    # -- pools
    def _pools(self) -> Iterable[list[Rating]]:
        uncertain = self._store.uncertain(self._collection, _ALL)
        if len(uncertain) < _ALL:
            yield uncertain
            return
        yield self._around(uncertain[:_UNCERTAIN])
        if self._within:
            yield self._groups()
        for depth in _DEEP:
            yield self._largest_groups(self._store.uncertain(self._collection, depth))

    def _around(self, uncertain: list[Rating]) -> list[Rating]:
        """The most uncertain, some at random, and the neighbours of one of them: what it can be told from least."""
        found = {one.image: one for one in (*uncertain, *self._at_random())}
        anchor = uncertain[int(self._rng.integers(min(8, len(uncertain))))]
        neighbours = self._store.near(self._collection, anchor.mean, _NEAR)
        if self._within and sum(one.prompt == anchor.prompt for one in neighbours) < self._size:
            neighbours = [*self._store.near(self._collection, anchor.mean, _NEAR, anchor.prompt), *neighbours]
        found.update({one.image: one for one in neighbours})
        return list(found.values())

    def _at_random(self) -> list[Rating]:
        """Images from anywhere: while all are equally unknown, the store would give them in the order of the folder."""
        first = self._store.ratings(self._collection, 0, 1)
        count = self._store.tallies(self._collection).get("images", 0)
        if not first or not count:
            return []
        starts = self._rng.integers(0, count, _SLABS)
        found = [one for start in starts for one in self._store.ratings(self._collection, first[0].image + int(start) - 1, _SLAB)]
        images = self._store.images_by_number([one.image for one in found])
        return [one for one in found if one.image in images and images[one.image].state not in ("removed", "gone")]

    def _groups(self) -> list[Rating]:
        """All images of some prompts: where many prompts have a single image, these are the most uncertain for ever."""
        prompts = dict.fromkeys(one.prompt for _ in range(2) for one in self._at_random())
        return [one for prompt in list(prompts)[:_GROUPS] for one in self._store.uncertain(self._collection, self._size + 2, prompt)]

    def _largest_groups(self, ratings: list[Rating]) -> list[Rating]:
        if not self._within:
            return [ratings[int(place)] for place in self._rng.permutation(len(ratings))[:_ALL]]
        groups: dict[int, list[Rating]] = {}
        for one in ratings:
            groups.setdefault(one.prompt, []).append(one)
        several = [group for group in groups.values() if len(group) > 1]
        order = self._rng.permutation(len(several))
        return [one for place in order for one in several[int(place)][: self._size + 2]][:_ALL]
