"""Text in prompts.

A frequent text is found soon by going through the images. For a rare one the prompts are gone through, each of which is there once however
many images it has, and what was found is kept for the next page: 0.2 µs a prompt, once. An index of groups of three signs (SQLite's FTS5,
PostgreSQL's ``pg_trgm``) finds it in 2 ms but was measured to cost 50 and 130 µs a new prompt, more than all the rest of an intake.
PostgreSQL takes such an index by itself where the database's owner makes one on ``prompts (text)``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from lib_rankopt.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

MANY = 2000
"""Prompts; a text that more of them contain is frequent."""

_prompts = schema.prompts
_KEPT = 64
_LATE = 20_000  # numbers: a writer that has begun earlier may still add prompts below the last one


class Found:
    """Which prompts contain a text, as far as they were looked at: a prompt never changes. Thread-safe."""

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
    after, known = found.get(wanted)
    last = int(connection.execute(select(func.max(_prompts.c.number))).scalar() or 0)
    query = select(_prompts.c.number).where(_prompts.c.number > after, contains(connection, _prompts.c.text, wanted)).limit(MANY + 1)
    numbers = sorted({*known, *map(int, connection.execute(query).scalars())})
    if len(numbers) > MANY:
        return None
    end = max(after, last - _LATE)
    found.put(wanted, end, [number for number in numbers if number <= end])
    return numbers
