"""JSON values from strangers, made such that every database and every JSON writer takes them."""

from __future__ import annotations

import math
from typing import Any

from lib_rankopt.errors import InvalidInputError

_DEEPEST = 16


def tidy_text(text: str) -> str:
    """Return a text without signs that have no UTF-8, and without zeros, which PostgreSQL has no place for."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def tidy(value: Any, depth: int = 0) -> Any:
    """Return a JSON value with tidy texts; infinite numbers and not-a-number become null.

    Raises:
        InvalidInputError: lists in lists in lists, more than 16 deep, or what is no JSON value.
    """
    if isinstance(value, str):
        return tidy_text(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _DEEPEST:
        raise InvalidInputError(f"values are nested more than {_DEEPEST} deep")
    if isinstance(value, (list, tuple)):
        return [tidy(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {tidy_text(str(key)): tidy(one, depth + 1) for key, one in value.items()}
    raise InvalidInputError(f"{str(value)[:80]!r} is no JSON value")
