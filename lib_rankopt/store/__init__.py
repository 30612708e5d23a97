"""Studies, rounds and feedback on disk: see :mod:`.base` for the contract."""

from __future__ import annotations

from pathlib import Path

from lib_rankopt.errors import StoreError
from lib_rankopt.store.base import DuplicateToken, StaleRevision, Store
from lib_rankopt.store.blobs import BlobStore

__all__ = ["BlobStore", "DuplicateToken", "StaleRevision", "Store", "open_store"]


def open_store(data_dir: Path, url: str | None = None) -> Store:
    """Open the store of a data folder: its own SQLite file, or the database at ``url``.

    Raises:
        StoreError: the folder cannot be made, the database cannot be opened or is of a newer version.
        InvalidInputError: ``url`` is no usable database URL.
    """
    from lib_rankopt.store.database import sqlite_url
    from lib_rankopt.store.sql import SqlStore

    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The data folder {data_dir} cannot be made: {error.strerror or error}.") from error
    return SqlStore(url or sqlite_url(data_dir / "rankopt.sqlite3"))
