"""Two folders that are looked at now and then: images that may be deleted, and a person's favourites."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from lib_rankopt.hosts.gallery import SUFFIXES

log = logging.getLogger("rankopt.hosts")

DAYS = 14.0
_MOST_AT_ONCE = 500


@dataclass(frozen=True)
class Gone:
    """An image that was deleted, and the name by which it is still held."""

    original: Path
    held: Path


class HeldImages:
    """Images of the last days by a second name (a hard link) each, so that one which is deleted can still be learnt from.

    ``<folder>/<id>/<name>`` is the link and ``<folder>/<id>.txt`` holds where the image lies. A link takes no place on the disk while the
    image is there, and tells a deleted image from one that was moved: only of the former no other name is left.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said = False

    def exist(self) -> bool:
        """Whether any may be held."""
        return self._folder.is_dir()

    def hold(self, file: Path) -> None:
        """Hold on to an image; one on another disk cannot be, which is said once."""
        link, note = self._names(file)
        self.let_go(file)  # another image of this name
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(note, str(file))
            os.link(file, link)
        except OSError as error:
            self.let_go(file)
            if not self._said:
                log.warning("deleted images are not noticed: %s cannot have a second name in %s (%s)", file, self._folder, error)
                self._said = True

    def let_go(self, file: Path) -> None:
        """Hold an image no longer."""
        link, note = self._names(file)
        link.unlink(missing_ok=True)
        with suppress(OSError):
            link.parent.rmdir()
        note.unlink(missing_ok=True)

    def let_all_go(self) -> None:
        """Hold nothing any more."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def gone(self) -> Iterator[Gone]:
        """Images that were deleted since; those of earlier days, or with their whole folder, are let go and not named."""
        with suppress(FileNotFoundError):
            for note in sorted(self._folder.glob("*.txt")):
                original = Path(note.read_text(encoding="utf-8", errors="surrogateescape"))
                link, _ = self._names(original)
                if not link.is_file() or time.time() - note.stat().st_mtime > DAYS * 86400:
                    self.let_go(original)
                    note.unlink(missing_ok=True)  # also one that nobody can read any more
                elif not os.path.lexists(original) and link.stat().st_nlink == 1:
                    if original.parent.is_dir():
                        yield Gone(original, link)
                    else:  # cleared away, which is no judgement
                        self.let_go(original)

    def _names(self, file: Path) -> tuple[Path, Path]:
        key = sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._folder / key / file.name, self._folder / f"{key}.txt"


class Favourites:
    """Which files of a folder have been counted.

    Args:
        ledger: a JSON file, each counted file's path with its size, time of change and the sha256 of its bytes.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._known: dict[str, list[object]] | None = None

    def new(self, folder: Path, others: list[Path]) -> Iterator[Path]:
        """Images that came into the folder, at most 500 at a time; links count where they lead into it or into one of ``others``."""
        found, known = 0, self._read()
        inside = [one.resolve() for one in (folder, *others)]
        for parent, folders, names in os.walk(folder):
            folders.sort()
            for path in (Path(parent, name) for name in sorted(names)):
                if path.suffix.lower() not in SUFFIXES or not (state := _state(path, inside)):
                    continue
                if known.get(str(path), [])[:2] != state:
                    yield path
                    found += 1
                    if found >= _MOST_AT_ONCE:
                        return

    def count(self, path: Path) -> None:
        """Remember that a file has been counted."""
        stat = path.stat()
        self._read()[str(path)] = [stat.st_size, stat.st_mtime_ns, sha256(path.read_bytes()).hexdigest()]

    def has(self, file: Path) -> bool:
        """Whether a file of these bytes has been counted."""
        name = sha256(file.read_bytes()).hexdigest()
        return any(one[2] == name for one in self._read().values())

    def save(self) -> None:
        """Write the ledger, without files that have gone."""
        if self._known is None:
            return
        self._known = {path: one for path, one in self._known.items() if Path(path).exists()}
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        _write(self._ledger, json.dumps(self._known))

    def _read(self) -> dict[str, list[object]]:
        if self._known is None:
            try:
                found = json.loads(self._ledger.read_text(encoding="utf-8"))
                self._known = {str(path): list(one) for path, one in found.items() if len(one) == 3}
            except (OSError, ValueError, TypeError, AttributeError):  # at worst favourites are counted once more
                self._known = {}
        return self._known


def _state(path: Path, inside: list[Path]) -> list[object] | None:
    """Size and time of change; ``None`` for what is no file, or leads elsewhere."""
    try:
        if path.is_symlink() and not any(path.resolve().is_relative_to(folder) for folder in inside):
            return None
        stat = path.stat()
    except (OSError, RuntimeError):
        return None
    return [stat.st_size, stat.st_mtime_ns] if path.is_file() else None


def _write(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    other = path.with_name(f"{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        with other.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        other.replace(path)
    except OSError:
        other.unlink(missing_ok=True)
        raise
