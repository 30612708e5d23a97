"""The files that a data set of one format consists of, read one after the other as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats.base import Row
from lib_rankopt.store.formats.shapes import ending


@dataclass(frozen=True)
class Source:
    """One file of several.

    Attributes:
        path: where it is. name: relative to the data set's root, with ``/``.
        start, size: its first byte's place among those of all files, and how many it has.
    """

    path: Path
    name: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """``done`` after its last row."""
        return self.start + self.size


def find(path: Path, what: str, *patterns: Sequence[str]) -> list[Source]:
    """Return a file, or the files of a folder that fit one of the first globs that fit anything, by name within each glob.

    Args:
        what: for the message: ``a csv file of Diffusion-KTO``.
        patterns: sets of globs, each tried only if the ones before found nothing.

    Raises:
        InvalidInputError: ``path`` is missing, or a folder without such a file.
    """
    if path.is_file():
        return _sized([path], path.parent)
    if not path.is_dir():
        raise InvalidInputError(f"There is nothing at {path}; {what} is expected, or a folder with one.")
    for globs in patterns:
        found = [one for glob in globs for one in sorted(path.glob(glob)) if one.is_file()]
        if kept := [one for one in dict.fromkeys(found) if _is_inside(one, path)]:
            return _sized(kept, path)
        if found:
            raise InvalidInputError(f"{found[0]} is a link that leads out of the folder; name the folder that it leads to.")
    expected = " or ".join(glob for globs in patterns for glob in globs)
    raise InvalidInputError(f"The folder {path} holds no {what.removeprefix('a ')}; expected is {expected}.")


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _sized(paths: Sequence[Path], root: Path) -> list[Source]:
    sources: list[Source] = []
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from error
        sources.append(Source(path, path.relative_to(root).as_posix(), sources[-1].end if sources else 0, size))
    return sources


def only(sources: Sequence[Source], is_wanted: Callable[[Source], bool]) -> list[Source]:
    """Some of the files, as if there were no others."""
    kept: list[Source] = []
    for source in filter(is_wanted, sources):
        kept.append(replace(source, start=kept[-1].end if kept else 0))
    return kept


def total(sources: Sequence[Source]) -> int:
    """Bytes of all."""
    return sources[-1].end


def read(sources: Sequence[Source], after: int, rows: Callable[[Source], Iterator[Row]]) -> Iterator[Row]:
    """Rows of all files; one that cannot be read at all is a problem of its own, where there are others.

    Args:
        rows: reads one; may give rows up to ``after`` as well, which are left out.

    Raises:
        InvalidInputError: the only file there is cannot be read.
    """
    for source in sources:
        if source.end <= after:
            continue
        held: Row | None = None  # as shapes.ending does, without another generator for each of millions of rows
        try:
            for row in rows(source):
                if held is not None and held.done > after:
                    yield held
                held = row
            yield from ending([held] if held is not None else [], source.end)
        except InvalidInputError as error:
            if len(sources) == 1:
                raise
            if held is not None and held.done > after:
                yield held
            yield Row(source.end, source.name, problem=str(error))
