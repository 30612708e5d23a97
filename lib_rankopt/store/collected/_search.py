"""Text in prompts.

SQLite keeps an index of all groups of three signs (FTS5, from 3.34 on). It is made and kept up by whoever adds prompts and can; what it
lacks behind its end is gone through. PostgreSQL goes through the prompts, and by itself takes an index of ``pg_trgm`` where its owner
has made one: that costs five sixths of the speed at which new prompts are taken in, so it is not made here.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select, text

from lib_rankopt.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

MANY = 2000
"""Prompts; a text that more of them contain is found soon by going through the images."""

_prompts = schema.prompts
_GROUP = 3
_GROUPS = 16  # that are asked for; the text itself is compared afterwards
_AT_ONCE = 20_000
_KEPT = 64
_MAKE = (
    "CREATE VIRTUAL TABLE prompt_search USING fts5(text, content='', detail=none, columnsize=0, tokenize='trigram')",
    "CREATE TABLE prompt_search_end (number INTEGER NOT NULL)",
    "INSERT INTO prompt_search_end (number) VALUES (0)",
)


class Found:
    """What was found by going through the prompts, for the next page: a prompt never changes. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, tuple[int, ...]]] = OrderedDict()
        self._lock = Lock()

    def get(self, wanted: str) -> tuple[int, tuple[int, ...]]:
        """The last number that was looked at, and the prompts up to there."""
        with self._lock:
            return self._kept.get(wanted, (0, ()))

    def put(self, wanted: str, end: int, numbers: Sequence[int]) -> None:
        """Keep what was found."""
        with self._lock:
            self._kept[wanted] = (end, tuple(numbers))
            self._kept.move_to_end(wanted)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def contains(connection: Connection, column: Any, wanted: str) -> Any:
    """Condition: a text has another one in it, in any case."""
    # databases fold the case of ASCII alone
    ways = [wanted] if wanted.isascii() else list(dict.fromkeys(f(wanted) for f in (str, str.lower, str.upper, str.capitalize, str.title)))
    like = column.like if connection.dialect.name == "sqlite" else column.ilike
    return or_(*(like(f"%{_escaped(way)}%", escape="\\") for way in ways))


def _escaped(wanted: str) -> str:
    return wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def rare(connection: Connection, wanted: str, found: Found) -> list[int] | None:
    """Return the numbers of the prompts that contain a text, in any case; ``None`` where these are more than :data:`MANY`."""
    end = _end(connection) if len(wanted) >= _GROUP else 0
    if not end:
        return _rare_by_going_through(connection, wanted, found)
    groups = dict.fromkeys(wanted[at : at + _GROUP] for at in range(len(wanted) - _GROUP + 1))
    query = " AND ".join('"' + group.replace('"', '""') + '"' for group in list(groups)[:_GROUPS])
    hits = (
        select(_prompts.c.number)
        .select_from(text("prompt_search"), _prompts)
        .where(text("prompt_search MATCH :query"), text("prompts.number = prompt_search.rowid"))
        .where(contains(connection, _prompts.c.text, wanted))
        .limit(MANY + 1)
    )
    numbers = [int(number) for number in connection.execute(hits, {"query": query}).scalars()]
    numbers += _among(connection, wanted, end)
    return None if len(numbers) > MANY else numbers


def _rare_by_going_through(connection: Connection, wanted: str, found: Found) -> list[int] | None:
    after, known = found.get(wanted)
    end = int(connection.execute(select(func.max(_prompts.c.number))).scalar() or 0)
    numbers = [*known, *_among(connection, wanted, after)]
    if len(numbers) > MANY:
        return None
    # numbers of prompts that are being added elsewhere may still come below the last one
    found.put(wanted, max(after, end - _AT_ONCE), [number for number in numbers if number <= max(after, end - _AT_ONCE)])
    return numbers


def _among(connection: Connection, wanted: str, after: int) -> list[int]:
    query = select(_prompts.c.number).where(_prompts.c.number > after, contains(connection, _prompts.c.text, wanted)).limit(MANY + 1)
    return [int(number) for number in connection.execute(query).scalars()]


def _end(connection: Connection) -> int:
    """Up to which prompt the index goes; 0 where there is none that can be read."""
    if not _can(connection):
        return 0
    if not connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'prompt_search_end'")).scalar():
        return 0
    return int(connection.execute(text("SELECT number FROM prompt_search_end")).scalar() or 0)


def _can(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite" or sqlite3.sqlite_version_info < (3, 34):
        return False
    return bool(connection.execute(text("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'")).scalar())


def keep_up(connection: Connection) -> None:
    """Take new prompts into the index, inside the transaction that has added them."""
    if not _can(connection):
        return
    if not connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'prompt_search_end'")).scalar():
        for statement in _MAKE:
            connection.execute(text(statement))
    end = _end(connection)
    query = text("SELECT number FROM prompts WHERE number > :end ORDER BY number LIMIT 1 OFFSET :n")
    last = connection.execute(query, {"end": end, "n": _AT_ONCE - 1}).scalar()
    if last is None:
        last = connection.execute(text("SELECT max(number) FROM prompts")).scalar() or 0
    if int(last) > end:
        rows = "INSERT INTO prompt_search (rowid, text) SELECT number, text FROM prompts WHERE number > :end AND number <= :last"
        connection.execute(text(rows), {"end": end, "last": last})
        connection.execute(text("UPDATE prompt_search_end SET number = :last"), {"last": last})
