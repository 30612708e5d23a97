"""The store without a host: for commands that make no images."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_rankopt.cli.context import data_dir, option

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.collected.dataset import StoreDataset
    from lib_rankopt.store.collected.files import HeldFiles
    from lib_rankopt.studies.data.sources import Sources


@dataclass(frozen=True)
class Stores:
    """The database, and the files of the data folder."""

    store: Store
    blobs: BlobStore
    held: HeldFiles

    def dataset(self, sources: Sources) -> StoreDataset:
        """What the store holds of these."""
        from lib_rankopt.store.collected.dataset import StoreDataset

        return StoreDataset(self.store, self.blobs, self.held, sources.collections, sources.studies)


@contextmanager
def open_stores(arguments: Namespace) -> Iterator[Stores]:
    """The store of this call, closed at the end."""
    from lib_rankopt.store import BlobStore, open_store
    from lib_rankopt.store.collected.files import HeldFiles

    folder = data_dir(arguments)
    store = open_store(folder, arguments.database_url)
    try:
        yield Stores(store, BlobStore(folder), HeldFiles(folder))
    finally:
        store.close()


def format_options(arguments: Namespace) -> dict[str, str]:
    """Read ``--set``, whose values stay text."""
    return {option("--set", text)[0]: text.partition("=")[2] for text in arguments.set}
