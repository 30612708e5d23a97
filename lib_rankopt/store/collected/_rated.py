"""Which images were labelled or compared: what stands of what was said, and the list of those about which nothing was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Said:
    """What stands of what was said about an image."""

    liked: bool = False
    disliked: bool = False
    compared: bool = False

    @property
    def rated(self) -> bool:
        """Anything at all."""
        return self.liked or self.disliked or self.compared


def said(
    connection: Connection,
    collection: int,
    images: Sequence[int],
    rater: int | None = None,
    *,
    labels: bool = True,
    comparisons: bool = True,
) -> dict[int, Said]:
    """Return what was said about images of one collection, by anybody or one rater; images without anything are left out."""
    own = [_feedback.c.collection == collection, stands(), *said_by(rater)]
    liked: set[int] = set()
    disliked: set[int] = set()
    compared: set[int] = set()
    for some in _bulk.pieces(images):
        if labels:
            for image, opinions in _labels(connection, some, own).items():
                liked.update([image] if 1 in opinions else [])
                disliked.update([image] if -1 in opinions else [])
        if comparisons:
            compared.update(_compared(connection, some, own))
    return {image: Said(image in liked, image in disliked, image in compared) for image in liked | disliked | compared}


def _labels(connection: Connection, images: Sequence[int], own: Sequence[Any]) -> Mapping[int, set[int]]:
    """1 for likes and −1 for dislikes, by image: of each rater what they said last, or, without that, what was concluded last.

    An ``unlike`` takes all away that was known of this rater and image before.
    """
    query = select(_feedback.c.number, _feedback.c.image, _feedback.c.rater, _feedback.c.kind, _feedback.c.source)
    query = query.where(*own, _feedback.c.kind.in_(LABEL_KINDS), _feedback.c.image.in_(images))
    last: dict[tuple[int, int], dict[str, str]] = {}
    # sorted here: asked for an order, SQLite would take the index of numbers and go through all of them
    for _, image, rater, kind, source in sorted(map(tuple, connection.execute(query))):
        of = last.setdefault((image, rater), {})
        if kind == "unlike" and not source:
            of.clear()
        else:
            of[source] = kind
    found: dict[int, set[int]] = {}
    for (image, _), of in last.items():
        kinds = {of[""]} if "" in of else set(of.values())
        found.setdefault(image, set()).update(sign for kind, sign in (("like", 1), ("dislike", -1)) if kind in kinds)
    return found


def _compared(connection: Connection, images: Sequence[int], own: Sequence[Any]) -> Iterable[int]:
    kind = _feedback.c.kind == "pair"
    for column in (_feedback.c.image, _feedback.c.other):
        yield from connection.execute(select(column).where(*own, kind, column.in_(images)).distinct()).scalars()
    listed = select(_ranked.c.image).join(_feedback, _feedback.c.number == _ranked.c.feedback)
    yield from connection.execute(
        listed.where(*own, _feedback.c.kind == "ranking", _ranked.c.image.in_(images)).distinct()
    ).scalars()


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
    now = said(connection, collection, images)
    rated = [image for image in images if image in now and now[image].rated]
    grown = -take_rated(connection, collection, rated)
    for some in _bulk.pieces(image for image in images if image not in now or not now[image].rated):
        query = select(_unrated.c.image).where(_unrated.c.collection == collection, _unrated.c.image.in_(some))
        listed = set(connection.execute(query).scalars())
        grown += put_unrated(connection, collection, [image for image in some if image not in listed])
    return grown
