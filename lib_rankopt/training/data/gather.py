"""All the feedback that a configuration names: studies and collections of the store, files and folders, together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import NotFoundError
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.store.collected.records import Collection
from lib_rankopt.store.find import chosen
from lib_rankopt.training.data import files, from_collections, from_store
from lib_rankopt.training.data.records import Feedback

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.records import StudyRecord

OpenStore = Callable[[], "AbstractContextManager[tuple[Store, BlobStore]]"]


def gather(data: Sequence[str], open_store: OpenStore, weights: Mapping[str, float] | None = None) -> Feedback:
    """Read all of it.

    Args:
        data: paths, and ids or names of studies and collections; none for all studies.
        open_store: is asked for the store only where it is wanted.
        weights: how much labels count that were concluded from an action, by source; the usual ones where ``None`` or empty.

    Raises:
        InvalidInputError, NotFoundError: which of the data cannot be read. StoreError: the store cannot be.
    """
    paths = [Path(name) for name in data if _is_path(name)]
    names = [name for name in data if not _is_path(name)]
    for name in names:
        if name.endswith(".jsonl") or "/" in name or "\\" in name:
            raise NotFoundError(f"{name}: there is no such file or folder.")
    found = [files.read(path) for path in paths]
    if names or not paths:
        with open_store() as (store, blobs):
            found += _from_store(store, blobs, names, weights or IMPLICIT_WEIGHTS)
    return Feedback(
        tuple(one for part in found for one in part.rankings),
        tuple(one for part in found for one in part.labels),
        tuple(one for part in found for one in part.problems),
    )


def _from_store(store: Store, blobs: BlobStore, names: Sequence[str], weights: Mapping[str, float]) -> list[Feedback]:
    studies = store.studies()
    if not names:
        return [from_store.read(store, blobs, [study.id for study in studies])]
    every: list[StudyRecord | Collection] = [*studies, *store.collected.collections()]
    named = [chosen(every, name) for name in names]
    collections = [one for one in named if isinstance(one, Collection)]
    own = [one.id for one in named if not isinstance(one, Collection)]
    found = [from_store.read(store, blobs, own)] if own else []
    return [*found, from_collections.read(store, blobs, HeldFiles(blobs.root), collections, weights)] if collections else found


def _is_path(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long for one, or with signs that none has
        return False
