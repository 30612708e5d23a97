"""Images that are in the store more than once: the same file or pixels, or pictures that look the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected.phash import near_duplicates
from lib_rankopt.studies.data.browsing_views import DuplicateGroup, Duplicates, ImageView

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore
    from lib_rankopt.studies.data.browsing import Browsing

_COUNTED = 10_000
_MOST = 200
_IN_A_GROUP = 60


class DuplicateFinder:
    """Thread-safe; hides nothing by itself, see :meth:`.browsing.Browsing.remove`."""

    def __init__(self, store: CollectionStore, browsing: Browsing) -> None:
        self._store, self._browsing = store, browsing

    def same(self, collection: int | None = None, limit: int = 50) -> Duplicates:
        """Return groups of images with the same file or the same pixels, of one collection or of all.

        Raises:
            InvalidInputError: not 1 to 200 groups. NotFoundError: there is no such collection.
        """
        self._check(collection, limit)
        found = self._store.same_content(collection, _COUNTED)
        return self._duplicates(found, collection, limit, more=len(found) >= _COUNTED)

    def near(self, collection: int | None = None, distance: int = 4, limit: int = 50) -> Duplicates:
        """Return groups of images whose perceptual hashes are close, chains included, where not all have the same pixels.

        Args:
            distance: bits of 64 that may differ, 0 to 8.

        Raises:
            InvalidInputError: another distance, or not 1 to 200 groups. NotFoundError: there is no such collection.
        """
        self._check(collection, limit)
        numbers, hashes = self._hashes(collection)
        same = {number: at for at, group in enumerate(self._store.same_content(collection, 10 * _COUNTED)) for number in group}
        groups = [tuple(int(n) for n in numbers[places]) for places in near_duplicates(hashes, distance)]
        # an image that is in no group of the same content is like no other
        kept = [group for group in groups if len({same.get(number, -number) for number in group}) > 1]
        return self._duplicates(kept, collection, limit)

    def _check(self, collection: int | None, limit: int) -> None:
        if not 1 <= limit <= _MOST:
            raise InvalidInputError(f"{limit} groups cannot be shown at once; ask for 1 to {_MOST}.")
        if collection is not None:
            self._store.collection(collection)

    def _hashes(self, collection: int | None) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        after = 0
        while page := self._store.phashes(collection, after):
            after = page[-1][0]
            parts.append(np.array(page, dtype=np.int64))
        every = np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int64)
        return every[:, 0], np.ascontiguousarray(every[:, 1])

    def _duplicates(self, found: Sequence[tuple[int, ...]], collection: int | None, limit: int, more: bool = False) -> Duplicates:
        shown = [group[:_IN_A_GROUP] for group in found[:limit]]
        images = self._store.images_by_number([number for group in shown for number in group])
        views = {view.number: view for view in self._browsing.views(list(images.values()))}
        groups = [tuple(views[number] for number in group if number in views) for group in shown]
        kept = tuple(DuplicateGroup(group, best(group)) for group in groups if len(group) > 1)
        unseen = self._store.tallies(collection).get("state:unseen", 0)
        return Duplicates(kept, len(found), more, unseen)


def best(group: Sequence[ImageView]) -> int:
    """The one to keep: about which most was said, of these the largest, of these the first."""
    return min(group, key=lambda one: (-(one.comparisons + len(one.labels)), -one.width * one.height, one.number)).number
