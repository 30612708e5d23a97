"""Records of collected images and feedback to rows and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from lib_rankopt.store._sql_rows import as_json
from lib_rankopt.store.collected.records import CollectedImage, Collection, FeedbackDraft, FeedbackRecord, ImageDraft, Rating
from lib_rankopt.store.records import now

if TYPE_CHECKING:
    from sqlalchemy import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIE = 2

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
    """Identity of an answer in its collection: 96 bits, so that among ten million two agree by chance once in 10¹⁵ stores."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:12]


def clean(text: str) -> str:
    """Text as every database takes it: without NUL and half characters."""
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def about_json(about: Mapping[str, Any]) -> str | None:
    """Plain values as text, ``None`` for nothing."""
    return clean(as_json(dict(about))) if about else None


def microseconds(created_at: str) -> int:
    """ISO 8601 to microseconds since 1970; the present moment where it is empty or cannot be read."""
    try:
        moment = datetime.fromisoformat((created_at or now()).replace("Z", "+00:00"))
    except ValueError:
        moment = datetime.now(timezone.utc)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def iso(created_at: int) -> str:
    """Microseconds since 1970 to ISO 8601 in UTC."""
    return (_EPOCH + timedelta(microseconds=created_at)).isoformat(timespec="microseconds")


def collection_row(record: Collection) -> dict[str, Any]:
    """Return the columns of a collection, without its number."""
    return {
        "name": record.name, "kind": record.kind, "format": record.format, "root": record.root, "settings": as_json(dict(record.settings)),
        "position": record.position, "created_at": record.created_at or now(),
    }  # fmt: skip


def collection_of(row: Row[Any]) -> Collection:
    """Return the collection of a row."""
    values = dict(row._mapping)
    values["settings"] = json.loads(values["settings"])
    return Collection(**values)


def image_row(number: int, collection: int, prompt: int, draft: ImageDraft) -> tuple[Any, ...]:
    """Return an image's ``IMAGE_COLUMNS``."""
    return (
        number, collection, clean(draft.key), prompt, draft.path, int(draft.held), draft.file_sha256, draft.sha256, draft.width,
        draft.height, draft.size, draft.modified, clean(draft.model)[:200], about_json(draft.about), draft.state,
    )  # fmt: skip


def image_of(row: Row[Any]) -> CollectedImage:
    """Return the image of a row that has its prompt's text in place of the number."""
    values = dict(row._mapping)
    values["held"] = bool(values["held"])
    values["about"] = json.loads(values["about"]) if values["about"] else {}
    return CollectedImage(**values)


def feedback_row(
    number: int, collection: int, images: Sequence[int], prompt: int | None, rater: int, draft: FeedbackDraft, moment: int
) -> tuple[Any, ...]:
    """Return feedback's ``FEEDBACK_COLUMNS``; ``images`` are its images' numbers."""
    image, other, shown, tiers = _places(draft, images)
    return (
        number, collection, draft.kind, image, other, shown, tiers, prompt, rater, draft.source[:32], token(draft.token), draft.latency_ms,
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
    images, tiers = _images_of(row)
    return FeedbackRecord(
        kind=row.kind,
        images=images,
        tiers=tiers,
        token=bytes(row.token).hex(),
        prompt=row.prompt,
        rater=row.rater,
        source=row.source,
        latency_ms=row.latency_ms,
        retracts=row.retracts,
        created_at=iso(row.created_at),
        about=json.loads(row.about) if row.about else {},
        number=row.number,
        collection=row.collection,
    )


def _images_of(row: Row[Any]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    if row.tiers:
        tiers, shown = json.loads(row.tiers)
        places = {number: place for place, number in enumerate(shown)}
        return tuple(shown), tuple(tuple(places[number] for number in tier) for tier in tiers)
    if row.image is None:
        return (), ()
    if row.other is None:
        return (row.image,), ((0,),)
    if row.shown == _TIE:
        return (row.image, row.other), () if row.kind == "skip" else ((0, 1),)
    return ((row.image, row.other), ((0,), (1,))) if row.shown == 0 else ((row.other, row.image), ((1,), (0,)))


def rating_of(row: Row[Any]) -> Rating:
    """Return the rating of a row."""
    return Rating(row.image, row.mean, row.sd, row.games, row.prompt)
