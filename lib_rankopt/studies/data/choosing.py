"""What a rater is shown next: what teaches most, or now and then an answer of theirs once more, mirrored; only of files that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib_rankopt.errors import RankOptError
from lib_rankopt.store.collected.derive import standing
from lib_rankopt.store.collected.records import COMPARISONS, FileFacts
from lib_rankopt.studies.data import beliefs
from lib_rankopt.studies.data.candidates import Finder, compared

if TYPE_CHECKING:
    import numpy as np

    from lib_rankopt.store.collected.base import CollectionStore
    from lib_rankopt.store.collected.files import HeldFiles
    from lib_rankopt.store.collected.records import CollectedImage, Collection
    from lib_rankopt.studies.data.comparing_views import RankSettings
    from lib_rankopt.studies.data.memory import RaterMemory

_NOT_REPEATED = 10  # latest answers, which a rater would know again
_LOOKED_BACK = 300
_MOST_GONE = 200


class Chooser:
    """Chooses for one rater of a collection; ``memory``'s lock is held meanwhile."""

    def __init__(
        self, store: CollectionStore, held: HeldFiles, collection: Collection, rater: str, memory: RaterMemory, rng: np.random.Generator
    ) -> None:
        self._store, self._held, self._collection = store, held, collection
        self._rater, self._memory, self._rng = rater, memory, rng
        self._banned: set[int] = set()

    def next(self, settings: RankSettings, within_prompt: bool) -> tuple[int, ...] | None:
        """Return images in their order on screen, ``None`` where nothing is left."""
        if self._rng.random() < settings.repeats and (again := self._repeat()) is not None:
            return again
        finder = Finder(self._store, self._collection.number, within_prompt, settings.shown, self._seen, self._rng)
        busy = {image for images in self._memory.on_screen() for image in images}
        while len(self._banned) <= _MOST_GONE:
            found = finder.find(self._memory.unwanted(), busy, self._banned)
            if found is None:
                return None
            if self._all_there(found):
                return tuple(found[int(place)] for place in self._rng.permutation(len(found)))
        return None

    def _repeat(self) -> tuple[int, ...] | None:
        back = self._store.feedback_back(self._collection.number, self._rater, _LOOKED_BACK)
        said = [event for event in reversed(standing(back)) if event.kind in COMPARISONS and not event.source]
        repeated = {event.about.get(beliefs.REPEATS) for event in said}
        open_now = {frozenset(images) for images in self._memory.on_screen()}
        old = [
            event for event in said[_NOT_REPEATED:]
            if not beliefs.is_repeat(event) and event.number not in repeated and frozenset(event.images) not in open_now
            and len(event.images) <= 8
        ]  # fmt: skip
        if not old:
            return None
        images: tuple[int, ...] = old[int(self._rng.integers(len(old)))].images
        return tuple(reversed(images)) if self._all_there(images) else None

    def _seen(self, images: Sequence[int]) -> set[frozenset[int]]:
        """Pairs of some images that the rater has compared, as the store has them now: another process may have taken answers too."""
        mine = [event for event in self._store.feedback_of(images) if event.rater == self._rater and not event.source]
        found = {pair for event in mine for pair in compared(event)}
        self._memory.learn(found)
        return found

    def _all_there(self, images: Sequence[int]) -> bool:
        """Whether all files are there; those that are not are noted as gone and not chosen again."""
        known = self._store.images_by_number(images)
        for image in images:
            if image not in known or known[image].state in ("removed", "gone"):
                self._banned.add(image)
            elif not self._is_there(known[image]):
                self._banned.add(image)
                if known[image].path is not None:  # others were never here
                    self._store.note_files([FileFacts(image, "gone", size=known[image].size, modified=known[image].modified)])
        return self._banned.isdisjoint(images)

    def _is_there(self, image: CollectedImage) -> bool:
        try:
            self._held.locate(image, self._collection).stat()
        except (RankOptError, OSError):
            return False
        return True
