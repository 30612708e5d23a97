"""``score --list`` and ``score --download``: which scorers there are, and the files that they need."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field

from lib_rankopt.cli.context import print_json, table, weight_folders, writing
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.scorers import registry
from lib_rankopt.scorers.base import JOINED
from lib_rankopt.scorers.weights import SUBFOLDER, WeightFile, WeightFolders

_MEGABYTE = 1_000_000


def split_names(text: str) -> list[str]:
    """Names between commas, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def list_scorers(arguments: Namespace) -> int:
    """One line a scorer and file."""
    folders = WeightFolders(weight_folders(arguments))
    here = folders.folders[0] / SUBFOLDER
    missing = False
    rows: list[tuple[str, ...]] = []
    for name in registry.names():
        try:
            wanted, trouble = registry.files(name), ""
        except ImportError as error:
            wanted, trouble = (), f"needs a package that is not installed ({error})"
        places = [folders.find(one) for one in wanted]
        ready = not trouble and None not in places
        missing |= None in places
        if arguments.json:
            files = [_file(one, str(place) if place else None) for one, place in zip(wanted, places, strict=True)]
            print_json({"name": name, "ready": ready, "files": files, **({"error": trouble} if trouble else {})})
            continue
        lines = [str(place) if place else _to_get(one) for one, place in zip(wanted, places, strict=True)]
        for row, line in enumerate(lines or [trouble or "needs no file"]):
            rows.append((name, "yes" if ready else "no", line) if not row else ("", "", line))
    if rows:
        table(("scorer", "ready", "weights"), rows)
    if missing and not arguments.json:
        print(f"\nFiles that are missing belong into {here}; 'score --download NAME' fetches them.")
    return 0


def _file(wanted: WeightFile, place: str | None) -> dict[str, object]:
    return {"file": wanted.published or wanted.names[-1], "path": place, "megabytes": wanted.megabytes, "source": wanted.source}


def _to_get(wanted: WeightFile) -> str:
    return f"{wanted.published or wanted.names[-1]} ({wanted.size}) from {wanted.source}"


def download(arguments: Namespace) -> int:
    """Fetch what the scorers of ``--download`` need and is not here, going on where an earlier try was cut off."""
    wanted = [one for name in split_names(arguments.download) for one in name.split(JOINED)]
    if not wanted:
        raise InvalidInputError("--download: name at least one scorer; --list shows them.")
    for name in wanted:
        registry.check(name)
    folders = WeightFolders(weight_folders(arguments))
    for name in dict.fromkeys(wanted):
        needed = registry.files(name)
        if not needed and not arguments.json:
            print(f"{name}: needs no file.")
        for file in needed:
            place = folders.find(file)
            state = "here already" if place else "fetched"
            if place is None:
                bar = _Bar(file.published, arguments.json)
                with writing(folders.folders[0]):
                    place = folders.download(file, bar)
                bar.end()
            if arguments.json:
                print_json({"scorer": name, "file": place.name, "path": str(place), "state": state})
            else:
                print(f"{name}: {place} ({state})")
    return 0


@dataclass
class _Bar:
    """Tells on stderr how far a download is: in place on a terminal, elsewhere a line every tenth."""

    name: str
    quiet: bool
    _next: float = 0.0
    _told: int = -1
    _drawn: bool = field(default=False)

    def __call__(self, done: int, whole: int) -> None:
        if self.quiet and not sys.stderr.isatty():
            return
        share = f"of {whole / _MEGABYTE:,.1f} MB, {100 * done / whole:3.0f} %" if whole else "MB"
        text = f"{self.name}: {done / _MEGABYTE:,.1f} {share}"
        if sys.stderr.isatty():
            if time.monotonic() >= self._next or done == whole:
                print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
                self._next, self._drawn = time.monotonic() + 0.2, True
        elif whole and (tenth := 10 * done // whole) > self._told:
            print(text, file=sys.stderr, flush=True)
            self._told = tenth

    def end(self) -> None:
        """Leave the line that was drawn in."""
        if self._drawn:
            print(file=sys.stderr)
