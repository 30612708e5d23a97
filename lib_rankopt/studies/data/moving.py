"""Data sets into the store and out of it: the work as generators of steps, which the command line goes through itself and faces as jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.collected.dataset import StoreDataset
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from lib_rankopt.store.collected.files import HeldFiles, LookReport, look
from lib_rankopt.store.collected.intake import IntakeReport, open_collection, take_in
from lib_rankopt.store.collected.records import Collection
from lib_rankopt.store.formats.base import Dataset, Format, WriteReport
from lib_rankopt.store.formats.guess import guess
from lib_rankopt.studies.data.jobs import Jobs, JobView, Step
from lib_rankopt.studies.data.sources import Sources, find_sources

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.collected.base import CollectionStore

AUTO = "auto"
_READ_TO_END = "read_to_end"


class Moving:
    """Imports and exports in the background. Thread-safe.

    Args:
        weights: gives how much labels count that were concluded, by source.
    """

    def __init__(
        self, store: Store, blobs: BlobStore, held: HeldFiles, jobs: Jobs,
        weights: Callable[[], Mapping[str, float]] = lambda: IMPLICIT_WEIGHTS,
    ) -> None:  # fmt: skip
        self._store, self._blobs, self._held, self._jobs, self._weights = store, blobs, held, jobs, weights

    def start_import(
        self, format: str, path: Path, name: str = "", options: Mapping[str, str] | None = None, look: bool = True
    ) -> JobView:
        """Read a data set into the collection ``name``; the same path again goes on where it was stopped, and adds nothing twice.

        Args:
            format: its name, or ``auto``. name: default: the file's or folder's. look: hash and measure the images afterwards.

        Raises:
            InvalidInputError: no such format or path, or none can be guessed. ConflictError: the name is another data set's.
        """
        fmt = chosen_format(format, path, options or {})
        collection = collection_for(self._store.collected, fmt, path, name)

        def work() -> Iterator[Step]:
            return import_steps(self._store.collected, self._held, fmt, path, collection, look)

        return self._jobs.start("import", f"Importing {path.name}", work, collection.number)

    def start_look(self, collection: int) -> JobView:
        """Look at the files of a collection: hashes and sizes of the new ones, and which are gone, changed or have moved.

        Raises:
            NotFoundError: there is no such collection.
        """
        found = self._store.collected.collection(collection)
        work = partial(look_steps, self._store.collected, self._held, found)
        return self._jobs.start("look", f"Looking at the files of {found.name}", work, found.number)

    def start_export(
        self, format: str, sources: Sequence[str], path: Path, options: Mapping[str, str] | None = None
    ) -> JobView:
        """Write collections and studies in a format.

        Args:
            sources: see :func:`~lib_rankopt.studies.data.sources.find_sources`.

        Raises:
            InvalidInputError: no such format, or something is at ``path``. NotFoundError: no such source.
        """
        fmt = formats.get(format, **(options or {}))
        check_target(fmt, path)
        found = find_sources(self._store, sources)

        def work() -> Iterator[Step]:
            return export_steps(self.dataset(found), fmt, path, size_of(self._store, found))

        return self._jobs.start("export", f"Exporting to {path.name}", work)

    def dataset(self, sources: Sources) -> StoreDataset:
        """What the store holds of these, for writers."""
        weights = self._weights()
        return StoreDataset(self._store, self._blobs, self._held, sources.collections, sources.studies, weights=weights)


def chosen_format(name: str, path: Path, options: Mapping[str, str]) -> Format:
    """Return the format of this name, or, for ``auto``, the one that the file or folder most likely has.

    Raises:
        InvalidInputError: there is nothing at ``path``, no format of that name or options, one that only writes, or none can be guessed.
    """
    if not path.exists():
        raise InvalidInputError(f"There is no file or folder {path}.")
    found = guess(path) if name == AUTO else name
    if found is None:
        known = ", ".join(one for one in formats.names() if formats.find(one).reads)
        raise InvalidInputError(f"What {path} is cannot be told from its columns or folders; name its format: {known}.")
    made = formats.get(found, **options)
    if not made.reads:
        raise InvalidInputError(f"{made.title} can only be written.")
    return made


def collection_for(store: CollectionStore, fmt: Format, path: Path, name: str = "") -> Collection:
    """Return the collection that a data set is read into, made if it is new.

    Raises:
        ConflictError: the name is another data set's.
    """
    absolute = path.resolve()
    default = absolute.name if absolute.is_dir() else absolute.stem
    draft = Collection(name or default or str(absolute), "import", fmt.name, str(fmt.root(absolute)))
    return open_collection(store, draft)


def import_steps(
    store: CollectionStore, held: HeldFiles, fmt: Format, path: Path, collection: Collection, look_at_files: bool = True
) -> Iterator[Step]:
    """Read a data set into a collection, batch by batch, and look at its files.

    Outcomes: collection, name, format; rows, images, feedback (new), known_images, known_feedback; problems, by_reason, first_problems;
    and with a look ``look`` as of :func:`look_steps`.

    Raises:
        InvalidInputError: it cannot be read at all. StoreError: the disk is full …; what was told of before is kept.
    """
    current = store.collection(collection.number)
    if current.settings.get(_READ_TO_END):  # its folder may have new files in the middle; what is known is passed over
        settings = {key: value for key, value in current.settings.items() if key != _READ_TO_END}
        current = store.change(current.number, settings=settings, position=0)
    outcome: dict[str, Any] = {}
    for report in take_in(store, held, current, fmt, path):
        outcome = _import_outcome(current, fmt, report)
        yield Step(report.done, report.total, "read", outcome)
    finished = store.collection(current.number)
    store.change(current.number, settings={**finished.settings, _READ_TO_END: True})
    if look_at_files:
        for step in look_steps(store, held, finished):
            yield Step(step.done, step.total, step.unit, {**outcome, "look": step.outcome})


def _import_outcome(collection: Collection, fmt: Format, report: IntakeReport) -> dict[str, Any]:
    return {
        "collection": collection.number, "name": collection.name, "format": fmt.name, "rows": report.rows, **asdict(report.added),
        "problems": report.problems, "by_reason": dict(report.by_reason), "first_problems": list(report.first_problems),
    }  # fmt: skip


def look_steps(store: CollectionStore, held: HeldFiles, collection: Collection, search: Sequence[Path] = ()) -> Iterator[Step]:
    """Look at a collection's files; outcomes: here, gone, changed, found (again, under another name), skipped (as before), problems."""
    report = None
    for report in look(store, held, collection, search):
        yield Step(report.done, report.total, "images", _look_outcome(report))
    if report is None:  # no images
        yield Step(0, 0, "images", _look_outcome(LookReport()))


def _look_outcome(report: LookReport) -> dict[str, Any]:
    names = ("here", "gone", "changed", "found", "skipped")
    return {**{name: getattr(report, name) for name in names}, "problems": list(report.problems)}


def check_target(fmt: Format, path: Path) -> None:
    """Refuse to write over anything.

    Raises:
        InvalidInputError: something is there already, or the format only reads.
    """
    if not fmt.writes:
        raise InvalidInputError(f"{fmt.title} can only be read.")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InvalidInputError(f"{path} is there already and not an empty folder; nothing is written over, so choose another name.")
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(f"There is no folder {path.absolute().parent} to write {path.name} into.")


def size_of(store: Store, sources: Sources) -> int:
    """How many images and answers there are, for the progress of an export."""
    names = ("images", "kind:ranking", "kind:pair", "kind:like", "kind:dislike")
    tallies = [store.collected.tallies(one.number) for one in sources.collections]
    rounds = [store.counts(one.id, ("ranking", "pair")) for one in sources.studies]
    return sum(tally.get(name, 0) for tally in tallies for name in names) + sum(answered + images for _, answered, images in rounds)


def export_steps(dataset: Dataset, fmt: Format, path: Path, total: int = 0) -> Iterator[Step]:
    """Write a data set; outcomes: format, path, images, feedback, left_out and examples (reason → count, first one), files.

    Raises:
        InvalidInputError: something is there, or there is nothing that the format can hold. StoreError: it cannot be written.
    """
    check_target(fmt, path)
    report = WriteReport()
    done = 0
    for done in fmt.write(dataset, path, report):
        yield Step(done, max(total, done) if total else 0, "written", _export_outcome(fmt, path, report))
    yield Step(done, done, "written", _export_outcome(fmt, path, report))


def _export_outcome(fmt: Format, path: Path, report: WriteReport) -> dict[str, Any]:
    return {"format": fmt.name, "path": str(path), **asdict(report)}
