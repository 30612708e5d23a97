"""The images of :class:`~lib_rankopt.store.collected.sql.SqlCollections`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, exists, or_, select, text, update

from lib_rankopt.errors import NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rows
from lib_rankopt.store.collected.records import CollectedImage, FileFacts, ImageQuery

if TYPE_CHECKING:
    from lib_rankopt.store.database import Database

_images, _prompts, _feedback, _ranked = schema.collected_images, schema.prompts, schema.collected_feedback, schema.ranked_images
_LABELS = ("like", "dislike")
_MOST = 1000


def with_prompts() -> Select[Any]:
    """All columns of images, with the prompt's text."""
    columns = [column for column in _images.c if column.name != "prompt"]
    return select(*columns, _prompts.c.text.label("prompt")).join(_prompts, _prompts.c.number == _images.c.prompt)


class ImagesPart:
    """Images by number, key, hash and condition."""

    _db: Database

    def image(self, number: int) -> CollectedImage:
        found = self.images_by_number([number])
        if number not in found:
            raise NotFoundError(f"There is no image {number}.")
        return found[number]

    def images_by_number(self, numbers: Sequence[int]) -> dict[int, CollectedImage]:
        return {image.number: image for image in self._where_in(_images.c.number, [n for n in numbers if 0 <= n < 2**63])}

    def images_by_key(self, collection: int, keys: Sequence[str]) -> dict[str, CollectedImage]:
        return {image.key: image for image in self._where_in(_images.c.key, keys, _images.c.collection == collection)}

    def images_by_hash(self, hashes: Sequence[str]) -> list[CollectedImage]:
        found = {image.number: image for column in ("file_sha256", "sha256") for image in self._where_in(_images.c[column], hashes)}
        return [found[number] for number in sorted(found)]

    def _where_in(self, column: Any, values: Iterable[Any], *conditions: Any) -> list[CollectedImage]:
        found = []
        with self._db.read() as connection:
            for some in _bulk.pieces(dict.fromkeys(values)):
                query = with_prompts().where(column.in_(some), *conditions)
                found += [_rows.image_of(row) for row in connection.execute(query)]
        return found

    def page(self, query: ImageQuery) -> list[CollectedImage]:
        wanted = with_prompts().where(_images.c.number > query.after).order_by(_images.c.number).limit(min(max(query.limit, 1), _MOST))
        wanted = wanted.where(_images.c.state == query.state if query.state else _images.c.state != "removed")
        if query.collection is not None:
            wanted = wanted.where(_images.c.collection == query.collection)
        if query.prompt_number is not None:
            wanted = wanted.where(_images.c.prompt == query.prompt_number)
        if query.prompt:
            wanted = wanted.where(_prompts.c.text.ilike(f"%{_like(query.prompt)}%", escape="\\"))
        if query.model:
            wanted = wanted.where(_images.c.model == query.model)
        with self._db.read() as connection:
            rater = _bulk.number_of_rater(connection, query.rater) if query.rater else None
            if query.rater and rater is None:
                return []
            wanted = wanted.where(*_label_conditions(query, rater))
            return [_rows.image_of(row) for row in connection.execute(wanted)]

    def note_files(self, facts: Sequence[FileFacts]) -> None:
        change = text(
            "UPDATE collected_images SET state = :state, file_sha256 = COALESCE(:file, file_sha256), sha256 = COALESCE(:content, sha256), "
            "phash = COALESCE(:phash, phash), width = CASE WHEN :width > 0 THEN :width ELSE width END, "
            "height = CASE WHEN :height > 0 THEN :height ELSE height END, size = :size, modified = :modified, "
            "held = CASE WHEN :path IS NULL THEN held ELSE :held END, path = COALESCE(:path, path) WHERE number = :number AND state <> 'removed'"
        )
        rows = [
            {
                "number": one.number, "state": one.state, "file": one.file_sha256, "content": one.sha256, "phash": one.phash,
                "width": one.width, "height": one.height, "size": one.size, "modified": one.modified, "path": one.path,
                "held": int(one.held),
            }
            for one in facts
        ]  # fmt: skip
        with self._db.write() as connection:
            before = _states(connection, [one.number for one in facts])
            if rows:
                connection.execute(change, rows)
            for collection, tally in _moved(before, {one.number: one.state for one in facts if one.number in before}).items():
                _bulk.count(connection, collection, tally)

    def set_prompt(self, numbers: Sequence[int], prompt: str) -> None:
        plain = _rows.clean(prompt)
        with self._db.write() as connection:
            digest = _rows.digest(plain)
            number = _bulk.numbered(connection, schema.prompts, "digest", {digest: {"text": plain}})[digest]
            for collection in sorted({place for place, _ in _states(connection, numbers, removed=True).values()}):
                prompts = {number, *_prompts_of(connection, numbers)}
                before = _have(connection, collection, prompts)
                for some in _bulk.pieces(numbers):
                    own = (_images.c.collection == collection, _images.c.number.in_(some))
                    connection.execute(update(_images).where(*own).values(prompt=number))
                    rated = (schema.ratings.c.collection == collection, schema.ratings.c.image.in_(some))
                    connection.execute(update(schema.ratings).where(*rated).values(prompt=number))
                _bulk.count(connection, collection, {"prompts": _have(connection, collection, prompts) - before})

    def set_removed(self, numbers: Sequence[int], removed: bool = True) -> None:
        with self._db.write() as connection:
            before = _states(connection, numbers, removed=True)
            now = {number: "removed" if removed else "unseen" for number, (_, state) in before.items() if removed != (state == "removed")}
            for some in _bulk.pieces(now):
                state = "removed" if removed else "unseen"
                connection.execute(update(_images).where(_images.c.number.in_(some)).values(state=state))
            for collection, tally in _moved(before, now).items():
                _bulk.count(connection, collection, tally)


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _label_conditions(query: ImageQuery, rater: int | None) -> list[Any]:
    """What ``label`` and ``rater`` ask of an image, over the indices of feedback."""
    if query.label == "any" and rater is None:
        return []
    kinds = {"like": ("like",), "dislike": ("dislike",), "compared": ("pair",), "rated": (*_LABELS, "pair"), "unrated": (*_LABELS, "pair")}
    wanted = kinds.get(query.label, (*_LABELS, "pair"))
    back = _feedback.alias()
    stands = ~exists(select(back.c.number).where(back.c.retracts == _feedback.c.number))
    said = [stands] if rater is None else [stands, _feedback.c.rater == rater]
    tests = [
        exists(
            select(_feedback.c.number).where(
                _feedback.c.collection == _images.c.collection, _feedback.c.kind.in_(wanted), _feedback.c.image == _images.c.number, *said
            )
        )
    ]
    if "pair" in wanted:
        tests.append(exists(select(_feedback.c.number).where(_feedback.c.other == _images.c.number, _feedback.c.kind == "pair", *said)))
        listed = select(_ranked.c.feedback).join(_feedback, _feedback.c.number == _ranked.c.feedback)
        tests.append(exists(listed.where(_ranked.c.image == _images.c.number, _feedback.c.kind == "ranking", *said)))
    return [~or_(*tests)] if query.label == "unrated" else [or_(*tests)]


def _states(connection: Connection, numbers: Iterable[int], removed: bool = False) -> dict[int, tuple[int, str]]:
    """Collection and state of images, removed ones only if asked for."""
    found: dict[int, tuple[int, str]] = {}
    for some in _bulk.pieces(numbers):
        query = select(_images.c.number, _images.c.collection, _images.c.state).where(_images.c.number.in_(some))
        found.update({int(n): (int(place), str(state)) for n, place, state in connection.execute(query) if removed or state != "removed"})
    return found


def _moved(before: dict[int, tuple[int, str]], now: dict[int, Any]) -> dict[int, Counter[str]]:
    """What changes in the tallies of each collection when images change their states."""
    found: dict[int, Counter[str]] = {}
    for number, state in now.items():
        collection, old = before[number]
        tally = found.setdefault(collection, Counter())
        tally[f"state:{old}"] -= 1
        tally[f"state:{state}"] += 1
    return found


def _prompts_of(connection: Connection, numbers: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for some in _bulk.pieces(numbers):
        found.update(connection.execute(select(_images.c.prompt).where(_images.c.number.in_(some)).distinct()).scalars())
    return found


def _have(connection: Connection, collection: int, prompts: Iterable[int]) -> int:
    """How many of the prompts a collection has images of."""
    one = select(_images.c.number).where(_images.c.collection == collection)
    return sum(connection.execute(one.where(_images.c.prompt == prompt).limit(1)).first() is not None for prompt in prompts)
