"""The contract of a data format: what a reader yields, what a writer is given.

A **reader** streams: it yields one :class:`Row` after the other at constant memory, in an order that is the same each time, and says
what is wrong with a row in that row, so that the good ones go in. It opens nothing but the file or folder that it was given; where the
images lie it only says, as paths relative to :meth:`Format.root`, and whoever takes the rows in checks them.

A **writer** is given a :class:`Dataset`, which can be gone through as often as it likes and costs constant memory as well, and says at the
end what its format could not hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from lib_rankopt.errors import InvalidInputError

FeedbackKind = Literal["ranking", "pair", "like", "dislike"]


@dataclass(frozen=True)
class ImageEntry:
    """An image as a data set names it.

    Attributes:
        key: what the data set calls it, unique in it: a uid, or a path relative to its root with ``/`` between folders.
        prompt: the caption as written (``<lora:…>`` tags are stripped where it is used); empty where there is none.
        path: where its file lies, relative to the root; ``None`` where the data set holds the bytes itself or no image at all.
        data: the bytes of its file, where the data set holds them.
        sha256: identity by content (:func:`lib_rankopt.store.blobs.image_hash`), where known.
        width, height: pixels; 0 where unknown.
        model: what made it, by name or hash; empty where unknown.
        about: whatever else the format says of it: negative prompt, seed, sampler, url, ratings … Plain JSON values.
    """

    key: str
    prompt: str = ""
    path: str | None = None
    data: bytes | None = field(default=None, repr=False)
    sha256: str | None = None
    width: int = 0
    height: int = 0
    model: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FeedbackEntry:
    """One thing that somebody said about some images of a data set.

    Attributes:
        kind: ``ranking`` (two images or more), ``pair`` (two), ``like``, ``dislike`` (one).
        images: keys, in the order in which they were shown where that is known.
        tiers: positions in ``images``, best first, images of one tier equal; every image stands in one. A tie of two is ``((0, 1),)``, a
            choice of the first of three ``((0,), (1, 2))``, a label ``((0,),)``.
        token: identity of this row in its data set: the same at each reading, another one for each row.
        prompt: what the rater saw as the prompt; ``None``: the images' own.
        rater: who said so, as the data set names them; empty where unknown.
        created_at: ISO 8601, UTC; empty where unknown.
        source: empty for what somebody said on purpose, else what it was concluded from.
        about: whatever else the format says of it (``split``, ``ranking_id`` …). Plain JSON values.
    """

    kind: FeedbackKind
    images: tuple[str, ...]
    tiers: tuple[tuple[int, ...], ...]
    token: str
    prompt: str | None = None
    rater: str = ""
    created_at: str = ""
    source: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What one row of a data set comes to.

    Attributes:
        done: how far the reading is after this row, in the units of :meth:`Format.size`; never falls.
        place: for messages: ``train.csv, line 12``.
        images: entries of the images that the row names, at least those that its feedback is about.
        problem: why the row, or a part of it, was not taken; empty where all is well.
    """

    done: int
    place: str
    images: tuple[ImageEntry, ...] = ()
    feedback: tuple[FeedbackEntry, ...] = ()
    problem: str = ""


class Dataset(Protocol):
    """What a writer is given. Iterators may be asked for as often as needed; each goes over all of it, in the same order."""

    name: str

    def images(self) -> Iterator[ImageEntry]:
        """All images, those without feedback too. ``data`` is never set, ``path`` never of use: see :meth:`read`."""
        ...

    def feedback(self) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
        """All feedback that stands, oldest first, each with its images in the order of ``images``."""
        ...

    def read(self, image: ImageEntry) -> bytes:
        """Return an image's file.

        Raises:
            NotFoundError: it is gone, or never was here. StoreError: it cannot be read, or holds another image now.
        """
        ...

    def ratings(self) -> Mapping[str, tuple[float, float]]:
        """Mean and standard deviation of each image's strength by its key, over all comparisons (natural logarithm of the odds)."""
        ...


@dataclass
class WriteReport:
    """What became of an export; a writer fills it in as it goes.

    Attributes:
        images, feedback: written.
        left_out: reason → how many images or answers could not be written for it; reasons are whole clauses, such as
            ``the format has no ties``.
        examples: reason → the first one, by its place or key.
        files: what was written, relative to the target; the first twenty.
    """

    images: int = 0
    feedback: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, example: str = "") -> None:
        """Count one thing that the format cannot hold."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1
        self.examples.setdefault(reason, example)

    def wrote(self, file: str) -> None:
        """Note a file."""
        if len(self.files) < 20:
            self.files.append(file)


class Format(ABC):
    """One data format. Instances have no state but their options.

    Class attributes:
        name: as on the command line. title: for people. extensions: of single files, for guessing.
        reads, writes: what it can do.
        loses: what it cannot hold, in words, for the report and the documentation.
        options: name → what it means, of the keyword arguments of the constructor (all text).

    Attributes:
        given: the options that an instance was made with.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reads: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    loses: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[Mapping[str, str]] = {}
    given: Mapping[str, str] = {}

    def root(self, path: Path) -> Path:
        """The folder that image paths are relative to, and that nothing outside of is read: the data set's own folder."""
        return path if path.is_dir() else path.parent

    def size(self, path: Path) -> int:
        """How much there is to read, in whatever the reader counts (rows, bytes, files); 0 where that is not known beforehand.

        Raises:
            InvalidInputError: ``path`` is not of this format at all; the message says what was expected.
        """
        return 0

    @abstractmethod
    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """Read a file or folder.

        Args:
            after: leave out the rows up to and with this ``done``: an interrupted import goes on. Skipping is cheaper than reading.

        Raises:
            InvalidInputError: ``path`` is missing or not of this format at all, before the first row. MissingDependencyError.
        """

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """Write all of a data set; yields how many images and answers are done, now and then, for the progress.

        ``path`` does not exist yet, or is an empty folder. Half-written files are never left under their final name.

        Raises:
            InvalidInputError: nothing that this format can hold. StoreError: it cannot be written.
        """
        raise InvalidInputError(f"{self.title} can only be read.")
