"""The engine: transactions, durability, and SQLAlchemy's errors in our own words."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError, SQLAlchemyError

from lib_rankopt.errors import InvalidInputError, MissingDependencyError, StoreError
from lib_rankopt.store import migrations
from lib_rankopt.store.turns import Turns

_BUSY_SECONDS = 15.0
# What was acknowledged survives a power cut; NORMAL would survive a killed process only.
_SYNCHRONOUS = "FULL"
_WRITE = "rankopt_write"
# Of an index over millions of answers, each intake touches thousands of pages: they are kept at hand, and written into the file
# after several intakes rather than after each. The log that is synced at each commit is not concerned.
_CACHE_KIB = 32 * 1024
_LOG_PAGES = 16 * 1024


class Database:
    """Transactions on one SQLite file or PostgreSQL database; thread-safe, opened and migrated on construction.

    Raises:
        InvalidInputError: a URL that cannot be read, or of a database that is neither SQLite nor PostgreSQL.
        StoreError: the database cannot be opened, or is of a newer schema version.
        MissingDependencyError: the PostgreSQL driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.name = self._url.render_as_string(hide_password=True)
        try:
            self._engine = create_engine(self._url, pool_pre_ping=not self.is_sqlite)
        except ImportError as error:
            raise MissingDependencyError(
                "The PostgreSQL driver is not installed: pip install 'psycopg[binary]'"
            ) from error
        self._turns = Turns()
        self._writer = self._engine.execution_options(**{_WRITE: True})
        # PostgreSQL's default lets every statement of a transaction see another moment.
        self._reader = self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")
        if self.is_sqlite:
            _use_sqlite(self._engine)
        with self.write() as connection:
            migrations.migrate(connection)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the file database."""
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose reads see one moment."""
        with self._plain_errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection for one transaction: committed and synced at the end, rolled back on any error.

        ``IntegrityError`` comes through as it is: only the caller knows what it means.
        """
        turn = self._turns.turn() if self.is_sqlite else nullcontext()
        with turn, self._plain_errors(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise StoreError(self._explain(error)) from error
        except SQLAlchemyError as error:
            raise StoreError(f"The database {self.name} failed: {error}") from error

    def _explain(self, error: DBAPIError) -> str:
        cause = str(error.orig).strip() or type(error.orig).__name__
        hints = {
            "full": "The disk is full; free some space and try again. Everything answered so far is kept.",
            "locked": "Another program holds the database for too long; close it and try again.",
            "readonly": "The file is read-only; check its permissions.",
            "unable to open": "The folder is missing or not writable; check --data-dir.",
            "malformed": "The file is damaged; restore it from a backup.",
            "not a database": "The file is not an SQLite database; choose another data folder.",
        }
        hint = next((said for word, said in hints.items() if word in cause.lower()), "Check that it is reachable.")
        return f"The database {self.name} failed: {cause.splitlines()[0]}. {hint}"


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidInputError(
            f"'{url.split('@')[-1]}' is no database URL; write postgresql://user:password@host/database"
        ) from error
    if backend not in ("sqlite", "postgresql"):
        raise InvalidInputError(f"'{backend}' databases are not supported; use SQLite (the default) or PostgreSQL.")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def _use_sqlite(engine: Any) -> None:
    """Let us, not the driver, begin transactions, and make commits survive a power cut."""

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        _patiently(lambda: cursor.execute("PRAGMA journal_mode = WAL"))
        cursor.execute(f"PRAGMA synchronous = {_SYNCHRONOUS}")
        cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        # deleting millions of rows at once makes the log as large as the file; it is cut afterwards
        cursor.execute(f"PRAGMA journal_size_limit = {2 * _LOG_PAGES * 4096}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer fails at once when another writer is in between; beginning as a
        # writer waits its turn instead.
        writing = connection.get_execution_options().get(_WRITE, False)
        _patiently(lambda: connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN"))


def _patiently(execute: Callable[[], object]) -> None:
    """Try again while the database is locked: SQLite's own timeout does not hold while a file is turned to WAL or recovered."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            execute()
            return
        except (sqlite3.OperationalError, OperationalError) as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.01)
