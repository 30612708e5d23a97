"""Records of collected images and feedback to rows and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store._sql_rows import as_json
from lib_rankopt.store.collected.records import CollectedImage, Collection, FeedbackDraft, FeedbackRecord, ImageDraft, Rating
from lib_rankopt.store.records import now

if TYPE_CHECKING:
    from sqlalchemy import Row

UNKNOWN = "unknown"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_TIE = 2
WITHOUT_TIERS = ("skip", "retraction")

IMAGE_COLUMNS = (
    "number", "collection", "key", "prompt", "path", "held", "file_sha256", "sha256", "width", "height", "size", "modified", "model",
    "about", "state",
)  # fmt: skip
FEEDBACK_COLUMNS = (
    "number", "collection", "kind", "image", "other", "shown", "tiers", "prompt", "rater", "source", "token", "latency_ms", "retracts",
    "created_at", "about",
)  # fmt: skip


def digest(text: str) -> bytes:
    """Identity of a prompt: 128 bits of its sha256."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def token(text: str) -> bytes:
    """Identity of an answer in its collection: 96 bits, so that among ten million two agree by chance once in 10¹⁵ stores.

    An answer without a token is one of its own each time.
    """
    text = text or uuid4().hex
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:12]


def clean(text: str) -> str:
    """Text as every database takes it: without NUL and half characters."""
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def rater_name(text: str) -> str:
    """A rater as the store names them."""
    return clean(text)[:200] or UNKNOWN


def source_name(text: str) -> str:
    """What feedback was concluded from, as the store names it."""
    return clean(text)[:32]


def model_name(text: str) -> str:
    """A model as the store names it."""
    return clean(text)[:200]


def about_json(about: Mapping[str, Any]) -> str | None:
    """Plain values as text, ``None`` for nothing.

    Raises:
        InvalidInputError: there are other values in it.
    """
    if not about:
        return None
    try:
        return clean(as_json(dict(about)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"What is said about an image or an answer is not of plain JSON values: {error}") from error


def microseconds(created_at: str) -> int:
    """ISO 8601 to microseconds since 1970; the present moment where it is empty or cannot be read."""
    try:
        moment = datetime.fromisoformat((created_at or now()).replace("Z", "+00:00"))
    except ValueError:
        moment = datetime.now(timezone.utc)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    # a time zone may lead out of the years 1 to 9999
    return min(max((aware - _EPOCH) // _MICROSECOND, _FIRST), _LAST)


def iso(created_at: int) -> str:
    """Microseconds since 1970 to ISO 8601 in UTC."""
    day, rest = divmod(created_at, _DAY)
    seconds, micro = divmod(rest, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_date(day)}T{hour:02}:{minute:02}:{second:02}.{micro:06}+00:00"


@lru_cache(maxsize=4096)
def _date(day: int) -> str:
    """Of a page's thousands of answers, most are of a few days."""
    return (_EPOCH + timedelta(days=day)).date().isoformat()


def collection_row(record: Collection) -> dict[str, Any]:
    """Return the columns of a collection, without its number."""
    return {
        "name": clean(record.name), "kind": record.kind, "format": clean(record.format), "root": record.root,
        "settings": settings_json(record.settings), "position": record.position, "created_at": clean(record.created_at)[:32] or now(),
    }  # fmt: skip


def settings_json(settings: Mapping[str, Any]) -> str:
    """A collection's settings as text. Raises: InvalidInputError."""
    return about_json(settings) or "{}"


def collection_of(row: Row[Any]) -> Collection:
    """Return the collection of a row."""
    values = dict(row._mapping)
    values["settings"] = json.loads(values["settings"])
    return Collection(**values)


def image_row(number: int, collection: int, key: str, prompt: int, draft: ImageDraft) -> tuple[Any, ...]:
    """Return an image's ``IMAGE_COLUMNS``; ``key`` is the cleaned one."""
    return (
        number, collection, key, prompt, draft.path, int(draft.held), draft.file_sha256, draft.sha256, draft.width,
        draft.height, draft.size, draft.modified, model_name(draft.model), about_json(draft.about), draft.state,
    )  # fmt: skip


def image_of(row: Row[Any]) -> CollectedImage:
    """Return the image of a row that has its prompt's text in place of the number."""
    values = dict(row._mapping)
    values["held"] = bool(values["held"])
    values["about"] = json.loads(values["about"]) if values["about"] else {}
    return CollectedImage(**values)


def feedback_row(
    number: int, collection: int, images: Sequence[int], prompt: int | None, rater: int, draft: FeedbackDraft, moment: int, token: bytes
) -> tuple[Any, ...]:
    """Return feedback's ``FEEDBACK_COLUMNS``; ``images`` are its images' numbers."""
    image, other, shown, tiers = _places(draft, images)
    return (
        number, collection, draft.kind, image, other, shown, tiers, prompt, rater, source_name(draft.source), token, draft.latency_ms,
        draft.retracts, moment, about_json(draft.about),
    )  # fmt: skip


def _places(draft: FeedbackDraft, images: Sequence[int]) -> tuple[int | None, int | None, int | None, str | None]:
    if is_list(draft):
        tiers = [[images[place] for place in tier] for tier in draft.tiers]
        return (tiers[0][0] if tiers else images[0]), None, None, as_json([tiers, list(images)])
    if len(images) < 2:
        return (images[0] if images else None), None, None, None
    if len(draft.tiers) < 2:
        return images[0], images[1], _TIE, None
    first = draft.tiers[0][0]
    return images[first], images[1 - first], first, None


def is_list(draft: FeedbackDraft) -> bool:
    """Whether feedback is kept as a list of images: rankings, and skips of more than two."""
    return draft.kind == "ranking" or len(draft.images) > 2


def feedback_of(row: Row[Any]) -> FeedbackRecord:
    """Return the feedback of a row that has texts in place of the numbers of prompt and rater."""
    values = row._mapping  # a page of images has thousands of answers, and looking up a row's attributes takes as long as all the rest
    kind, image, other = values["kind"], values["image"], values["other"]
    images, tiers = _images_of(kind, image, other, values["shown"], values["tiers"])
    about = values["about"]
    return FeedbackRecord(
        kind=kind,
        images=images,
        tiers=tiers,
        token=bytes(values["token"]).hex(),
        prompt=values["prompt"],
        rater=values["rater"],
        source=values["source"],
        latency_ms=values["latency_ms"],
        retracts=values["retracts"],
        created_at=iso(values["created_at"]),
        about=json.loads(about) if about else {},
        number=values["number"],
        collection=values["collection"],
    )


def _images_of(
    kind: str, image: int | None, other: int | None, shown: int | None, tiers: str | None
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    if tiers:
        order, numbers = json.loads(tiers)
        places = {number: place for place, number in enumerate(numbers)}
        return tuple(numbers), tuple(tuple(places[number] for number in tier) for tier in order)
    if image is None:
        return (), ()
    if other is None:
        return (image,), () if kind in WITHOUT_TIERS else ((0,),)
    if shown == _TIE:
        return (image, other), () if kind in WITHOUT_TIERS else ((0, 1),)
    return ((image, other), ((0,), (1,))) if shown == 0 else ((other, image), ((1,), (0,)))


def listed(tiers: str | None) -> list[int]:
    """Numbers of the images of a ranking, from its ``tiers``."""
    return list(json.loads(tiers)[1]) if tiers else []


def rating_of(row: Row[Any]) -> Rating:
    """Return the rating of a row."""
    return Rating(row.image, row.mean, row.sd, row.games, row.prompt)
