"""What the folder-like formats share: images found in folders, new folders that are there whole or not at all, files in them."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.store.blobs import sync_folder
from lib_rankopt.store.formats import files
from lib_rankopt.store.formats.base import WriteReport
from lib_rankopt.store.formats.text import clean

NOT_FOLLOWED = "a link to a folder, or one that cannot be listed; it is not looked into"
RECODED = "the image's file is written anew as PNG, without what else stood in it"
_DEEPEST = 64  # folders in folders

# What Pillow raises at files that are damaged, cut off, huge or made to do harm is of no one family. Its bomb error is an Exception.
_BROKEN: tuple[type[BaseException], ...] = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, AssertionError, MemoryError,
    RuntimeError, struct.error, zlib.error,
)  # fmt: skip
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF")  # those of files.SUFFIXES and no other: Pillow would start a program for some


def broken() -> tuple[type[BaseException], ...]:
    """Return all that Pillow raises at a bad file."""
    from PIL import Image

    return (*_BROKEN, Image.DecompressionBombError, Image.DecompressionBombWarning)


# -- reading


class Found:
    """A file or folder of a data set.

    Attributes:
        path: relative to the root, with ``/``.
        problem: why it is not looked into; empty where it is an image.
    """

    __slots__ = ("path", "problem")

    def __init__(self, path: str, problem: str = "") -> None:
        self.path, self.problem = path, problem


def walk(root: Path, inside: str = "", depth: int = 0) -> Iterator[Found]:
    """Yield the images below a folder, sorted: a folder's own, then those of its sub-folders. No file is touched.

    Hidden files and folders are left out. Links to folders are not followed; they and folders that cannot be listed are problems.
    """
    names, folders, problems = listing(root / inside)
    prefix = f"{inside}/" if inside else ""
    yield from (Found(f"{prefix}{name}".rstrip("/") or ".", why) for name, why in problems)
    yield from (Found(prefix + name) for name in names)
    for name in folders:
        if depth >= _DEEPEST:
            yield Found(prefix + name, f"the folder lies more than {_DEEPEST} folders deep")
        else:
            yield from walk(root, prefix + name, depth + 1)


def listing(folder: Path) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """Return the names of a folder's images, of its sub-folders, and name and trouble of what is not looked into; each sorted.

    Trouble without a name is the folder's own: it cannot be listed.
    """
    images: list[str] = []
    folders: list[str] = []
    problems: list[tuple[str, str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_symlink() and entry.is_dir():
                    problems.append((entry.name, NOT_FOLLOWED))
                elif entry.name.lower().endswith(files.SUFFIXES):
                    images.append(entry.name)
    except OSError as error:
        problems.append(("", f"the folder cannot be listed ({error.strerror or error})"))
    return sorted(images), sorted(folders), sorted(problems)


def checked_folder(path: Path, title: str) -> Path:
    """Return a folder.

    Raises:
        InvalidInputError: it is none.
    """
    if not path.is_dir():
        raise InvalidInputError(f"{title}: {path} is {'no folder' if path.exists() else 'not there'}; a folder is expected.")
    return path


# -- writing


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``path`` at the end if all goes well, and is gone otherwise.

    Raises:
        InvalidInputError: ``path`` is there and not an empty folder. StoreError: it cannot be written.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InvalidInputError(f"{path} is there already and not an empty folder; choose another name.")
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _sync(temporary)
        if path.exists():
            path.rmdir()
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(folder: Path) -> None:
    for here, _, names in os.walk(folder):
        for name in names:
            with (Path(here) / name).open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(here))


def put(folder: Path, name: str, data: bytes, report: WriteReport) -> None:
    """Write a new file below a folder that :func:`new_folder` gave; ``name`` is relative, its folder is made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
    report.wrote(name)


def find_written(folder: Path, stem: str) -> str | None:
    """Return the name of the image of this stem in a folder that is being written, ``None`` where it was left out."""
    return next((stem + suffix for suffix in files.SUFFIXES if (folder / (stem + suffix)).is_file()), None)


def as_png(data: bytes, report: WriteReport, key: str) -> bytes:
    """Return an image as PNG: the same file where it is one, otherwise its first picture as RGB, which the report is told.

    Raises:
        InvalidInputError: it cannot be read.
    """
    if files.suffix_of(data) == ".png":
        return data
    made = encoded(data, "PNG", compress_level=4)
    report.leave_out(RECODED, key)
    return made


def encoded(data: bytes, kind: str, **options: int) -> bytes:
    """Return an image file's first picture as RGB in another kind of file, ``options`` being those of Pillow for it.

    Raises:
        InvalidInputError: it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=KINDS) as opened:
            out = io.BytesIO()
            opened.convert("RGB").save(out, kind, **options)
    except broken() as error:
        raise InvalidInputError(f"the image cannot be read ({error or type(error).__name__})") from error
    return out.getvalue()


def line(value: object) -> bytes:
    """Return a value as one line of JSON."""
    return dumped(value).encode() + b"\n"


def dumped(value: object) -> str:
    """Return a value as JSON in one line, without halves of surrogate pairs.

    Raises:
        InvalidInputError: it holds what JSON cannot.
    """
    try:
        return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{str(value)[:80]} cannot be written as JSON ({error})") from error


def plain_text(text: str) -> bytes:
    """Return a text as UTF-8; signs that have none are replaced."""
    return text.encode("utf-8", "replace")
