"""A data set's rows into a collection: batch by batch, each whole; what is wrong with a row is said and the good ones go in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import ConflictError, InvalidInputError
from lib_rankopt.store.collected._checks import check_feedback, check_image
from lib_rankopt.store.collected.records import Added, Collection, FeedbackDraft, ImageDraft
from lib_rankopt.store.formats.files import relative

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore
    from lib_rankopt.store.collected.files import HeldBatch, HeldFiles
    from lib_rankopt.store.formats.base import FeedbackEntry, Format, ImageEntry, Row

_BATCH_BYTES = 64 << 20  # of images that a batch holds in memory
_SAID = 100


@dataclass(frozen=True)
class IntakeReport:
    """How far an import is, and what it came to.

    Attributes:
        done, total: in the reader's units (rows, bytes, files); a total of 0 is not known.
        rows: that were read in this call; rows of an earlier one are not read again.
        added: what was new, and what was there already.
        problems: rows that were not taken, wholly or in part. by_reason: how many for each reason, at most a hundred reasons.
        first_problems: of the first hundred: where, and why.
    """

    done: int = 0
    total: int = 0
    rows: int = 0
    added: Added = field(default_factory=Added)
    problems: int = 0
    by_reason: Mapping[str, int] = field(default_factory=dict)
    first_problems: tuple[str, ...] = ()


def take_in(
    store: CollectionStore, held: HeldFiles, collection: Collection, fmt: Format, path: Path, *, batch: int = 5000
) -> Iterator[IntakeReport]:
    """Read a data set into a collection, from where an earlier, interrupted import of the same files has stopped.

    Args:
        batch: rows that are kept in one transaction.

    Yields:
        the report so far, after each batch that is on disk; at least once.

    Raises:
        InvalidInputError: the data set cannot be read at all. StoreError: the disk is full …; what was yielded before is kept.
    """
    total = fmt.size(path)
    collection, after = _begin(store, collection, fmt, path)
    tally = _Tally(held, path, after, total)
    added = Added()
    # a database's work and the reading of the next rows take about as long, and go on beside each other
    with ThreadPoolExecutor(1, thread_name_prefix="rankopt-intake") as keeper:
        before: tuple[_Batch, Future[Added]] | None = None
        for following in chain(_batches(tally, fmt.rows(path, after), batch), (None,)):
            if before is not None:
                added += before[1].result()
                yield replace(before[0].report, added=added)
            if following is not None:
                before = following, keeper.submit(following.keep, store, collection)


def _batches(tally: _Tally, rows: Iterable[Row], most: int) -> Iterator[_Batch]:
    """Cut rows into batches; the last one may be empty, and is there to keep how far the reading is."""
    for row in rows:
        tally.take(row)
        if tally.waiting >= most or tally.bytes >= _BATCH_BYTES:
            yield tally.hand_over()
    yield tally.hand_over()


def open_collection(store: CollectionStore, draft: Collection) -> Collection:
    """Return the collection of the draft's name, made if it is new.

    Raises:
        ConflictError: there is one of that name, of another format or folder.
    """
    known = _named(store, draft.name)
    if known is None:
        try:
            return store.create(draft)
        except ConflictError:  # another process was faster
            known = _named(store, draft.name)
            if known is None:
                raise
    if (known.kind, known.format, known.root) != (draft.kind, draft.format, draft.root):
        where = f"was read as '{known.format}' from {known.root or 'the data folder'}"
        raise ConflictError(f"There is a collection named '{draft.name}' already, which {where}. Give this one another name.")
    return known


def _named(store: CollectionStore, name: str) -> Collection | None:
    return next((one for one in store.collections() if one.name == name), None)


def _begin(store: CollectionStore, collection: Collection, fmt: Format, path: Path) -> tuple[Collection, int]:
    """Where to go on: at the position, if the files are those that it is about."""
    current = store.collection(collection.number)
    plain = {"path": str(path.absolute()), "stamp": _stamp(path), "options": dict(fmt.given)}
    if current.settings.get("reading") == plain:
        return current, current.position
    return store.change(current.number, settings={**current.settings, "reading": plain}, position=0), 0


def _stamp(path: Path) -> list[int]:
    """Changes when a single file does; a folder's files are told apart by the rows' own tokens."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns] if path.is_file() else []


@dataclass(frozen=True)
class _Batch:
    """Rows that wait for their transaction, and the report of all up to them but for what is added."""

    images: list[ImageDraft]
    feedback: list[FeedbackDraft]
    files: HeldBatch
    report: IntakeReport

    def keep(self, store: CollectionStore, collection: Collection) -> Added:
        """Put all into the store, in one transaction with how far the reading is; its files are safe on the disk before that."""
        self.files.sync()
        return store.add(collection.number, self.images, self.feedback, self.report.done)


class _Tally:
    """The rows of the next batch, and counts of all so far."""

    def __init__(self, held: HeldFiles, path: Path, done: int, total: int) -> None:
        self._held = held
        self._done, self._total = done, total
        self._rows = self._problems = 0
        self._reasons: dict[str, int] = {}
        self._first: list[str] = []
        self._begin()

    def _begin(self) -> None:
        self._images: list[ImageDraft] = []
        self._feedback: list[FeedbackDraft] = []
        self._files = self._held.batch()
        self.waiting = self.bytes = 0

    def take(self, row: Row) -> None:
        """Check a row, and let what is good of it wait."""
        self._rows += 1
        self.waiting += 1
        self._done = row.done
        problems = [row.problem] if row.problem else []
        taken = {entry.key for entry in row.images if self._try(problems, lambda entry=entry: self._image(entry))}  # type: ignore[misc]
        refused = {entry.key for entry in row.images} - taken
        for said in row.feedback:
            if not refused.isdisjoint(said.images):
                continue
            self._try(problems, lambda said=said: self._feedback.append(_feedback_draft(said)))  # type: ignore[misc]
        if problems:
            self._problems += 1
            self._note(row.place, problems[0])

    def _try(self, problems: list[str], action: Callable[[], object]) -> bool:
        try:
            action()
        except InvalidInputError as error:
            problems.append(str(error))
            return False
        return True

    def _note(self, place: str, why: str) -> None:
        if len(self._first) < _SAID:
            self._first.append(f"{place}: {why}"[:500])
        # the same fault in other rows has other values in it
        reason = why if why in self._reasons or len(self._reasons) < _SAID else "other reasons"
        self._reasons[reason] = self._reasons.get(reason, 0) + 1

    def _image(self, entry: ImageEntry) -> None:
        path = None if entry.path is None else relative(entry.path)
        draft = ImageDraft(
            entry.key, entry.prompt, path, sha256=entry.sha256, width=entry.width, height=entry.height, model=entry.model, about=entry.about
        )  # fmt: skip
        check_image(draft)
        if entry.data is not None:
            path, hash_of_file = self._files.put(entry.data)
            draft = replace(draft, path=path, held=True, file_sha256=hash_of_file, size=len(entry.data))
            self.bytes += draft.size
        self._images.append(draft)

    def hand_over(self) -> _Batch:
        """Return what waits; the next row begins another batch."""
        report = IntakeReport(
            self._done, self._total, self._rows, Added(), self._problems, dict(self._reasons), tuple(self._first)
        )
        batch = _Batch(self._images, self._feedback, self._files, report)
        self._begin()
        return batch


def _feedback_draft(said: FeedbackEntry) -> FeedbackDraft:
    values: dict[str, Any] = {
        "token": said.token, "prompt": said.prompt, "rater": said.rater, "source": said.source, "created_at": said.created_at,
        "about": said.about,
    }  # fmt: skip
    draft = FeedbackDraft(said.kind, said.images, said.tiers, **values)
    check_feedback(draft)
    return draft


