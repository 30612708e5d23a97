"""Counting and collecting by key at constant memory: a private SQLite database on disk, gone with its object."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from types import TracebackType

from lib_rankopt.errors import StoreError

_CACHE = 8 << 10  # KiB of memory; what is more lies in a file that only this process sees


class _Scratch:
    _tables = ""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(self._tables)
        self._database.execute("BEGIN")

    def __enter__(self):  # type: ignore[no-untyped-def]  # Self needs Python 3.11
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"The temporary database is unusable: {error}. Is there room in the folder for temporary files?") from error


class Tally(_Scratch):
    """Two counters and a note by key; a key is one text or several."""

    _tables = (
        "CREATE TABLE tally (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, first INTEGER NOT NULL, second INTEGER NOT NULL, "
        "note TEXT)"
    )

    def add(self, *key: str, first: int = 0, second: int = 0) -> None:
        """Add to the counters of a key, which begin at zero."""
        self._database.execute(
            "INSERT INTO tally (key, first, second) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET first = first + excluded.first, second = second + excluded.second",
            (_joined(key), first, second),
        )

    def get(self, *key: str) -> tuple[int, int]:
        """Both counters; zeros of a key that was never added."""
        found = self._database.execute("SELECT first, second FROM tally WHERE key = ?", (_joined(key),)).fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def note(self, *key: str, text: str) -> None:
        """Remember a text for a key."""
        self._database.execute(
            "INSERT INTO tally (key, first, second, note) VALUES (?, 0, 0, ?) ON CONFLICT (key) DO UPDATE SET note = excluded.note",
            (_joined(key), text),
        )

    def noted(self, *key: str) -> str | None:
        """The text; ``None`` where there is none."""
        found = self._database.execute("SELECT note FROM tally WHERE key = ?", (_joined(key),)).fetchone()
        return found[0] if found else None

    def once(self, *key: str) -> bool:
        """Whether a key comes for the first time; it is known from now on."""
        made = self._database.execute("INSERT INTO tally (key, first, second) VALUES (?, 0, 0) ON CONFLICT DO NOTHING", (_joined(key),))
        return made.rowcount > 0

    def items(self) -> Iterator[tuple[tuple[str, ...], int, int]]:
        """All keys with their counters, in the order in which they came. Nothing may be added meanwhile."""
        for key, first, second in self._database.execute("SELECT key, first, second FROM tally ORDER BY number"):
            yield tuple(json.loads(key)), first, second

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM tally").fetchone()[0])


class Groups(_Scratch):
    """Texts by key: the keys in the order in which they came, and so the texts of each."""

    _tables = (
        "CREATE TABLE groups (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, size INTEGER NOT NULL);"
        "CREATE TABLE members (group_number INTEGER NOT NULL, number INTEGER NOT NULL, value TEXT NOT NULL, "
        "PRIMARY KEY (group_number, number)) WITHOUT ROWID"
    )

    def add(self, key: str, value: str) -> None:
        """Put a text into a group."""
        number, size = self._database.execute(
            "INSERT INTO groups (key, size) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET size = size + 1 RETURNING number, size", (key,)
        ).fetchone()
        self._database.execute("INSERT INTO members VALUES (?, ?, ?)", (number, size, value))

    def items(self, most: int) -> Iterator[tuple[str, int, list[str]]]:
        """All groups: key, how many texts it has, and the first ``most`` of them. Nothing may be added meanwhile."""
        for number, key, size in self._database.execute("SELECT number, key, size FROM groups ORDER BY number"):
            members = self._database.execute("SELECT value FROM members WHERE group_number = ? ORDER BY number LIMIT ?", (number, most))
            yield key, size, [value for (value,) in members]

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM groups").fetchone()[0])


def _joined(key: tuple[str, ...]) -> str:
    return json.dumps(key)  # ASCII, whatever the texts hold
