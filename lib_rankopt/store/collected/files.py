"""Where collected images lie, and looking at them: which are here, gone, changed, or have moved.

Images that a data set brings along as bytes are kept under ``<data>/collected/ab/<sha256 of the file>.<suffix>``, bit for bit. All others
stay where they are, below their collection's root; nothing outside of it is read, links that lead out of it neither.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError, NotFoundError, RankOptError, StoreError
from lib_rankopt.store.blobs import atomic_file, image_hash, sync_files
from lib_rankopt.store.collected._rows import clean
from lib_rankopt.store.collected.phash import phash
from lib_rankopt.store.collected.records import CollectedImage, Collection, FileFacts, ImageQuery
from lib_rankopt.store.formats.files import file_hash, inside, read, suffix_of
from lib_rankopt.store.formats.folders import walk

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

_BATCH = 256
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF")
_THREADS = min(4, os.cpu_count() or 1)
_WRITING = 4
_ByHash = dict[str | None, CollectedImage]
_Pixels = tuple[str, int, int, int]  # as of pixels_of


class HeldFiles:
    """Files of collected images that the data folder holds itself. Thread-safe, and safe for several processes."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "collected"

    def put(self, data: bytes) -> tuple[str, str]:
        """Keep a file; return its path below :attr:`root` and its hash. What is there already is not written again.

        Raises:
            InvalidInputError: it is no image by its first bytes. StoreError: it cannot be written.
        """
        path, name = _named(data)
        _write(self.root / path, data, synced=True)
        return path, name

    def batch(self) -> HeldBatch:
        """Return what puts many files beside each other."""
        return HeldBatch(self.root)

    def locate(self, image: CollectedImage, collection: Collection) -> Path:
        """Return where an image's file should lie; it need not be there.

        Raises:
            NotFoundError: the image has no file. InvalidInputError: a link leads out of the collection's root.
        """
        if image.path is None or not (image.held or collection.root):
            raise NotFoundError(f"Of the image '{image.key[:200]}' there is no file, only its name.")
        return inside(self.root if image.held else Path(collection.root), image.path)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete held files, by their paths below :attr:`root`; those that are gone already are no error."""
        for path in paths:
            with suppress(OSError):
                inside(self.root, path).unlink(missing_ok=True)


class HeldBatch:
    """Files that are written beside each other in the background: ten times as fast as one by one. Of one thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: dict[Path, Future[None]] = {}

    def put(self, data: bytes) -> tuple[str, str]:
        """As :meth:`HeldFiles.put`, but the file is there, and safe, after :meth:`sync` alone.

        Raises:
            InvalidInputError: it is no image by its first bytes.
        """
        path, name = _named(data)
        target = self._root / path
        if target not in self._waiting:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_WRITING, thread_name_prefix="rankopt-held")
            self._waiting[target] = self._pool.submit(_write, target, data, synced=False)
        return path, name

    def sync(self) -> None:
        """Wait for all files that were put so far, and make them survive a power cut.

        Raises:
            StoreError: one cannot be written: the disk is full, or gone.
        """
        if self._pool is None:
            return
        waiting, self._waiting = self._waiting, {}
        pool, self._pool = self._pool, None
        pool.shutdown(wait=True)
        for written in waiting.values():
            written.result()
        try:
            sync_files(waiting)
        except OSError as error:
            raise _not_written(self._root, error) from error


def _write(target: Path, data: bytes, synced: bool) -> None:
    try:
        if not target.is_file() or target.stat().st_size != len(data):
            with atomic_file(target, synced) as file:
                file.write(data)
    except OSError as error:
        raise _not_written(target.parent, error) from error


def _named(data: bytes) -> tuple[str, str]:
    name = file_hash(data)
    return f"{name[:2]}/{name}{suffix_of(data)}", name


def _not_written(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"{folder} cannot be written: {error.strerror or error}. What was taken in is kept.")


@dataclass(frozen=True)
class LookReport:
    """What a look has found so far.

    Attributes:
        done, total: images.
        here, gone, changed: of these. found: gone or changed ones whose image was found under another name. skipped: not changed since
            the last look. problems: of the first hundred that cannot be read, why.
    """

    done: int = 0
    total: int = 0
    here: int = 0
    gone: int = 0
    changed: int = 0
    found: int = 0
    skipped: int = 0
    problems: tuple[str, ...] = field(default=())


def look(
    store: CollectionStore, held: HeldFiles, collection: Collection, search: Sequence[Path] = ()
) -> Iterator[LookReport]:
    """Look at the files of a collection: hash, size and pixels of the new and the changed ones, and where the missing ones went.

    Missing images are looked for by content below the collection's root, and in the folders ``search``; what is found there, outside the
    root, is copied into the data folder.

    Yields:
        the report so far, after each batch that is kept.
    """
    tally = store.tallies(collection.number)
    total = tally.get("images", 0) - tally.get("state:removed", 0)
    report, after, missing = LookReport(total=total), 0, []
    with ThreadPoolExecutor(_THREADS) as pool:
        while page := store.page(ImageQuery(collection=collection.number, after=after, limit=_BATCH)):
            after = page[-1].number
            facts = list(pool.map(lambda image: _look_at(held, image, collection), page))
            store.note_files([fact for fact, _ in facts if fact is not None])
            report = _counted(report, page, facts)
            now = [replace(image, state=fact.state) if fact else image for image, (fact, _) in zip(page, facts, strict=True)]
            missing += [image for image in now if image.state in ("gone", "changed")]
            yield report
        wanted = [image for image in missing if image.file_sha256 or image.sha256]
        if wanted:
            yield from _find_again(store, held, collection, wanted, search, report)


def _counted(report: LookReport, page: Sequence[CollectedImage], facts: Sequence[tuple[FileFacts | None, str]]) -> LookReport:
    states = [fact.state if fact else image.state for image, (fact, _) in zip(page, facts, strict=True)]
    problems = report.problems + tuple(problem for _, problem in facts if problem)
    return LookReport(
        report.done + len(page),
        report.total,
        report.here + states.count("here"),
        report.gone + states.count("gone"),
        report.changed + states.count("changed"),
        0,
        report.skipped + sum(fact is None and not problem for fact, problem in facts),
        problems[:100],
    )


def _look_at(held: HeldFiles, image: CollectedImage, collection: Collection) -> tuple[FileFacts | None, str]:
    """Facts of one file, ``None`` where nothing has changed; and why it cannot be read."""
    if image.path is None:
        return None, ""
    try:
        path = held.locate(image, collection)
        about = path.stat()
        if image.state == "here" and (about.st_size, round(about.st_mtime, 3)) == (image.size, image.modified):
            return None, ""
        return facts_of(image, path), ""
    except (NotFoundError, FileNotFoundError, NotADirectoryError):
        return (FileFacts(image.number, "gone", size=image.size, modified=image.modified) if image.state != "gone" else None), ""
    except (RankOptError, OSError) as error:
        return FileFacts(image.number, "gone", size=image.size, modified=image.modified), f"{image.key}: {error}"


def facts_of(image: CollectedImage, path: Path) -> FileFacts:
    """Look at one file.

    Raises:
        NotFoundError: it is gone. StoreError: it is no image that can be read.
    """
    about = path.stat()
    data = read(path)
    name, size, modified = file_hash(data), about.st_size, round(about.st_mtime, 3)
    content, perceptual, width, height = pixels_of(data, path)
    if image.file_sha256 not in (None, name) and image.sha256 != content:
        # what was said is about the image that was here, so its hashes stay
        return FileFacts(image.number, "changed", size=size, modified=modified)
    if image.sha256 not in (None, content):
        return FileFacts(image.number, "changed", size=size, modified=modified)
    return FileFacts(image.number, "here", name, content, perceptual, width, height, size, modified)


def pixels_of(data: bytes, path: Path | str) -> _Pixels:
    """Return identity by content, perceptual hash, width and height of an image file's bytes.

    Raises:
        StoreError: they are no image that can be read.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
                rgb = opened.convert("RGB")
    except Exception as error:  # Pillow raises whatever its parsers happen to raise at damaged files
        raise StoreError(f"{path} is no image that can be read ({error or type(error).__name__})") from error
    return image_hash(rgb), phash(rgb), rgb.width, rgb.height


def _find_again(
    store: CollectionStore, held: HeldFiles, collection: Collection, missing: Sequence[CollectedImage], search: Sequence[Path],
    report: LookReport,
) -> Iterator[LookReport]:  # fmt: skip
    """Look for missing images by content among files that no image of the collection claims."""
    by_file: _ByHash = {image.file_sha256: image for image in missing if image.file_sha256}
    by_content: _ByHash = {image.sha256: image for image in missing if image.sha256}
    sizes = {image.size for image in missing}
    root = Path(collection.root) if collection.root else None
    left = len(missing)
    for path, name in _candidates(store, collection, {image.number for image in missing}, root, search):
        found = _match(path, sizes, by_file, by_content)
        if found is None:
            continue
        image, data, pixels = found
        place = path
        if name is None:
            name, _ = held.put(data)
            place = held.root / name
        store.note_files([_moved(image, place, data, pixels, name, place != path)])
        by_file.pop(image.file_sha256, None)
        by_content.pop(image.sha256, None)
        left -= 1
        gone = image.state != "changed"
        report = replace(
            report, here=report.here + 1, gone=report.gone - gone, changed=report.changed - (not gone), found=report.found + 1
        )  # fmt: skip
        yield report
        if not left:
            return


def _moved(image: CollectedImage, path: Path, data: bytes, pixels: _Pixels, name: str, is_held: bool) -> FileFacts:
    about = path.stat()
    return FileFacts(image.number, "here", file_hash(data), *pixels, about.st_size, round(about.st_mtime, 3), name, is_held)


def _candidates(
    store: CollectionStore, collection: Collection, missing: set[int], root: Path | None, search: Sequence[Path]
) -> Iterator[tuple[Path, str | None]]:
    """Files that no image of the collection but the missing ones claims, with their names below the root, ``None`` outside of it."""
    for folder in [*([root] if root else []), *search]:
        files = _image_files(folder)
        while some := list(islice(files, _BATCH)):
            names = [path.relative_to(root).as_posix() if root is not None and path.is_relative_to(root) else None for path in some]
            known = store.images_by_key(collection.number, [name for name in names if name is not None])
            for path, name in zip(some, names, strict=True):
                if name is None or name not in known or known[name].number in missing:
                    yield path, name


def _match(
    path: Path, sizes: set[int], by_file: _ByHash, by_content: _ByHash
) -> tuple[CollectedImage, bytes, _Pixels] | None:
    try:
        data = read(path)
        image = by_file.get(file_hash(data)) if len(data) in sizes else None
        if image is None and not by_content:
            return None
        pixels = pixels_of(data, path)
    except RankOptError:
        return None
    image = image or by_content.get(pixels[0])
    return None if image is None else (image, data, pixels)


def _image_files(folder: Path) -> Iterator[Path]:
    """Image files below a folder, sorted; hidden ones, links and names that are not in UTF-8, which no store takes, are left out."""
    for found in walk(folder):
        path = folder / found.path
        if found.path == ".":
            raise InvalidInputError(f"{folder}: {found.problem}.")
        if not found.problem and not path.is_symlink() and clean(found.path) == found.path:
            yield path
