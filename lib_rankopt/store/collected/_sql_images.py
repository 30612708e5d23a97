"""The images of :class:`~lib_rankopt.store.collected.sql.SqlCollections`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, func, select, text, update

from lib_rankopt.errors import NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _find, _rows
from lib_rankopt.store.collected._checks import bounded, check_facts, fits
from lib_rankopt.store.collected.records import CollectedImage, FileFacts, ImageQuery

if TYPE_CHECKING:
    from lib_rankopt.store.collected._search import Found
    from lib_rankopt.store.database import Database

_images, _prompts = schema.collected_images, schema.prompts


def with_prompts() -> Select[Any]:
    """All columns of images, with the prompt's text."""
    columns = [column for column in _images.c if column.name != "prompt"]
    return select(*columns, _prompts.c.text.label("prompt")).join(_prompts, _prompts.c.number == _images.c.prompt)


class ImagesPart:
    """Images by number, key, hash and condition."""

    _db: Database
    _found_texts: Found

    def image(self, number: int) -> CollectedImage:
        found = self.images_by_number([number])
        if number not in found:
            raise NotFoundError(f"There is no image {number}.")
        return found[number]

    def images_by_number(self, numbers: Sequence[int]) -> dict[int, CollectedImage]:
        return {image.number: image for image in self._where_in(_images.c.number, [n for n in numbers if fits(n)])}

    def images_by_key(self, collection: int, keys: Sequence[str]) -> dict[str, CollectedImage]:
        plain = {key: _rows.clean(key) for key in keys}
        found = {image.key: image for image in self._where_in(_images.c.key, plain.values(), _bulk.ours(_images, bounded(collection)))}
        return {key: found[cleaned] for key, cleaned in plain.items() if cleaned in found}

    def images_by_hash(self, hashes: Sequence[str]) -> list[CollectedImage]:
        plain = [_rows.clean(one) for one in hashes]
        found = {image.number: image for column in ("file_sha256", "sha256") for image in self._where_in(_images.c[column], plain)}
        return [found[number] for number in sorted(found)]

    def _where_in(self, column: Any, values: Iterable[Any], *conditions: Any) -> list[CollectedImage]:
        found = []
        with self._db.read() as connection:
            _bulk.by_index(connection)
            for some in _bulk.pieces(dict.fromkeys(values)):
                query = with_prompts().where(column.in_(some), *conditions)
                found += [_rows.image_of(row) for row in connection.execute(query)]
        return found

    def page(self, query: ImageQuery) -> list[CollectedImage]:
        with self._db.read() as connection:
            found: list[CollectedImage] = []
            for some in _bulk.pieces(_find.numbers(connection, query, self._found_texts)):
                rows = connection.execute(with_prompts().where(_images.c.number.in_(some)).order_by(_images.c.number))
                found += [_rows.image_of(row) for row in rows]
            return found

    def same_content(self, collection: int | None = None, limit: int = 1000) -> list[tuple[int, ...]]:
        found = []
        with self._db.read() as connection:
            for column in (_images.c.file_sha256, _images.c.sha256):
                here = [column.is_not(None), _images.c.state != "removed"]
                if collection is not None:
                    here.append(_images.c.collection == collection)
                several = select(column).where(*here).group_by(column).having(func.count() > 1).order_by(func.min(_images.c.number))
                wanted = list(connection.execute(several.limit(limit)).scalars())
                for some in _bulk.pieces(wanted):
                    rows = connection.execute(select(column, _images.c.number).where(*here, column.in_(some)))
                    found += [(str(value), int(number)) for value, number in rows]
        return _joined(found)[:limit]

    def phashes(self, collection: int | None = None, after: int = 0, limit: int = 100_000) -> list[tuple[int, int]]:
        query = select(_images.c.number, _images.c.phash).where(_images.c.number > after, _images.c.phash.is_not(None))
        query = query.where(_images.c.state != "removed").order_by(_images.c.number).limit(min(max(limit, 1), 100_000))
        if collection is not None:
            query = query.where(_images.c.collection == collection)
        with self._db.read() as connection:
            return [(int(number), int(value)) for number, value in connection.execute(query)]

    def note_files(self, facts: Sequence[FileFacts]) -> None:
        for one in facts:
            check_facts(one)
        last = {one.number: one for one in facts if fits(one.number)}
        with self._db.write() as connection:
            before = _held_states(connection, last)
            rows = [_facts_row(one, before[number][1]) for number, one in last.items() if number in before]
            if rows:
                connection.execute(text(_NOTE), rows)
            _count_moved(connection, before, {row["number"]: row["state"] for row in rows})

    def set_prompt(self, numbers: Sequence[int], prompt: str) -> None:
        plain = _rows.clean(prompt)
        wanted = [number for number in dict.fromkeys(numbers) if fits(number)]
        with self._db.write() as connection:
            by_collection: dict[int, list[int]] = {}
            for number, (collection, _) in _held_states(connection, wanted).items():
                by_collection.setdefault(collection, []).append(number)
            if not by_collection:
                return
            digest = _rows.digest(plain)
            new = _bulk.numbered(connection, schema.prompts, "digest", {digest: {"text": plain}})[digest]
            for collection, own in sorted(by_collection.items()):
                prompts = {new, *_prompts_of(connection, own)}
                before = _have(connection, collection, prompts)
                for some in _bulk.pieces(own):
                    connection.execute(update(_images).where(_images.c.number.in_(some)).values(prompt=new))
                    connection.execute(update(schema.ratings).where(schema.ratings.c.image.in_(some)).values(prompt=new))
                _bulk.count(connection, collection, {"prompts": _have(connection, collection, prompts) - before})

    def set_removed(self, numbers: Sequence[int], removed: bool = True) -> None:
        state = "removed" if removed else "unseen"
        with self._db.write() as connection:
            before = _held_states(connection, [number for number in dict.fromkeys(numbers) if fits(number)])
            now = {number: state for number, (_, old) in before.items() if removed != (old == "removed")}
            for some in _bulk.pieces(now):
                connection.execute(update(_images).where(_images.c.number.in_(some)).values(state=state))
            _count_moved(connection, before, now)


_NOTE = (
    "UPDATE collected_images SET state = :state, file_sha256 = COALESCE(:file, file_sha256), sha256 = COALESCE(:content, sha256), "
    "phash = COALESCE(:phash, phash), width = CASE WHEN :width > 0 THEN :width ELSE width END, "
    "height = CASE WHEN :height > 0 THEN :height ELSE height END, size = :size, modified = :modified, "
    "held = CASE WHEN CAST(:path AS TEXT) IS NULL THEN held ELSE :held END, path = COALESCE(:path, path) WHERE number = :number"
)


def _facts_row(one: FileFacts, state: str) -> dict[str, Any]:
    return {
        "number": one.number, "state": state if state == "removed" else one.state, "file": one.file_sha256, "content": one.sha256,
        "phash": one.phash, "width": one.width, "height": one.height, "size": one.size, "modified": one.modified, "path": one.path,
        "held": int(one.held),
    }  # fmt: skip


def _joined(pairs: Iterable[tuple[str, int]]) -> list[tuple[int, ...]]:
    """Groups of numbers that share a value, also by way of another number."""
    group: dict[int, set[int]] = {}
    first: dict[str, int] = {}
    for value, number in pairs:
        one, other = group.setdefault(number, {number}), group[first.setdefault(value, number)]
        if one is not other:
            small, large = sorted((one, other), key=len)
            large |= small
            group.update(dict.fromkeys(small, large))
    return sorted({tuple(sorted(numbers)) for numbers in group.values() if len(numbers) > 1})


def _held_states(connection: Connection, numbers: Iterable[int]) -> dict[int, tuple[int, str]]:
    """Collection and state of images, whose collections are held against other writers."""
    wanted = list(numbers)
    _bulk.collections_of(connection, wanted)
    found: dict[int, tuple[int, str]] = {}
    for some in _bulk.pieces(wanted):
        query = select(_images.c.number, _images.c.collection, _images.c.state).where(_images.c.number.in_(some))
        found.update({int(number): (int(collection), str(state)) for number, collection, state in connection.execute(query)})
    return found


def _count_moved(connection: Connection, before: Mapping[int, tuple[int, str]], now: Mapping[int, str]) -> None:
    """Tell the tallies of each collection that images have changed their states."""
    found: dict[int, Counter[str]] = {}
    for number, state in now.items():
        collection, old = before[number]
        tally = found.setdefault(collection, Counter())
        tally[f"state:{old}"] -= 1
        tally[f"state:{state}"] += 1
        tally["removed"] += (state == "removed") - (old == "removed")
    for collection, tally in sorted(found.items()):
        _bulk.count(connection, collection, tally)


def _prompts_of(connection: Connection, numbers: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for some in _bulk.pieces(numbers):
        found.update(connection.execute(select(_images.c.prompt).where(_images.c.number.in_(some)).distinct()).scalars())
    return found


def _have(connection: Connection, collection: int, prompts: Iterable[int]) -> int:
    """How many of the prompts a collection has images of."""
    one = select(_images.c.number).where(_images.c.collection == collection)
    return sum(connection.execute(one.where(_images.c.prompt == prompt).limit(1)).first() is not None for prompt in prompts)
