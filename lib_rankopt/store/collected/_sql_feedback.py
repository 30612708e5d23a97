"""The feedback of :class:`~lib_rankopt.store.collected.sql.SqlCollections`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, exists, select
from sqlalchemy.exc import IntegrityError

from lib_rankopt.errors import ConflictError, NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rows
from lib_rankopt.store.collected._intake import check_form
from lib_rankopt.store.collected.records import FeedbackDraft, FeedbackRecord

if TYPE_CHECKING:
    from lib_rankopt.store.database import Database

_feedback, _images, _ranked = schema.collected_feedback, schema.collected_images, schema.ranked_images
_MOST = 20_000


def _with_texts() -> Select[Any]:
    """All columns of feedback, with the texts of prompt and rater."""
    columns = [column for column in _feedback.c if column.name not in ("prompt", "rater")]
    return (
        select(*columns, schema.prompts.c.text.label("prompt"), schema.raters.c.name.label("rater"))
        .join(schema.raters, schema.raters.c.number == _feedback.c.rater)
        .outerjoin(schema.prompts, schema.prompts.c.number == _feedback.c.prompt)
    )


def _stands() -> Any:
    back = _feedback.alias()
    return ~exists(select(back.c.number).where(back.c.retracts == _feedback.c.number))


class FeedbackPart:
    """What was said about images."""

    _db: Database

    def append(self, collection: int, draft: FeedbackDraft) -> FeedbackRecord:
        check_form(draft)
        try:
            with self._db.write() as connection:
                known = self._known(connection, collection, draft)
                return known if known is not None else self._append(connection, collection, draft)
        except IntegrityError as error:
            if "retract" in str(error.orig):
                raise ConflictError("This answer has been taken back already.") from error
            raise ConflictError("This answer is being sent a second time; load the page again.") from error

    @staticmethod
    def _known(connection: Connection, collection: int, draft: FeedbackDraft) -> FeedbackRecord | None:
        same = _with_texts().where(_feedback.c.collection == collection, _feedback.c.token == _rows.token(draft.token))
        row = connection.execute(same).first()
        if row is None:
            return None
        found = _rows.feedback_of(row)
        if (found.kind, found.images, found.tiers, found.retracts) != (draft.kind, draft.images, draft.tiers, draft.retracts):
            raise ConflictError(f"The token '{draft.token[:80]}' has been used for another answer.")
        return found

    @staticmethod
    def _append(connection: Connection, collection: int, draft: FeedbackDraft) -> FeedbackRecord:
        _check_images(connection, collection, draft.images)
        tally = _bulk.tally_of_kinds([(draft.kind, draft.rater, draft.source)])
        if draft.kind == "retraction":
            tally[f"kind:{_retracted(connection, collection, draft)}"] -= 1
        rater = _bulk.numbered(connection, schema.raters, "name", {_rows.clean(draft.rater)[:200]: {}})
        prompt = None
        if draft.prompt is not None:
            text = _rows.clean(draft.prompt)
            prompt = _bulk.numbered(connection, schema.prompts, "digest", {_rows.digest(text): {"text": text}})[_rows.digest(text)]
        number = _bulk.reserve(connection, _feedback, 1)[0]
        moment = _rows.microseconds(draft.created_at)
        row = _rows.feedback_row(number, collection, draft.images, prompt, next(iter(rater.values())), draft, moment)
        connection.execute(_feedback.insert(), dict(zip(_rows.FEEDBACK_COLUMNS, row, strict=True)))
        if _rows.is_list(draft):
            _bulk.insert(connection, _ranked, ("image", "feedback"), [(image, number) for image in draft.images])
        _bulk.count(connection, collection, tally)
        return _rows.feedback_of(connection.execute(_with_texts().where(_feedback.c.number == number)).one())

    def feedback(
        self, collection: int, after: int = 0, limit: int = 1000, *, rater: str = "", standing: bool = False
    ) -> list[FeedbackRecord]:
        query = _with_texts().where(_feedback.c.collection == collection, _feedback.c.number > after)
        query = query.order_by(_feedback.c.number).limit(min(max(limit, 1), _MOST))
        if standing:
            query = query.where(_stands(), _feedback.c.kind != "retraction")
        with self._db.read() as connection:
            if rater:
                number = _bulk.number_of_rater(connection, rater)
                query = query.where(_feedback.c.rater == (-1 if number is None else number))
            return [_rows.feedback_of(row) for row in connection.execute(query)]

    def feedback_of(self, images: Sequence[int]) -> list[FeedbackRecord]:
        found: dict[int, FeedbackRecord] = {}
        with self._db.read() as connection:
            for some in _bulk.pieces(dict.fromkeys(images)):
                here = connection.execute(select(_images.c.collection).where(_images.c.number.in_(some)).distinct()).scalars().all()
                by_image = (_feedback.c.collection.in_(here), _feedback.c.kind.in_(_KINDS), _feedback.c.image.in_(some))
                listed = select(_ranked.c.feedback).where(_ranked.c.image.in_(some))
                for which in (by_image, (_feedback.c.other.in_(some),), (_feedback.c.number.in_(listed),)):
                    query = _with_texts().where(*which, _stands(), _feedback.c.kind != "retraction")
                    found.update({row.number: _rows.feedback_of(row) for row in connection.execute(query)})
        return [found[number] for number in sorted(found)]

    def feedback_back(self, collection: int, rater: str, limit: int = 50) -> list[FeedbackRecord]:
        with self._db.read() as connection:
            number = _bulk.number_of_rater(connection, rater)
            if number is None:
                return []
            own = (_feedback.c.collection == collection, _feedback.c.rater == number)
            query = _with_texts().where(*own).order_by(_feedback.c.number.desc()).limit(min(max(limit, 1), _MOST))
            return [_rows.feedback_of(row) for row in connection.execute(query)]


# all of them, so that the index over collection, kind and image serves
_KINDS = ("ranking", "pair", "like", "dislike", "unlike", "skip")


def _check_images(connection: Connection, collection: int, images: Sequence[int]) -> None:
    query = select(_images.c.number).where(_images.c.collection == collection, _images.c.number.in_(list(images)))
    found = set(connection.execute(query).scalars())
    if missing := [image for image in images if image not in found]:
        raise NotFoundError(f"There is no image {missing[0]} in this collection.")


def _retracted(connection: Connection, collection: int, draft: FeedbackDraft) -> str:
    query = select(_feedback.c.kind).where(_feedback.c.collection == collection, _feedback.c.number == draft.retracts)
    kind = connection.execute(query).scalar()
    if kind is None or kind == "retraction":
        raise NotFoundError(f"There is no answer {draft.retracts} in this collection that could be taken back.")
    return str(kind)
