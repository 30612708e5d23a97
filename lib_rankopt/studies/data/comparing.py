"""Ranking the images of a collection by comparing a few at a time: what to show next, answers, and what came of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError, RankOptError
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS, said_by, standing
from lib_rankopt.store.collected.records import COMPARISONS, LABEL_KINDS, Collection, FeedbackDraft, FeedbackRecord, Rating
from lib_rankopt.store.records import new_id
from lib_rankopt.studies.data import beliefs
from lib_rankopt.studies.data.candidates import compared
from lib_rankopt.studies.data.choosing import Chooser
from lib_rankopt.studies.data.comparing_views import (
    Answered,
    Comparison,
    RankedCollection,
    RankSettings,
    Results,
    Settled,
    ShownImage,
    Undone,
    agreement_view,
    checked,
    settings_of,
)
from lib_rankopt.studies.data.folders import Taking, checked_folder
from lib_rankopt.studies.data.memory import Memory, Progress, RaterMemory, counts_of
from lib_rankopt.studies.data.names import plain, rater_name
from lib_rankopt.studies.data.ranked import as_csv, best
from lib_rankopt.studies.data.refit import refit

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore
    from lib_rankopt.store.collected.files import HeldFiles
    from lib_rankopt.studies.data.jobs import Jobs, JobView, Step

_MOST_AHEAD = 4
_FIRST_IMAGES = 32
_MOST_UNDONE = 100
_LOOKED_BACK = (50, 20_000)
_LONGEST = 2**31 - 1  # milliseconds that fit their column


class Comparing:
    """Thread-safe. Any number of raters, windows and processes may rank one collection at once.

    Args:
        seed: of what is drawn (order on screen, choice between equals, repeats); ``None`` for another one at each start.
        weights: gives how much labels count that were concluded, by source, where all ratings are made again.
    """

    def __init__(
        self,
        store: CollectionStore,
        held: HeldFiles,
        jobs: Jobs,
        seed: int | None = None,
        weights: Callable[[], Mapping[str, float]] = lambda: IMPLICIT_WEIGHTS,
    ) -> None:
        self._weights = weights
        self._store, self._held, self._jobs = store, held, jobs
        self._memory = Memory()
        self._progress = Progress(store)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._seeded: dict[int, int] = {}
        self._undone: OrderedDict[tuple[int, str], Undone] = OrderedDict()

    # -- what is ranked
    def add_folder(self, path: str, name: str | None = None, settings: dict[str, Any] | None = None) -> RankedCollection:
        """Rank a folder of images, or go on with one. The first images can be compared at once; the others are taken in by a job.

        A folder that is ranked already gets what is new in it; what was moved inside it is found by its content.

        Raises:
            InvalidInputError: no folder that can be read, no images in it, or no such setting. ConflictError: the name is taken.
        """
        root = checked_folder(path)
        known = next((one for one in self._store.collections() if one.kind == "folder" and one.root == str(root)), None)
        if known is not None:
            if settings:
                self.change(known.number, settings)
            self._take_in(known)
            return self.view(known.number)
        chosen = checked(settings or {}, RankSettings())
        draft = Collection(self._free_name(name, root), "folder", "folder", str(root), {"comparing": vars(chosen)})
        made = self._store.create(draft)
        first = self._taking(made)
        try:
            for _ in first.take(_FIRST_IMAGES):
                pass
        except RankOptError:
            self._store.delete(made.number)
            raise
        self._take_in(made, first.new)
        return self.view(made.number)

    def collections(self) -> list[RankedCollection]:
        """Return what is ranked, newest first; how far is only counted."""
        every = [one for one in self._store.collections() if one.kind == "folder" or "comparing" in one.settings]
        counted = [(one, self._store.tallies(one.number)) for one in every]
        return [self._view(one, tally, counts_of(tally)) for one, tally in counted]

    def view(self, collection: int) -> RankedCollection:
        """Return one collection. Raises: NotFoundError."""
        return self._settled_view(self._store.collection(collection))

    def change(self, collection: int, settings: dict[str, Any]) -> RankedCollection:
        """Change some settings. Raises: NotFoundError, InvalidInputError."""
        record = self._store.collection(collection)
        self._keep(collection, {"comparing": vars(checked(settings, settings_of(record.settings.get("comparing"))))})
        self._progress.forget(collection)
        return self.view(collection)

    # -- comparing
    def next(
        self, collection: int, rater: str = "me", count: int = 1, window: str = "", held: Container[str] = ()
    ) -> tuple[Comparison, ...]:
        """Return the next comparisons; fewer, or none, where nothing is left that this rater has not compared.

        Every call gives others. What is not answered can come again after ten minutes.

        Args:
            count: 1 to 4, to have some ready ahead.
            window: tells windows of one rater apart. held: tokens that this one still holds; others that it was given can come again.

        Raises:
            NotFoundError: there is no such collection. InvalidInputError: another count.
        """
        if not 1 <= count <= _MOST_AHEAD:
            raise InvalidInputError(f"{count} comparisons ahead; it must be 1 to {_MOST_AHEAD}.")
        record, rater = self._store.collection(collection), rater_name(rater)
        memory = self._memory.rater(collection, rater)
        found: list[Comparison] = []
        with memory.lock:
            tally = self._store.tallies(collection)
            self._seed(record, tally.get("images", 0))
            if window:
                memory.release(window, held)
            chooser = Chooser(self._store, self._held, record, rater, memory, self._generator())
            settings, within_prompt = settings_of(record.settings.get("comparing")), self._within(record, tally) == "prompt"
            for _ in range(count):
                images = chooser.next(settings, within_prompt)
                if images is None:
                    break
                found.append(self._composed(images, rater, memory, window))
        return tuple(found)

    def answer(
        self,
        collection: int,
        rater: str,
        token: str,
        images: Sequence[int],
        tiers: Sequence[Sequence[int]] = (),
        skip: bool = False,
        latency_ms: int | None = None,
    ) -> Answered:
        """Take an answer; when this returns it is on disk. The same token with the same answer counts once.

        Args:
            images: as they stood on screen. tiers: places in them, best first; each stands in one tier. Of more than two, those in the
                last tier are taken as not ordered among each other. skip: instead of tiers.

        Raises:
            NotFoundError: there is no such collection or image. InvalidInputError: not 2 to 8 images, or tiers that do not name each
                once. ConflictError: the token was used for another answer.
        """
        rater, shown = rater_name(rater), _checked_images(images)
        if not 2 <= len(shown) <= 8 or not token:
            raise InvalidInputError(f"An answer is about 2 to 8 images and has a token, not {len(shown)} images and '{token[:40]}'.")
        kind: Any = "skip" if skip else ("pair" if len(shown) == 2 else "ranking")
        filled = () if skip else tuple(tuple(tier) for tier in tiers if len(tier))
        record = self._store.collection(collection)
        with self._memory.writing(collection):
            earlier = self._same(shown, rater) if not skip else None
            about = {beliefs.REPEATS: earlier.number} if earlier is not None else {}
            waited = None if latency_ms is None else min(max(latency_ms, 0), _LONGEST)
            draft = FeedbackDraft(kind, shown, filled, token, None, rater, latency_ms=waited, about=about)
            event = self._append(collection, draft)
        memory = self._memory.rater(collection, rater)
        with memory.lock:
            memory.answered(token)
            memory.learn(compared(event))
        return Answered(event.number, self._settled(record))

    def label(self, collection: int, rater: str, token: str, image: int, kind: str) -> Answered:
        """Take a ``like``, ``dislike`` or ``unlike`` of one image. Raises: as :meth:`answer`."""
        if kind not in LABEL_KINDS or not token:
            raise InvalidInputError(f"There is no label '{kind[:40]}'; there are {', '.join(LABEL_KINDS)}, each with a token.")
        record = self._store.collection(collection)
        draft = FeedbackDraft(kind, _checked_images([image]), ((0,),), token, None, rater_name(rater))  # type: ignore[arg-type]
        with self._memory.writing(collection):
            event = self._append(collection, draft)
        return Answered(event.number, self._settled(record))

    def undo(self, collection: int, rater: str = "me", token: str = "", window: str = "") -> Undone:
        """Take back the rater's last answer, skip or label that stands, and give the comparison once more.

        Raises:
            ConflictError: there is nothing to take back.
        """
        record, rater = self._store.collection(collection), rater_name(rater)
        with self._memory.writing(collection):
            if token and (before := self._undone.get((collection, token))):
                return before
            target = self._last(collection, rater)
            self._store.append(collection, FeedbackDraft("retraction", token=token or new_id(), rater=rater, retracts=target.number))
            self._unlearn(collection, target)
            memory = self._memory.rater(collection, rater)
            comparison = None
            if target.kind not in LABEL_KINDS:
                with memory.lock:
                    memory.pairs.difference_update(compared(target))
                    comparison = self._composed(target.images, rater, memory, window)
            done = Undone(target.kind, self._settled(record), comparison, 0 if comparison else target.images[0])
            if token:
                self._remember(collection, token, done)
        return done

    def _remember(self, collection: int, token: str, done: Undone) -> None:
        with self._lock:
            self._undone[(collection, token)] = done
            while len(self._undone) > _MOST_UNDONE:
                self._undone.popitem(last=False)

    # -- what came of it
    def results(self, collection: int, offset: int = 0, limit: int = 100) -> Results:
        """Return images that were compared or labelled from the best to the worst, of the best twenty thousand.

        Raises:
            InvalidInputError: a limit that is not 1 to 500, or a negative offset.
        """
        if not 1 <= limit <= 500 or offset < 0:
            raise InvalidInputError(f"{limit} images from {offset} on; 1 to 500 can be had at once.")
        record = self._store.collection(collection)
        images, total = best(self._store, collection, offset, limit)
        return Results(images, total, self._settled_view(record), agreement_view(record.settings.get("agreement")))

    def csv(self, collection: int) -> Iterator[str]:
        """Yield all images that were compared or labelled, from the best to the worst, as CSV. Raises: NotFoundError."""
        self._store.collection(collection)
        return as_csv(self._store, collection)

    def rebuild(self, collection: int) -> JobView:
        """Make all ratings again from all answers, at once, in the background; also how far raters agree. Raises: NotFoundError."""
        record = self._store.collection(collection)
        running = self._job(collection, "rebuild")
        if running is not None and running.state in ("queued", "running"):
            return running
        return self._jobs.start("rebuild", f"Rating {record.name} by all answers", lambda: self._rebuilding(collection), collection)

    def _rebuilding(self, collection: int) -> Iterator[Step]:
        said = _said(self._store.tallies(collection))

        def finish(ratings: dict[int, Rating], last: int, agreed: dict[str, Any]) -> None:
            with self._memory.writing(collection):
                self._catch_up(collection, ratings, last)
            self._keep(collection, {"agreement": agreed, "fitted": said})
            self._progress.forget(collection)

        return refit(self._store, collection, finish, self._weights())

    def _catch_up(self, collection: int, fitted: dict[int, Rating], last: int) -> None:
        """Add what was said while the fit went on."""
        events: list[FeedbackRecord] = []
        while page := self._store.feedback(collection, events[-1].number if events else last):
            events += page
        images = sorted({image for event in events for image in event.images})
        found = beliefs.through({image: fitted.get(image, Rating(image)) for image in images}, events)
        self._store.put_ratings(collection, list(found.values()))
        for event in events:
            if event.retracts is not None and event.retracts <= last:
                again = [old for old in self._store.feedback(collection, event.retracts - 1, 1) if old.number == event.retracts]
                self._store.put_ratings(collection, [one for old in again for one in beliefs.relearned(self._store, old.images).values()])

    # -- inside
    def _seed(self, record: Collection, images: int) -> None:
        """Give images that came otherwise than by a folder their first ratings."""
        if record.kind != "folder" and self._seeded.get(record.number) != images:
            self._store.seed_ratings(record.number)
            self._seeded[record.number] = images

    def _append(self, collection: int, draft: FeedbackDraft) -> FeedbackRecord:
        """Append an event, and learn from it unless it came before."""
        latest = self._store.feedback_back(collection, draft.rater, 1)
        is_second_label = draft.kind in LABEL_KINDS and self._has_label(draft)
        event = self._store.append(collection, draft)
        if latest and event.number <= latest[0].number:
            return event
        before = beliefs.known(self._store, event.images)
        found = beliefs.relearned(self._store, event.images) if is_second_label else beliefs.after(before, event)
        if found:
            self._store.put_ratings(collection, list(found.values()))
            self._memory.note_change(collection, event.number, before, beliefs.known(self._store, event.images))
        return event

    def _has_label(self, draft: FeedbackDraft) -> bool:
        events = self._store.feedback_of(draft.images)
        return any(event.kind in LABEL_KINDS and event.rater == draft.rater for event in events)

    def _unlearn(self, collection: int, event: FeedbackRecord) -> None:
        if event.kind == "skip" or beliefs.is_repeat(event):
            return
        before = self._memory.before(collection, event.number, beliefs.known(self._store, event.images))
        found = beliefs.relearned(self._store, event.images) if before is None else before
        self._store.put_ratings(collection, list(found.values()))

    def _same(self, images: Sequence[int], rater: str) -> FeedbackRecord | None:
        """The rater's earlier answer about exactly these images."""
        events = self._store.feedback_of(images[:1])
        same = [one for one in events if one.kind in COMPARISONS and one.rater == rater and set(one.images) == set(images)]
        return same[0] if same else None

    def _last(self, collection: int, rater: str) -> FeedbackRecord:
        for depth in _LOOKED_BACK:
            back = self._store.feedback_back(collection, rater, depth)
            if own := [event for event in standing(back) if not event.source]:
                return own[-1]
            if len(back) < depth:
                break
        raise ConflictError(f"There is nothing of {rater} to take back.")

    def _composed(self, images: Sequence[int], rater: str, memory: RaterMemory, window: str = "") -> Comparison:
        known = self._store.images_by_number(images)
        said = said_by(rater, self._store.feedback_of(images))
        token = new_id()
        memory.show(token, tuple(images), window)
        shown = [known[image] for image in images]
        return Comparison(token, tuple(ShownImage(i.number, i.key, i.prompt, i.width, i.height, said.get(i.number, "")) for i in shown))

    def _taking(self, record: Collection, just_taken: int = 0) -> Taking:
        return Taking(self._store, self._held, record, lambda shared: self._keep(record.number, {"shares_prompts": shared}), just_taken)

    def _take_in(self, record: Collection, just_taken: int = 0) -> None:
        running = self._job(record.number, "folder")
        if running is None or running.state not in ("queued", "running"):
            self._jobs.start("folder", f"Taking in {record.name}", lambda: self._taking(record, just_taken).steps(), record.number)

    def _job(self, collection: int, kind: str = "") -> JobView | None:
        kinds = (kind,) if kind else ("folder", "rebuild")
        return next((job for job in self._jobs.views() if job.collection == collection and job.kind in kinds), None)

    def _keep(self, collection: int, values: dict[str, Any]) -> None:
        with self._lock:
            self._store.change(collection, settings={**self._store.collection(collection).settings, **values})

    def _settled_view(self, record: Collection) -> RankedCollection:
        tally = self._store.tallies(record.number)
        return self._view(record, tally, self._settled(record, tally))

    def _view(self, record: Collection, tally: Mapping[str, int], progress: Settled) -> RankedCollection:
        fitted, within = record.settings.get("fitted") == _said(tally), self._within(record, tally)
        settings = settings_of(record.settings.get("comparing"))
        return RankedCollection(
            record.number, record.name, record.kind, record.root, settings, within, progress, fitted, self._job(record.number)
        )

    def _settled(self, record: Collection, tally: Mapping[str, int] | None = None) -> Settled:
        tally = self._store.tallies(record.number) if tally is None else tally
        return self._progress.of(record.number, tally, self._within(record, tally) == "prompt", self._generator())

    @staticmethod
    def _within(record: Collection, tally: Mapping[str, int]) -> str:
        """What ``auto`` comes to: of a folder it was counted; elsewhere prompts are compared with images in number."""
        chosen = settings_of(record.settings.get("comparing")).within
        if chosen != "auto":
            return chosen
        shared = record.settings.get("shares_prompts")
        if shared is None:
            shared = 1 < tally.get("prompts", 0) <= 0.6 * tally.get("images", 0)
        return "prompt" if shared else "any"

    def _free_name(self, name: str | None, root: Path) -> str:
        if name is not None:
            if not (given := plain(name)) or len(given) > 100:
                raise InvalidInputError(f"A name has 1 to 100 signs; this one has {len(given)}.")
            return given
        taken = {one.name for one in self._store.collections()}
        base = plain(root.name)[:80] or "images"
        return next(one for number in range(1, len(taken) + 2) if (one := base if number == 1 else f"{base} ({number})") not in taken)

    def _generator(self) -> np.random.Generator:
        with self._lock:
            return np.random.default_rng(int(self._rng.integers(2**63)))


def _said(tally: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in sorted(tally.items()) if name.startswith("kind:")}


def _checked_images(images: Sequence[int]) -> tuple[int, ...]:
    for image in images:
        if not 0 <= image < 2**63:
            raise NotFoundError(f"There is no image {image}.")
    return tuple(images)
