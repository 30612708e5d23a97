"""One batch of images and feedback into the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rows
from lib_rankopt.store.collected.records import Added, FeedbackDraft, ImageDraft

if TYPE_CHECKING:
    from sqlalchemy import Connection

_images, _feedback = schema.collected_images, schema.collected_feedback
_UNKNOWN = "unknown"


class Intake:
    """One batch, inside the caller's transaction, which holds the collection against other intakes."""

    def __init__(self, connection: Connection, collection: int) -> None:
        self._connection = connection
        self._collection = collection
        self._tally: Counter[str] = Counter()

    def add(self, images: Sequence[ImageDraft], feedback: Sequence[FeedbackDraft]) -> Added:
        """See :meth:`~lib_rankopt.store.collected.base.CollectionStore.add`."""
        drafts = {_rows.clean(draft.key): draft for draft in reversed(images)}
        known = self._known(list({*drafts, *(_rows.clean(key) for one in feedback for key in one.images)}))
        new = [draft for key, draft in reversed(drafts.items()) if key not in known]
        prompts = self._prompts({draft.prompt for draft in new} | {one.prompt for one in feedback if one.prompt is not None})
        numbers = {key: number for key, (number, _) in known.items()}
        numbers.update(self._add_images(new, prompts))
        self._complete([(known[key][0], draft) for key, draft in drafts.items() if key in known and not known[key][1] and draft.path])
        fresh = self._fresh(feedback)
        self._add_feedback(fresh, numbers, prompts)
        _bulk.count(self._connection, self._collection, self._tally)
        return Added(len(new), len(fresh), len(drafts) - len(new), len(feedback) - len(fresh))

    def _known(self, keys: Sequence[str]) -> dict[str, tuple[int, bool]]:
        found = {}
        for some in _bulk.pieces(keys):
            query = select(_images.c.key, _images.c.number, _images.c.path).where(
                _images.c.collection == self._collection, _images.c.key.in_(some)
            )
            found.update({row.key: (int(row.number), row.path is not None) for row in self._connection.execute(query)})
        return found

    def _prompts(self, texts: Iterable[str]) -> dict[str, int]:
        plain = {one: _rows.clean(one) for one in texts}
        by_digest = {_rows.digest(one): {"text": one} for one in plain.values()}
        numbers = _bulk.numbered(self._connection, schema.prompts, "digest", by_digest)
        return {one: numbers[_rows.digest(cleaned)] for one, cleaned in plain.items()}

    def _add_images(self, drafts: Sequence[ImageDraft], prompts: dict[str, int]) -> dict[str, int]:
        if not drafts:
            return {}
        wanted = {prompts[draft.prompt] for draft in drafts}
        self._tally["prompts"] += len(wanted - self._prompts_here(wanted))
        numbers = _bulk.reserve(self._connection, _images, len(drafts))
        rows = [_rows.image_row(n, self._collection, prompts[d.prompt], d) for n, d in zip(numbers, drafts, strict=True)]
        _bulk.insert(self._connection, _images, _rows.IMAGE_COLUMNS, rows)
        self._tally["images"] += len(drafts)
        self._tally.update(f"state:{draft.state}" for draft in drafts)
        self._tally.update(f"model:{_rows.clean(draft.model)[:200]}" for draft in drafts if draft.model)
        return {_rows.clean(draft.key): number for number, draft in zip(numbers, drafts, strict=True)}

    def _prompts_here(self, prompts: Iterable[int]) -> set[int]:
        found: set[int] = set()
        for some in _bulk.pieces(prompts):
            query = select(_images.c.prompt).where(_images.c.collection == self._collection, _images.c.prompt.in_(some)).distinct()
            found.update(int(number) for number in self._connection.execute(query).scalars())
        return found

    def _complete(self, found: Sequence[tuple[int, ImageDraft]]) -> None:
        """Images that were known by name only and have a file now."""
        change = text(
            "UPDATE collected_images SET path = :path, held = :held, file_sha256 = COALESCE(:hash, file_sha256), "
            "width = CASE WHEN :width > 0 THEN :width ELSE width END, height = CASE WHEN :height > 0 THEN :height ELSE height END "
            "WHERE number = :number"
        )
        rows = [
            {"number": number, "path": d.path, "held": int(d.held), "hash": d.file_sha256, "width": d.width, "height": d.height}
            for number, d in found
        ]
        if rows:
            self._connection.execute(change, rows)

    def _fresh(self, feedback: Sequence[FeedbackDraft]) -> list[FeedbackDraft]:
        """Those whose token is not known, each token once."""
        by_token = {_rows.token(one.token): one for one in reversed(feedback)}
        for some in _bulk.pieces(by_token):
            query = select(_feedback.c.token).where(_feedback.c.collection == self._collection, _feedback.c.token.in_(some))
            for known in list(self._connection.execute(query).scalars()):
                by_token.pop(bytes(known), None)
        return list(reversed(by_token.values()))

    def _add_feedback(self, drafts: Sequence[FeedbackDraft], keys: dict[str, int], prompts: dict[str, int]) -> None:
        raters = self._raters({one.rater for one in drafts})
        numbers = _bulk.reserve(self._connection, _feedback, len(drafts))
        rows, lists = [], []
        moment = _rows.microseconds("")
        for number, one in zip(numbers, drafts, strict=True):
            images = self._numbers(one, keys)
            when = _rows.microseconds(one.created_at) if one.created_at else moment
            prompt = None if one.prompt is None else prompts[one.prompt]
            rows.append(_rows.feedback_row(number, self._collection, images, prompt, raters[one.rater], one, when))
            if _rows.is_list(one):
                lists += [(image, number) for image in dict.fromkeys(images)]
        _bulk.insert(self._connection, _feedback, _rows.FEEDBACK_COLUMNS, rows)
        _bulk.insert(self._connection, schema.ranked_images, ("image", "feedback"), lists)
        self._tally.update(_bulk.tally_of_kinds((one.kind, one.rater or _UNKNOWN, one.source) for one in drafts))

    def _raters(self, names: Iterable[str]) -> dict[str, int]:
        numbers = _bulk.numbered(self._connection, schema.raters, "name", {_rows.clean(name)[:200] or _UNKNOWN: {} for name in names})
        return {name: numbers[_rows.clean(name)[:200] or _UNKNOWN] for name in names}

    def _numbers(self, draft: FeedbackDraft, keys: dict[str, int]) -> list[int]:
        check_form(draft)
        try:
            return [keys[_rows.clean(key)] for key in draft.images]
        except KeyError as error:
            raise NotFoundError(f"Feedback names the image {str(error)[:200]}, which the collection does not have.") from error


_ONE, _TWO = ("like", "dislike", "unlike"), ("pair",)


def check_form(draft: FeedbackDraft) -> None:
    """Raise where a kind of feedback has too many or too few images, or its tiers name others than its images.

    Raises:
        InvalidInputError: the message says what was expected.
    """
    placed: list[Any] = sorted(place for tier in draft.tiers for place in tier)
    count = len(draft.images)
    if len(set(draft.images)) < count:
        raise InvalidInputError(f"An image stands twice in one {draft.kind}.")
    if (draft.kind in _ONE and count != 1) or (draft.kind in _TWO and count != 2) or (draft.kind == "ranking" and count < 2):
        raise InvalidInputError(f"A {draft.kind} is about {count} images; a label takes one, a pair two, a ranking two or more.")
    if draft.kind not in ("skip", "retraction") and placed != list(range(count)):
        raise InvalidInputError(f"The tiers {draft.tiers} of a {draft.kind} do not name each of its {count} images once.")
