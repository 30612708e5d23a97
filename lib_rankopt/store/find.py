"""Which study or collection a person means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from lib_rankopt.errors import InvalidInputError, NotFoundError


class _Named(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


def chosen(studies: Sequence[Named], wanted: str) -> Named:
    """The one whose id is or begins with ``wanted``, or whose name is.

    Raises:
        NotFoundError: none. InvalidInputError: several.
    """
    hits = [s for s in studies if s.id == wanted] or [s for s in studies if s.name == wanted or (wanted and s.id.startswith(wanted))]
    if not hits:
        raise NotFoundError(f"There is no study '{wanted}'. 'studies list' shows what there is.")
    if len(hits) > 1:
        raise InvalidInputError(f"'{wanted}' fits {len(hits)} studies: {', '.join(s.id[:12] for s in hits)}. Give more of the id.")
    return hits[0]
