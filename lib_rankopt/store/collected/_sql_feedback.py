"""The feedback of :class:`~lib_rankopt.store.collected.sql.SqlCollections`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, select
from sqlalchemy.exc import IntegrityError

from lib_rankopt.errors import ConflictError, NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rated, _rows
from lib_rankopt.store.collected._checks import bounded, check_feedback, fits
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


class FeedbackPart:
    """What was said about images."""

    _db: Database

    def append(self, collection: int, draft: FeedbackDraft) -> FeedbackRecord:
        check_feedback(draft)
        try:
            with self._db.write() as connection:
                if not fits(collection) or not _bulk.lock(connection, [collection]):
                    raise NotFoundError(f"There is no collection {collection}.")
                token = _rows.token(draft.token)
                known = self._known(connection, collection, draft, token)
                return known if known is not None else self._append(connection, collection, draft, token)
        except IntegrityError as error:
            if "retract" in str(error.orig):
                raise ConflictError("This answer has been taken back already.") from error
            raise ConflictError("This answer is being sent a second time; load the page again.") from error

    @staticmethod
    def _known(connection: Connection, collection: int, draft: FeedbackDraft, token: bytes) -> FeedbackRecord | None:
        row = connection.execute(_with_texts().where(_bulk.ours(_feedback, collection), _feedback.c.token == token)).first()
        if row is None:
            return None
        found = _rows.feedback_of(row)
        if (found.kind, found.images, found.retracts) != (draft.kind, draft.images, draft.retracts) or _sets(found) != _sets(draft):
            raise ConflictError(f"The token '{draft.token[:80]}' has been used for another answer.")
        return found

    @staticmethod
    def _append(connection: Connection, collection: int, draft: FeedbackDraft, token: bytes) -> FeedbackRecord:
        _check_images(connection, collection, draft.images)
        tally = Counter({"kind:retraction": 1}) if draft.kind == "retraction" else _bulk.tally_of_kinds([_said(draft)])
        taken: tuple[int, ...] = ()
        if draft.kind == "retraction":
            old = _retracted(connection, collection, draft)
            tally.subtract(_bulk.tally_of_kinds([_said(old)]))
            taken = old.images if old.kind in (*_rated.RATES, "unlike") else ()
        # prompts before raters, as an intake does: two writers of other collections wait for each other in one order
        prompt = None
        if draft.prompt is not None:
            text = _rows.clean(draft.prompt)
            prompt = _bulk.numbered(connection, schema.prompts, "digest", {_rows.digest(text): {"text": text}})[_rows.digest(text)]
        name = _rows.rater_name(draft.rater)
        rater = _bulk.numbered(connection, schema.raters, "name", {name: {}})[name]
        number = _bulk.reserve(connection, _feedback, 1)[0]
        row = _rows.feedback_row(number, collection, draft.images, prompt, rater, draft, _rows.microseconds(draft.created_at), token)
        connection.execute(_feedback.insert(), dict(zip(_rows.FEEDBACK_COLUMNS, row, strict=True)))
        if _rows.is_list(draft):
            _bulk.insert(connection, _ranked, ("image", "feedback"), [(image, number) for image in draft.images])
        if draft.kind in _rated.RATES:
            tally["unrated"] -= _rated.take_rated(connection, collection, draft.images)
        tally["unrated"] += _rated.look_again(connection, collection, draft.images if draft.kind == "unlike" else taken)
        _bulk.count(connection, collection, tally)
        return _rows.feedback_of(connection.execute(_with_texts().where(_feedback.c.number == number)).one())

    def feedback(
        self, collection: int, after: int = 0, limit: int = 1000, *, rater: str = "", standing: bool = False
    ) -> list[FeedbackRecord]:
        if not fits(collection):
            return []
        query = _with_texts().where(_feedback.c.collection == collection, _feedback.c.number > bounded(after))
        query = query.order_by(_feedback.c.number).limit(min(max(limit, 1), _MOST))
        if standing:
            query = query.where(_rated.stands(), _feedback.c.kind != "retraction")
        with self._db.read() as connection:
            _bulk.by_index(connection)
            if rater:
                number = _bulk.number_of_rater(connection, rater)
                query = query.where(_feedback.c.rater == (-1 if number is None else number))
            return [_rows.feedback_of(row) for row in connection.execute(query)]

    def feedback_of(self, images: Sequence[int]) -> list[FeedbackRecord]:
        found: dict[int, FeedbackRecord] = {}
        with self._db.read() as connection:
            _bulk.by_index(connection)
            for some in _bulk.pieces(image for image in dict.fromkeys(images) if fits(image)):
                here = connection.execute(select(_images.c.collection).where(_images.c.number.in_(some)).distinct()).scalars().all()
                own = _feedback.c.collection.in_(here)
                by_image = (own, _feedback.c.kind.in_(_KINDS), _feedback.c.image.in_(some))
                listed = select(_ranked.c.feedback).where(_ranked.c.image.in_(some))
                for which in (by_image, (own, _feedback.c.other.in_(some)), (_feedback.c.number.in_(listed),)):
                    query = _with_texts().where(*which, _rated.stands(), _feedback.c.kind != "retraction")
                    for row in connection.execute(query).all():
                        if row.number not in found:  # of a pair or ranking, several images may be asked for
                            found[row.number] = _rows.feedback_of(row)
        return [found[number] for number in sorted(found)]

    def feedback_back(self, collection: int, rater: str, limit: int = 50) -> list[FeedbackRecord]:
        if not fits(collection):
            return []
        with self._db.read() as connection:
            _bulk.by_index(connection)
            number = _bulk.number_of_rater(connection, rater)
            if number is None:
                return []
            own = (_feedback.c.collection == collection, _feedback.c.rater == number)
            query = _with_texts().where(*own).order_by(_feedback.c.number.desc()).limit(min(max(limit, 1), _MOST))
            return [_rows.feedback_of(row) for row in connection.execute(query)]


# all of them, so that the index over collection, kind and image serves
_KINDS = ("ranking", "pair", "like", "dislike", "unlike", "skip")


def _said(feedback: FeedbackDraft) -> tuple[str, str, str]:
    return feedback.kind, feedback.rater, feedback.source


def _sets(feedback: FeedbackDraft) -> list[list[int]]:
    """Tiers, in which the order inside of one says nothing."""
    return [sorted(tier) for tier in feedback.tiers]


def _check_images(connection: Connection, collection: int, images: Sequence[int]) -> None:
    found: set[int] = set()
    for some in _bulk.pieces(image for image in images if fits(image)):
        query = select(_images.c.number).where(_bulk.within(_images, collection), _images.c.number.in_(some))
        found.update(connection.execute(query).scalars())
    if missing := [image for image in images if image not in found]:
        raise NotFoundError(f"There is no image {missing[0]} in this collection.")


def _retracted(connection: Connection, collection: int, draft: FeedbackDraft) -> FeedbackRecord:
    query = _with_texts().where(_feedback.c.collection == collection, _feedback.c.number == draft.retracts)
    row = connection.execute(query).first()
    if row is None or row.kind == "retraction":
        raise NotFoundError(f"There is no answer {draft.retracts} in this collection that could be taken back.")
    return _rows.feedback_of(row)
