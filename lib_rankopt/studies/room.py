"""What the parts of the service share."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lib_rankopt.store import derive
from lib_rankopt.store.records import UNFINISHED
from lib_rankopt.studies.feedback import feedback_of
from lib_rankopt.studies.present import Summary, round_view
from lib_rankopt.studies.replay import Played

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lib_rankopt.hosts.base import Host
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.records import EventRecord, RoundRecord, RoundSnapshot, StudyRecord
    from lib_rankopt.studies.presence import Presence
    from lib_rankopt.studies.progress import ProgressBoard
    from lib_rankopt.studies.replay import Replayer
    from lib_rankopt.studies.views import RoundView

# Rounds that are read at once in search of the one that is wanted, which mostly is the first.
_PAGE = 4


@dataclass
class Room:
    """The service's tools, and its locks. Thread-safe as far as its parts are.

    A study's lock is taken before ``files``, never the other way round.

    Attributes:
        unsaved: by round id, failures that could not be written because the store failed too.
        other_models: by study id, what is to be said about a model file that was replaced since the study began.
        files: held from writing a file to writing the row that refers to it, and from deleting rows to deleting their files: studies
            share files of equal content.
    """

    store: Store
    blobs: BlobStore
    host: Host
    board: ProgressBoard
    presence: Presence
    replayer: Replayer
    unsaved: dict[str, str] = field(default_factory=dict)
    other_models: dict[str, str] = field(default_factory=dict)
    files: threading.Lock = field(default_factory=threading.Lock)
    _locks: dict[str, threading.RLock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def locked(self, study: str) -> Iterator[None]:
        """Hold a study's lock: one decision at a time. Other processes are kept apart by the store's revisions."""
        with self._guard:
            lock = self._locks.setdefault(study, threading.RLock())
        with lock:
            yield

    def drop_files(self, images: set[str], latents: set[str]) -> None:
        """Delete those of the files that no study refers to; the caller holds ``files``.

        The store is asked at the last moment: another process may have begun to use one since the caller asked.
        """
        self.blobs.delete(*self.store.unused(images, latents))

    def views(self, study: StudyRecord, records: list[RoundRecord]) -> list[RoundView]:
        """Return rounds as faces see them, in four queries however many they are."""
        ids = [record.id for record in records]
        candidates = self.store.candidates(ids)
        events: dict[str | None, list[EventRecord]] = {}
        for event in self.store.events(study.id, ids):
            events.setdefault(event.round, []).append(event)
        images = [c.image for some in candidates.values() for c in some if c.image]
        scores = self._scores(images, study.settings["prompt"])
        selected = self._selected(study, images)
        return [
            round_view(study, r, candidates[r.id], events.get(r.id, []), scores, self.unsaved.get(r.id), selected)
            for r in records
        ]

    def view(self, study: StudyRecord, record: RoundRecord) -> RoundView:
        """Return one round as faces see it."""
        return self.views(study, [record])[0]

    def seen(self, snapshot: RoundSnapshot, event: EventRecord) -> RoundView:
        """Return a round as it is after ``event``, without reading it again."""
        images = [c.image for c in snapshot.candidates if c.image]
        scores = self._scores(images, snapshot.study.settings["prompt"])
        error = self.unsaved.get(snapshot.round.id)
        selected = self._selected(snapshot.study, images)
        return round_view(snapshot.study, snapshot.round, snapshot.candidates, (*snapshot.events, event), scores, error, selected)

    def _selected(self, study: StudyRecord, images: list[str]) -> set[str]:
        """Images whose files tell how they were chosen; a branch may share some with a parent whose selection was another."""
        if not study.settings.get("selection") and study.parent is None:
            return set()
        return {image for image in images if self.blobs.has_selection(image)}

    def _scores(self, images: list[str], prompt: str) -> dict[str, dict[str, float]]:
        scores: dict[str, dict[str, float]] = {}
        for score in self.store.scores(images, prompt):
            scores.setdefault(score.image, {})[score.scorer] = score.value
        return scores

    def history(self, study: StudyRecord) -> list[Played]:
        """Return the answered rounds of a study, in order."""
        records = self.store.rounds(study.id)
        candidates = self.store.candidates([record.id for record in records])
        events: dict[str | None, list[EventRecord]] = {}
        for event in self.store.events(study.id):
            events.setdefault(event.round, []).append(event)
        # A retraction carries the round of the event that it takes back, so rounds can be looked at one by one.
        played = []
        for record in records:
            feedback = feedback_of(record.size, derive.standing(events.get(record.id, [])))
            if feedback is not None:
                latents = tuple(c.latent for c in candidates[record.id])
                played.append(Played(record.id, record.index, latents, feedback))
        return played

    def silence(self, record: RoundRecord) -> float:
        """Return the seconds since the owner of a round gave a sign of life."""
        return time.time() - record.touched


def summarise(room: Room, study: StudyRecord) -> Summary:
    """Return a study's figures and its first and latest best image, reading few rounds however many there are."""
    rounds, answered, images = room.store.counts(study.id, derive.CLOSING)
    last = room.store.last_round(study.id)
    if last is None:
        return Summary()
    starts = range(0, last.index + 1, _PAGE)
    return Summary(
        rounds=rounds,
        answered=answered,
        images=images,
        start_image=_first_best(room, study, starts, 1) if answered else None,
        now_image=_first_best(room, study, starts, -1) if answered else None,
        busy=last.state in UNFINISHED and last.id not in room.unsaved,
    )


def _first_best(room: Room, study: StudyRecord, starts: range, step: int) -> str | None:
    """Return the best image of the first round that says which one is best, from the beginning or (``step`` −1) from the end."""
    for start in starts[::step]:
        for view in room.views(study, room.store.rounds(study.id, start, _PAGE))[::step]:
            if view.best is not None:
                return next(c.image for c in view.candidates if c.id == view.best)
    return None
