"""Names that people give, alike wherever they are given: who ``Ann`` is must not depend on the page."""

from __future__ import annotations

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats.text import clean

_LONGEST = 200


def plain(name: str) -> str:
    """Return a name as every database takes it, on one line and without spaces around it."""
    return " ".join(clean(name).split())


def rater_name(name: str) -> str:
    """Return a rater's name.

    Raises:
        InvalidInputError: it has not 1 to 200 signs.
    """
    found = plain(name)
    if not 0 < len(found) <= _LONGEST:
        raise InvalidInputError(f"Say who you are by a name of 1 to {_LONGEST} characters, not {len(found)}.")
    return found
