"""A collection out of the tables, piece by piece: ten million rows in one transaction would keep every other writer waiting for minutes.

First it is hidden, for good; then what is left of it goes. A process that is killed in between leaves it hidden, and anybody goes on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rows
from lib_rankopt.store.collected.records import Collection, Deleted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_collections, _images, _feedback = schema.collections, schema.collected_images, schema.collected_feedback


def hide(connection: Connection, collection: Collection) -> None:
    """Take a collection out of all lists and counts, and let go of its name."""
    values = {"kind": _bulk.HIDDEN, "name": f"{collection.name[:150]} ({_bulk.HIDDEN} {collection.number})"}
    values["settings"] = _rows.settings_json({"name": collection.name, "kind": collection.kind})
    connection.execute(update(_collections).where(_collections.c.number == collection.number).values(**values))
    _forget_counts(connection, collection.number)


def hidden(connection: Connection) -> list[Collection]:
    """Return what is being deleted, oldest first, as it was but for its settings."""
    rows = connection.execute(select(_collections).where(~_bulk.visible()).order_by(_collections.c.number))
    return [replace(one, **one.settings, settings={}) for one in map(_rows.collection_of, rows)]


def some_of(connection: Connection, number: int, most: int) -> Deleted:
    """Delete up to so many answers of a hidden collection, then images; at the end the collection itself."""
    own = _collections.c.number == number
    # whoever else deletes it waits here
    if connection.execute(select(_collections.c.number).where(own, ~_bulk.visible()).with_for_update()).first() is None:
        return Deleted()
    answers = select(_feedback.c.number).where(_feedback.c.collection == number).order_by(_feedback.c.number).limit(most)
    if rows := connection.execute(delete(_feedback).where(_feedback.c.number.in_(answers))).rowcount:
        return Deleted(rows)
    mine = select(_images.c.number).where(_images.c.collection == number).limit(most)
    images = list(connection.execute(mine).scalars())
    if not images:
        _forget_counts(connection, number)  # of whatever was changed about its images in the meantime
        connection.execute(delete(_collections).where(own))
        return Deleted()
    held = _held_only_by(connection, number, images)
    unrated = schema.unrated_images
    for some in _bulk.pieces(images):
        connection.execute(delete(unrated).where(unrated.c.collection == number, _bulk.among(connection, unrated.c.image, some)))
        for table, column in ((schema.ranked_images, "image"), (schema.ratings, "image"), (_images, "number")):
            connection.execute(delete(table).where(_bulk.among(connection, table.c[column], some)))
    return Deleted(len(images), frozenset(held))


def _forget_counts(connection: Connection, number: int) -> None:
    connection.execute(delete(schema.tallies).where(schema.tallies.c.collection == number))


def _held_only_by(connection: Connection, number: int, images: Sequence[int]) -> set[str]:
    """Paths of held files of some images that no row of another collection refers to."""
    held = (_images.c.held == 1, _images.c.path.is_not(None))
    paths: dict[str, str] = {}
    for some in _bulk.pieces(images):
        query = select(_images.c.path, _images.c.file_sha256).where(_bulk.among(connection, _images.c.number, some), *held)
        paths.update((str(path), str(name)) for path, name in connection.execute(query))
    found = set(paths)
    for names in _bulk.pieces(set(paths.values())):
        others = select(_images.c.path).where(_images.c.file_sha256.in_(names), _images.c.collection != number, *held)
        found.difference_update(connection.execute(others).scalars())
    return found
