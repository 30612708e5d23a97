"""One batch of images and feedback into the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rated, _rows
from lib_rankopt.store.collected._checks import check_feedback, check_image
from lib_rankopt.store.collected.records import Added, FeedbackDraft, ImageDraft

if TYPE_CHECKING:
    from sqlalchemy import Connection

_images, _feedback = schema.collected_images, schema.collected_feedback
# LIMIT lets PostgreSQL ask for one prompt at a time, and (SELECT …) is there as in _bulk.ours()
_ONE_BY_ONE = text(
    "SELECT wanted FROM unnest(CAST(:prompts AS BIGINT[])) AS wanted, LATERAL (SELECT number FROM collected_images "
    "WHERE collection = (SELECT CAST(:c AS BIGINT)) AND prompt = wanted LIMIT 1) AS one"
)


def check_batch(images: Sequence[ImageDraft], feedback: Sequence[FeedbackDraft]) -> None:
    """Raise for what no database would take, before one sees it.

    Raises:
        InvalidInputError: the message says what was wrong with the first one.
    """
    for image in images:
        check_image(image)
    for said in feedback:
        if said.kind == "retraction":
            raise InvalidInputError("A data set has no retractions; append them one by one.")
        check_feedback(said)


class Intake:
    """One batch, inside the caller's transaction, which holds the collection against other writers."""

    def __init__(self, connection: Connection, collection: int) -> None:
        self._connection = connection
        self._collection = collection
        self._tally: Counter[str] = Counter()

    def add(self, images: Sequence[ImageDraft], feedback: Sequence[FeedbackDraft]) -> Added:
        """See :meth:`~lib_rankopt.store.collected.base.CollectionStore.add`."""
        _bulk.by_index(self._connection)
        drafts = _first_of_each(images)
        known = self._known(list(dict.fromkeys([*drafts, *(_rows.clean(key) for one in feedback for key in one.images)])))
        new = {key: draft for key, draft in drafts.items() if key not in known}
        prompts = self._prompts({draft.prompt for draft in new.values()} | {one.prompt for one in feedback if one.prompt is not None})
        numbers = {key: number for key, (number, _, _) in known.items()}
        added = self._add_images(new, prompts)
        numbers.update(added)
        self._complete([(known[key], draft) for key, draft in drafts.items() if key in known and not known[key][1] and draft.path])
        fresh = self._fresh(feedback)
        about = self._add_feedback(fresh, numbers, prompts)
        self._note_rated(set(added.values()), list(fresh.values()), about)
        _bulk.count(self._connection, self._collection, self._tally)
        return Added(len(new), len(fresh), len(drafts) - len(new), len(feedback) - len(fresh))

    def _known(self, keys: Sequence[str]) -> dict[str, tuple[int, bool, str]]:
        """Number, whether it has a file, and state."""
        rows = _bulk.looked_up(self._connection, _images, ("key", "number", "path", "state"), "key", keys, self._collection)
        return {key: (int(number), path is not None, state) for key, number, path, state in rows}

    def _prompts(self, texts: Iterable[str]) -> dict[str, int]:
        plain = {one: _rows.clean(one) for one in texts}
        digests = {cleaned: _rows.digest(cleaned) for cleaned in plain.values()}
        by_digest = {digest: {"text": cleaned} for cleaned, digest in digests.items()}
        numbers = _bulk.numbered(self._connection, schema.prompts, "digest", by_digest)
        return {one: numbers[digests[cleaned]] for one, cleaned in plain.items()}

    def _add_images(self, drafts: dict[str, ImageDraft], prompts: dict[str, int]) -> dict[str, int]:
        if not drafts:
            return {}
        wanted = {prompts[draft.prompt] for draft in drafts.values()}
        self._tally["prompts"] += len(wanted - self._prompts_here(wanted))
        numbers = dict(zip(drafts, _bulk.reserve(self._connection, _images, len(drafts)), strict=True))
        rows = [_rows.image_row(numbers[key], self._collection, key, prompts[draft.prompt], draft) for key, draft in drafts.items()]
        _bulk.insert(self._connection, _images, _rows.IMAGE_COLUMNS, rows)
        self._tally["images"] += len(drafts)
        self._tally.update(f"state:{draft.state}" for draft in drafts.values())
        self._tally["removed"] += sum(draft.state == "removed" for draft in drafts.values())
        self._tally.update(f"model:{_rows.model_name(draft.model)}" for draft in drafts.values() if draft.model)
        return numbers

    def _prompts_here(self, prompts: Iterable[int]) -> set[int]:
        """Those that an image of the collection has already."""
        found: set[int] = set()
        for some in _bulk.pieces(prompts):
            if self._connection.dialect.name == "postgresql":
                found.update(self._connection.execute(_ONE_BY_ONE, {"prompts": some, "c": self._collection}).scalars())
            else:
                query = select(_images.c.prompt).where(_images.c.collection == self._collection, _images.c.prompt.in_(some))
                found.update(self._connection.execute(query.distinct()).scalars())
        return found

    def _complete(self, found: Sequence[tuple[tuple[int, bool, str], ImageDraft]]) -> None:
        """Images that were known by name only and have a file now."""
        change = text(
            "UPDATE collected_images SET path = :path, held = :held, file_sha256 = COALESCE(:file, file_sha256), "
            "sha256 = COALESCE(:content, sha256), width = CASE WHEN :width > 0 THEN :width ELSE width END, "
            "height = CASE WHEN :height > 0 THEN :height ELSE height END, size = :size, modified = :modified, state = :state "
            "WHERE number = :number"
        )
        rows = []
        for (number, _, old), d in found:
            state = old if old == "removed" else d.state
            rows.append(
                {
                    "number": number, "path": d.path, "held": int(d.held), "file": d.file_sha256, "content": d.sha256, "width": d.width,
                    "height": d.height, "size": d.size, "modified": d.modified, "state": state,
                }
            )  # fmt: skip
            self._tally[f"state:{old}"] -= 1
            self._tally[f"state:{state}"] += 1
            self._tally["removed"] += (state == "removed") - (old == "removed")
        if rows:
            self._connection.execute(change, rows)

    def _fresh(self, feedback: Sequence[FeedbackDraft]) -> dict[bytes, FeedbackDraft]:
        """Those whose token is not known, each token once."""
        by_token = {_rows.token(one.token): one for one in reversed(feedback)}
        for (known,) in _bulk.looked_up(self._connection, _feedback, ("token",), "token", list(by_token), self._collection):
            by_token.pop(bytes(known), None)
        return dict(reversed(by_token.items()))

    def _add_feedback(self, drafts: dict[bytes, FeedbackDraft], keys: dict[str, int], prompts: dict[str, int]) -> list[list[int]]:
        """Return the images' numbers of each."""
        raters = self._raters({one.rater for one in drafts.values()})
        numbers = _bulk.reserve(self._connection, _feedback, len(drafts))
        rows, lists, about = [], [], []
        moment = _rows.microseconds("")
        for number, (token, one) in zip(numbers, drafts.items(), strict=True):
            images = self._numbers(one, keys)
            about.append(images)
            when = _rows.microseconds(one.created_at) if one.created_at else moment
            prompt = None if one.prompt is None else prompts[one.prompt]
            rows.append(_rows.feedback_row(number, self._collection, images, prompt, raters[one.rater], one, when, token))
            if _rows.is_list(one):
                lists += [(image, number) for image in images]
        _bulk.insert(self._connection, _feedback, _rows.FEEDBACK_COLUMNS, rows)
        _bulk.insert(self._connection, schema.ranked_images, ("image", "feedback"), lists)
        self._tally.update(_bulk.tally_of_kinds((one.kind, one.rater, one.source) for one in drafts.values()))
        return about

    def _raters(self, names: Iterable[str]) -> dict[str, int]:
        plain = {name: _rows.rater_name(name) for name in names}
        numbers = _bulk.numbered(self._connection, schema.raters, "name", {name: {} for name in plain.values()})
        return {name: numbers[cleaned] for name, cleaned in plain.items()}

    def _numbers(self, draft: FeedbackDraft, keys: dict[str, int]) -> list[int]:
        try:
            found = [keys[_rows.clean(key)] for key in draft.images]
        except KeyError as error:
            raise NotFoundError(f"Feedback names the image {str(error)[:200]}, which the collection does not have.") from error
        if len(set(found)) < len(found):
            raise InvalidInputError(f"The images {draft.images!r:.200} of a {draft.kind} are not told apart by their keys.")
        return found

    def _note_rated(self, new: set[int], drafts: Sequence[FeedbackDraft], about: Sequence[Sequence[int]]) -> None:
        rated = {image for one, images in zip(drafts, about, strict=True) if one.kind in _rated.RATES for image in images}
        self._tally["unrated"] += _rated.put_unrated(self._connection, self._collection, sorted(new - rated))
        self._tally["unrated"] -= _rated.take_rated(self._connection, self._collection, sorted(rated - new))
        again = {image for one, images in zip(drafts, about, strict=True) if one.kind == "unlike" for image in images}
        self._tally["unrated"] += _rated.look_again(self._connection, self._collection, sorted(again))


def _first_of_each(images: Sequence[ImageDraft]) -> dict[str, ImageDraft]:
    """By key, the first of each, with the file of a later one where it has none itself."""
    found: dict[str, ImageDraft] = {}
    for draft in images:
        key = _rows.clean(draft.key)
        first = found.setdefault(key, draft)
        if first.path is None and draft.path is not None:
            found[key] = replace(
                draft, key=first.key, prompt=first.prompt, model=first.model, about=first.about, width=draft.width or first.width,
                height=draft.height or first.height, file_sha256=draft.file_sha256 or first.file_sha256,
                sha256=draft.sha256 or first.sha256, state=first.state if first.state == "removed" else draft.state,
            )  # fmt: skip
    return found
