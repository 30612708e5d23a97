"""Collected images and feedback over SQLAlchemy: SQLite, or PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import IntegrityError

from lib_rankopt.errors import ConflictError, NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _delete, _rows
from lib_rankopt.store.collected._checks import bounded, check_collection, check_new, fits
from lib_rankopt.store.collected._intake import Intake, check_batch
from lib_rankopt.store.collected._search import Found
from lib_rankopt.store.collected._sql_feedback import FeedbackPart
from lib_rankopt.store.collected._sql_images import ImagesPart
from lib_rankopt.store.collected._sql_ratings import RatingsPart
from lib_rankopt.store.collected.base import CollectionStore
from lib_rankopt.store.collected.records import Added, Collection, Deleted, FeedbackDraft, ImageDraft

if TYPE_CHECKING:
    from lib_rankopt.store.database import Database

_collections = schema.collections


class SqlCollections(ImagesPart, FeedbackPart, RatingsPart, CollectionStore):
    """See :class:`~lib_rankopt.store.collected.base.CollectionStore`; shares a database with the studies."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._found_texts = Found()

    # -- collections
    def create(self, draft: Collection) -> Collection:
        check_new(draft)
        try:
            with self._db.write() as connection:
                result = connection.execute(_collections.insert(), _rows.collection_row(draft))
                number = result.inserted_primary_key
                return _collection(connection, int(number[0]) if number else 0)
        except IntegrityError as error:
            raise ConflictError(f"There is a collection named '{draft.name}' already.") from error

    def collections(self) -> list[Collection]:
        with self._db.read() as connection:
            every = select(_collections).where(_bulk.visible()).order_by(_collections.c.number.desc())
            return [_rows.collection_of(row) for row in connection.execute(every)]

    def collection(self, number: int) -> Collection:
        with self._db.read() as connection:
            return _collection(connection, number)

    def change(
        self,
        number: int,
        *,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        root: str | None = None,
        position: int | None = None,
    ) -> Collection:
        check_collection(name, root, position)
        values = {
            "name": None if name is None else _rows.clean(name), "settings": None if settings is None else _rows.settings_json(settings),
            "root": root, "position": position,
        }  # fmt: skip
        given = {key: value for key, value in values.items() if value is not None}
        try:
            with self._db.write() as connection:
                if given and fits(number):
                    own = (_collections.c.number == number, _bulk.visible())
                    connection.execute(update(_collections).where(*own).values(**given))
                return _collection(connection, number)
        except IntegrityError as error:
            raise ConflictError(f"There is a collection named '{name}' already.") from error

    def begin_deletion(self, number: int) -> Collection:
        with self._db.write() as connection:
            _bulk.lock(connection, [bounded(number)])
            found = _collection(connection, number)
            _delete.hide(connection, found)
        return found

    def deletions(self) -> list[Collection]:
        with self._db.read() as connection:
            return _delete.hidden(connection)

    def delete_some(self, number: int, most: int = 2000) -> Deleted:
        with self._db.write() as connection:
            return _delete.some_of(connection, bounded(number), max(most, 1))

    # -- intake
    def add(
        self, collection: int, images: Sequence[ImageDraft], feedback: Sequence[FeedbackDraft] = (), position: int | None = None
    ) -> Added:
        check_batch(images, feedback)
        check_collection(position=position)
        with self._db.write() as connection:
            if not fits(collection) or not _bulk.lock(connection, [collection]):
                raise _no_collection(collection)
            if position is not None:
                connection.execute(update(_collections).where(_collections.c.number == collection).values(position=position))
            added = Intake(connection, collection).add(images, feedback)
        if not self._db.is_sqlite:
            # in a transaction of its own: it waits for others of its kind
            with self._db.write() as connection:
                _bulk.analyze(connection, collection, added.images + added.feedback)
        return added

    # -- counts
    def tallies(self, collection: int | None = None) -> dict[str, int]:
        query = select(schema.tallies.c.name, func.sum(schema.tallies.c.value)).group_by(schema.tallies.c.name)
        if collection is not None:
            query = query.where(schema.tallies.c.collection == bounded(collection))
        with self._db.read() as connection:
            return {str(name): int(value) for name, value in connection.execute(query) if value}


def _collection(connection: Connection, number: int) -> Collection:
    query = select(_collections).where(_collections.c.number == number, _bulk.visible())
    row = connection.execute(query).first() if fits(number) else None
    if row is None:
        raise _no_collection(number)
    return _rows.collection_of(row)


def _no_collection(number: int) -> NotFoundError:
    return NotFoundError(f"There is no collection {number}.")



