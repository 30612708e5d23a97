"""A collection out of the tables, piece by piece: ten million rows in one transaction would keep every other writer waiting for minutes.

First it is hidden, for good; then what is left of it goes. A process that is killed in between leaves it hidden, and anybody goes on.
"""

from __future__ import annotations

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
    values["settings"] = _rows.settings_json({"name": collection.name})
    connection.execute(update(_collections).where(_collections.c.number == collection.number).values(**values))
    _forget_counts(connection, collection.number)


def hidden(connection: Connection) -> list[Collection]:
    """Return what is being deleted, oldest first, under its old name."""
    rows = connection.execute(select(_collections).where(~_bulk.visible()).order_by(_collections.c.number))
    found = map(_rows.collection_of, rows)
    return [Collection(one.settings["name"], one.kind, one.format, one.root, number=one.number) for one in found]


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
    hashes: dict[str, str | None] = {}
    for some in _bulk.pieces(images):
        query = select(_images.c.path, _images.c.file_sha256).where(_bulk.among(connection, _images.c.number, some), *held)
        hashes.update((str(path), name) for path, name in connection.execute(query))
    if not hashes:
        return set()
    others = select(_images.c.path).where(_images.c.collection != number, *held)
    # whoever keeps a file knows its hash, which finds it fast; rows without are gone through
    found = set(hashes) - set(connection.execute(others.where(_images.c.file_sha256.is_(None))).scalars())
    bare = [path for path, name in hashes.items() if not name]
    for column, values in ((_images.c.file_sha256, filter(None, hashes.values())), (_images.c.path, bare)):
        for wanted in _bulk.pieces(values):
            found.difference_update(connection.execute(others.where(column.in_(wanted))).scalars())
    return found
