"""Which images were labelled or compared: what stands of what was said, and the list of those about which nothing was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, select

from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk
from lib_rankopt.store.collected.records import COMPARISONS, LABEL_KINDS

if TYPE_CHECKING:
    from sqlalchemy import Connection

RATES = ("like", "dislike", *COMPARISONS)
"""Kinds of feedback after which an image is rated."""

_feedback, _ranked, _unrated = schema.collected_feedback, schema.ranked_images, schema.unrated_images


def stands() -> Any:
    """Condition: feedback was not taken back."""
    back = _feedback.alias()
    return ~exists(select(back.c.number).where(back.c.retracts == _feedback.c.number))


def said_by(rater: int | None) -> list[Any]:
    """Condition: feedback is of one rater; written so that it does not choose the index, as a rater may have said millions of things."""
    return [] if rater is None else [_feedback.c.rater + 0 == rater]


def labels(connection: Connection, collection: int, images: Sequence[int], rater: int | None = None) -> dict[int, set[int]]:
    """Labels that stand, by anybody or one rater: 1 for likes and −1 for dislikes, by image; images without one are left out.

    Of each rater what they said last, or, without that, what was concluded last. An ``unlike`` takes all away that was known of this
    rater and image before.
    """
    query = select(_feedback.c.number, _feedback.c.image, _feedback.c.rater, _feedback.c.kind, _feedback.c.source)
    query = query.where(*_of(collection, rater), _feedback.c.kind.in_(LABEL_KINDS))
    last: dict[tuple[int, int], dict[str, str]] = {}
    for some in _bulk.pieces(images):
        rows = connection.execute(query.where(_bulk.among(connection, _feedback.c.image, some)))
        # sorted here: asked for an order, SQLite would take the index of numbers and go through all of them
        for _, image, who, kind, source in sorted(map(tuple, rows)):
            of = last.setdefault((image, who), {})
            if kind == "unlike" and not source:
                of.clear()
            else:
                of[source] = kind
    found: dict[int, set[int]] = {}
    for (image, _), of in last.items():
        kinds = {of[""]} if "" in of else set(of.values())
        if signs := {sign for kind, sign in (("like", 1), ("dislike", -1)) if kind in kinds}:
            found.setdefault(image, set()).update(signs)
    return found


def compared(connection: Connection, collection: int, images: Sequence[int], rater: int | None = None) -> set[int]:
    """Images that stand in a pair or ranking of anybody, or of one rater, that was not taken back."""
    own = _of(collection, rater)
    pair = (*own, _feedback.c.kind == "pair")
    listed = select(_ranked.c.image).join(_feedback, _feedback.c.number == _ranked.c.feedback)
    listed = listed.where(*own, _feedback.c.kind == "ranking").distinct()
    ways = [(select(column).where(*pair).distinct(), column) for column in (_feedback.c.image, _feedback.c.other)]
    found: set[int] = set()
    for query, column in (*ways, (listed, _ranked.c.image)):
        # those that are known to be in one need not be looked for again
        for some in _bulk.pieces(image for image in images if image not in found):
            found.update(connection.execute(query.where(_bulk.among(connection, column, some))).scalars())
    return found


def rated(connection: Connection, collection: int, images: Sequence[int], rater: int | None = None) -> set[int]:
    """Images about which anything stands that anybody said, or one rater."""
    found = set(labels(connection, collection, images, rater))
    return found | compared(connection, collection, [image for image in images if image not in found], rater)


def _of(collection: int, rater: int | None) -> tuple[Any, ...]:
    return (_feedback.c.collection == collection, stands(), *said_by(rater))


def put_unrated(connection: Connection, collection: int, images: Sequence[int]) -> int:
    """List new images as unrated; return how many."""
    _bulk.insert(connection, _unrated, ("collection", "image"), [(collection, image) for image in images])
    return len(images)


def take_rated(connection: Connection, collection: int, images: Sequence[int]) -> int:
    """Take images off the list of the unrated; return how many were on it."""
    gone = 0
    for some in _bulk.pieces(images):
        gone += connection.execute(delete(_unrated).where(_unrated.c.collection == collection, _unrated.c.image.in_(some))).rowcount
    return gone


def look_again(connection: Connection, collection: int, images: Sequence[int]) -> int:
    """Put images on the list of the unrated, or take them off it, by what stands now; return by how much it has grown."""
    if not images:
        return 0
    standing = rated(connection, collection, images)
    grown = -take_rated(connection, collection, sorted(standing))
    for some in _bulk.pieces(image for image in images if image not in standing):
        query = select(_unrated.c.image).where(_unrated.c.collection == collection, _unrated.c.image.in_(some))
        listed = set(connection.execute(query).scalars())
        grown += put_unrated(connection, collection, [image for image in some if image not in listed])
    return grown
