"""Text in prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import or_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


def contains(column: Any, text: str) -> Any:
    """Condition: a text has another one in it, in any case."""
    # databases fold the case of ASCII alone
    ways = [text] if text.isascii() else list(dict.fromkeys([text, text.lower(), text.upper(), text.capitalize(), text.title()]))
    return or_(*(column.ilike(f"%{_escaped(way)}%", escape="\\") for way in ways))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def rare(connection: Connection, text: str) -> Sequence[int] | None:
    """Return the numbers of the prompts that contain a text, in any case; ``None`` where these are many, or it cannot be said fast."""
    return None
