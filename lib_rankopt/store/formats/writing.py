"""Files that writers make: whole or not at all, and images beside them under names that every system takes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.store.blobs import atomic_file, write_atomically
from lib_rankopt.store.formats import files
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, ImageEntry, WriteReport
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.shapes import pairs

if TYPE_CHECKING:
    from _csv import Writer as CsvWriter

GONE = "the image's file is gone or damaged"
NO_TIES = "the format has no ties"
NO_LABELS = "the format has no likes and dislikes, only comparisons"
NO_COMPARISON = "the image stands in no comparison"
EVERY = 256  # answers between two words about the progress


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when the block ends without an error.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        with atomic_file(path) as file:
            yield file
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def csv_file(path: Path) -> Iterator[CsvWriter]:
    """Open a csv file, UTF-8, that appears under its name when the block ends without an error.

    Raises:
        StoreError: it cannot be written.
    """
    with whole_file(path) as file:
        out = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
        yield csv.writer(out)
        out.flush()
        out.detach()


class JsonList:
    """A JSON list that is written element by element."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0

    def add(self, element: Any) -> None:
        """Write one."""
        self._file.write(b"[\n" if not self.count else b",\n")
        self._file.write(json.dumps(element, ensure_ascii=False).encode("utf-8", "replace"))
        self.count += 1

    def close(self) -> None:
        """Write the end; an empty list if there was none."""
        self._file.write(b"\n]\n" if self.count else b"[]\n")


class ImageFolder:
    """Image files of an export, each written once, as it is.

    Args:
        folder: the data set's root. below: where in it, with ``/``; may be empty.
    """

    def __init__(self, dataset: Dataset, folder: Path, below: str, report: WriteReport, known: Tally) -> None:
        self._dataset, self._folder, self._below, self._report, self._known = dataset, folder, below, report, known

    def put(self, image: ImageEntry) -> str:
        """Write an image unless that was done; return its path relative to the root, empty where it is gone.

        Raises:
            StoreError: the folder cannot be written.
        """
        known = self._known.noted(image.key)
        if known is None:
            known = self._write(image)
            self._known.note(image.key, text=known)
        return known

    def all(self, *images: ImageEntry) -> list[str]:
        """Write several; empty if one is gone, which the report then says of the answer as well."""
        names = [self.put(image) for image in images]
        if all(names):
            return names
        self._report.leave_out(f"answer about images of which {GONE}", images[names.index("")].key)
        return []

    def _write(self, image: ImageEntry) -> str:
        data = read_image(self._dataset, image, self._report)
        if data is None:
            return ""
        name = files.file_name(image.key) + files.suffix_of(data)
        relative = f"{self._below}/{name}" if self._below else name
        try:
            write_atomically(self._folder / relative, lambda file: file.write(data))
        except OSError as error:
            raise StoreError(f"{self._folder / relative} cannot be written: {error.strerror or error}.") from error
        self._report.images += 1
        self._report.wrote(relative)
        return relative


def read_image(dataset: Dataset, image: ImageEntry, report: WriteReport) -> bytes | None:
    """An image's file; ``None``, and a word in the report, where it is gone or no image."""
    try:
        data = dataset.read(image)
        files.suffix_of(data)
        return data
    except (NotFoundError, StoreError, InvalidInputError):
        report.leave_out(GONE, image.key)
        return None


def strict_pairs(answer: FeedbackEntry, report: WriteReport) -> list[tuple[int, int]]:
    """Pairs of positions, the better one first; the report is told where there are ties besides."""
    every = list(pairs(answer.tiers))
    strict = [(better, worse) for better, worse, equal in every if not equal]
    if len(strict) < len(every):
        report.leave_out(NO_TIES, answer.token)
    return strict


def count_unused(dataset: Dataset, names: Tally, report: WriteReport, others: Tally | None = None) -> None:
    """Tell the report about images that no answer of the format is about."""
    for image in dataset.images():
        if names.noted(image.key) is None and (others is None or others.noted(image.key) is None):
            report.leave_out(NO_COMPARISON, image.key)


def empty_folder(path: Path) -> None:
    """Make a folder for an export.

    Raises:
        StoreError: it cannot be made. InvalidInputError: there is something in it, or a file of that name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if next(path.iterdir(), None) is not None:
            raise InvalidInputError(f"The folder {path} is not empty; name one that does not exist yet.")
    except FileExistsError:
        raise InvalidInputError(f"{path} is a file; name a folder that does not exist yet.") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error.strerror or error}.") from error
