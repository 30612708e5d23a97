"""What a server remembers of a ranking while it goes on. All of it can be lost: it follows from the store, or is of use for minutes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lib_rankopt.evaluation.preferences import progress
from lib_rankopt.store.collected.records import COMPARISONS, Rating
from lib_rankopt.studies.data.comparing_views import Settled

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

_OPEN_SECONDS = 600.0  # that a comparison which nobody answers is kept from coming again
_MOST_PAIRS = 200_000
_MOST_RATERS = 64
_MOST_CHANGES = 500
_RARELY = 2.0
_ALL, _SLABS = 4000, 64


@dataclass
class RaterMemory:
    """Of one rater in one collection: pairs that were compared, and what is on a screen now, by token.

    ``lock`` is held while the next comparison is found, so that two windows of one person do not get the same one.
    """

    pairs: set[frozenset[int]] = field(default_factory=set)
    shown: dict[str, tuple[tuple[int, ...], float, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, token: str, images: tuple[int, ...], window: str) -> None:
        """Note what goes to a screen."""
        self.shown[token] = (images, time.monotonic() + _OPEN_SECONDS, window)

    def release(self, window: str, held: Collection[str]) -> None:
        """A window holds these and no others: it was loaded again, or has thrown some away."""
        self.shown = {token: one for token, one in self.shown.items() if one[2] != window or token in held}

    def answered(self, token: str) -> None:
        """Forget what was on a screen."""
        self.shown.pop(token, None)

    def learn(self, pairs: Iterable[frozenset[int]]) -> None:
        """Note pairs that must not come again."""
        if len(self.pairs) > _MOST_PAIRS:
            self.pairs.clear()  # they are read again from the store
        self.pairs.update(pairs)

    def on_screen(self) -> list[tuple[int, ...]]:
        """What is on screens now."""
        late = time.monotonic()
        self.shown = {token: one for token, one in self.shown.items() if one[1] > late}
        return [one[0] for one in self.shown.values()]

    def unwanted(self) -> set[frozenset[int]]:
        """All pairs that must not come now."""
        return self.pairs | {frozenset(pair) for images in self.on_screen() for pair in combinations(images, 2)}


class Memory:
    """Of all raters and collections. Thread-safe; what has not been used for long is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._raters: OrderedDict[tuple[int, str], RaterMemory] = OrderedDict()
        self._collections: dict[int, threading.RLock] = {}
        self._changes: OrderedDict[tuple[int, int], tuple[dict[int, Rating], dict[int, Rating]]] = OrderedDict()

    def rater(self, collection: int, rater: str) -> RaterMemory:
        """Return what is remembered of a rater."""
        with self._lock:
            found = self._raters.setdefault((collection, rater), RaterMemory())
            self._raters.move_to_end((collection, rater))
            while len(self._raters) > _MOST_RATERS:
                self._raters.popitem(last=False)
            return found

    def writing(self, collection: int) -> threading.RLock:
        """Return the lock that is held while ratings of a collection are read and written."""
        with self._lock:
            return self._collections.setdefault(collection, threading.RLock())

    def note_change(self, collection: int, event: int, before: Mapping[int, Rating], after: Mapping[int, Rating]) -> None:
        """Note what an event has changed."""
        with self._lock:
            self._changes[(collection, event)] = (dict(before), dict(after))
            while len(self._changes) > _MOST_CHANGES:
                self._changes.popitem(last=False)

    def before(self, collection: int, event: int, now: Mapping[int, Rating]) -> dict[int, Rating] | None:
        """Return the ratings before an event, if nothing has changed since; otherwise, or if it is not known, ``None``."""
        with self._lock:
            before, after = self._changes.pop((collection, event), ({}, {}))
        return before if after and after == dict(now) else None


def counts_of(tally: Mapping[str, int]) -> Settled:
    """How far a collection with these counts is ranked, as far as that is only counted."""
    out = tally.get("state:removed", 0) + tally.get("state:gone", 0)
    return Settled(sum(tally.get(f"kind:{kind}", 0) for kind in COMPARISONS), max(tally.get("images", 0) - out, 0))


class Progress:
    """How far collections are ranked: worked out now and then, from a sample where they are large. Thread-safe."""

    def __init__(self, store: CollectionStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[float, Settled]] = {}

    def forget(self, collection: int) -> None:
        """Work it out anew at the next call."""
        with self._lock:
            self._kept.pop(collection, None)

    def of(self, collection: int, tally: Mapping[str, int], within_prompt: bool, rng: np.random.Generator) -> Settled:
        """Return how far a collection with these counts is ranked; the share that is settled may be two seconds old."""
        counted = counts_of(tally)
        with self._lock:
            made, kept = self._kept.get(collection, (float("-inf"), counted))
            is_fresh = (kept.comparisons, kept.images) == (counted.comparisons, counted.images) and made > 0
            if is_fresh or time.monotonic() - made < _RARELY:
                return replace(counted, settled=kept.settled, expected_tau=kept.expected_tau)
            self._kept[collection] = (time.monotonic(), kept)  # others do not work it out at the same time
        ratings = self._sample(collection, counted.images, rng)
        group = np.array([one.prompt for one in ratings]) if within_prompt else None
        found = progress(np.array([one.mean for one in ratings]), np.array([one.sd for one in ratings]), rng, group)
        if found is not None:
            counted = replace(counted, settled=found.settled, expected_tau=found.expected_tau)
        with self._lock:
            self._kept[collection] = (time.monotonic(), counted)
        return counted

    def _sample(self, collection: int, images: int, rng: np.random.Generator) -> list[Rating]:
        if images <= _ALL:
            return self._store.uncertain(collection, _ALL)
        first = self._store.ratings(collection, 0, 1)
        starts = sorted(int(start) for start in rng.integers(0, images, _SLABS)) if first else []
        slabs = [self._store.ratings(collection, first[0].image + start - 1, _ALL // _SLABS) for start in starts]
        return list({one.image: one for slab in slabs for one in slab}.values())
