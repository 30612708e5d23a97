"""What people name on the command line: collections and studies, by name, number or id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.store.collected.records import Collection
from lib_rankopt.store.records import StudyRecord

if TYPE_CHECKING:
    from lib_rankopt.store import Store


@dataclass(frozen=True)
class Sources:
    """Collections and studies, each once, in the order in which they were named."""

    collections: tuple[Collection, ...] = ()
    studies: tuple[StudyRecord, ...] = ()

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [*(one.name for one in self.collections), *(one.name for one in self.studies)]


def everything(store: Store) -> Sources:
    """Return all that the store holds, oldest first."""
    return Sources(tuple(reversed(store.collected.collections())), tuple(reversed(store.studies())))


def find_sources(store: Store, wanted: Sequence[str]) -> Sources:
    """Return what these names mean; nothing named is everything.

    Args:
        wanted: of each a collection's name, number or id (``c12``), or a study's name, id or start of the id.

    Raises:
        NotFoundError: nothing of that name. InvalidInputError: a name fits several.
    """
    every = everything(store)
    if not wanted:
        return every
    found = [_find(every, name) for name in wanted]
    once = list({id(one): one for one in found}.values())
    return Sources(
        tuple(one for one in once if isinstance(one, Collection)), tuple(one for one in once if not isinstance(one, Collection))
    )


def _find(every: Sources, wanted: str) -> Collection | StudyRecord:
    both: tuple[Collection | StudyRecord, ...] = (*every.collections, *every.studies)
    hits = [one for one in both if one.id == wanted] or [one for one in both if one.name == wanted]
    if not hits:
        hits += [one for one in every.collections if str(one.number) == wanted]
        hits += [one for one in every.studies if len(wanted) >= 4 and one.id.startswith(wanted)]
    if not hits:
        raise NotFoundError(f"There is no collection or study '{wanted[:200]}'. 'stats' shows what there is.")
    if len(hits) > 1:
        said = ", ".join(f"collection {one.number}" if isinstance(one, Collection) else f"study {one.id[:12]}" for one in hits)
        raise InvalidInputError(f"'{wanted[:200]}' fits {len(hits)}: {said}. Name one by its number or id.")
    return hits[0]
