"""The running ratings of :class:`~lib_rankopt.store.collected.sql.SqlCollections`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select, text

from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rows
from lib_rankopt.store.collected._checks import bounded, check_rating, fits
from lib_rankopt.store.collected.records import Rating

if TYPE_CHECKING:
    from lib_rankopt.store.database import Database

_ratings, _images = schema.ratings, schema.collected_images
_MOST = 20_000
_PRIOR = Rating(0)


class RatingsPart:
    """What is believed of images while they are ranked. It follows from the feedback and can be made again from it."""

    _db: Database

    def seed_ratings(self, collection: int) -> int:
        statement = text(
            "INSERT INTO ratings (image, collection, prompt, mean, sd, games) "
            "SELECT number, collection, prompt, :mean, :sd, 0 FROM collected_images "
            "WHERE collection = :c AND NOT EXISTS (SELECT 1 FROM ratings WHERE ratings.image = collected_images.number) "
            "ON CONFLICT DO NOTHING"
        )
        with self._db.write() as connection:
            if not fits(collection) or not _bulk.lock(connection, [collection]):
                return 0
            result = connection.execute(statement, {"c": collection, "mean": _PRIOR.mean, "sd": _PRIOR.sd})
            return max(int(result.rowcount), 0)

    def put_ratings(self, collection: int, ratings: Sequence[Rating]) -> None:
        statement = text(
            "INSERT INTO ratings (image, collection, prompt, mean, sd, games) "
            "SELECT number, collection, prompt, :mean, :sd, :games FROM collected_images WHERE number = :image AND collection = :c "
            "ON CONFLICT (image) DO UPDATE SET mean = excluded.mean, sd = excluded.sd, games = excluded.games"
        )
        for one in ratings:
            check_rating(one)
        rows = [{"c": collection, "image": r.image, "mean": r.mean, "sd": r.sd, "games": r.games} for r in ratings if fits(r.image)]
        with self._db.write() as connection:
            if rows and fits(collection) and _bulk.lock(connection, [collection]):
                connection.execute(statement, rows)

    def ratings(self, collection: int, after: int = 0, limit: int = 1000) -> list[Rating]:
        query = select(_ratings).where(_ratings.c.collection == bounded(collection), _ratings.c.image > bounded(after))
        return self._rows(query.order_by(_ratings.c.image).limit(min(max(limit, 1), _MOST)))

    def ratings_of(self, images: Sequence[int]) -> dict[int, Rating]:
        found = {}
        for some in _bulk.pieces(image for image in dict.fromkeys(images) if fits(image)):
            found.update({one.image: one for one in self._rows(select(_ratings).where(_ratings.c.image.in_(some)))})
        return found

    def uncertain(self, collection: int, limit: int = 64, prompt: int | None = None) -> list[Rating]:
        return self._rows(_of(collection, prompt).order_by(_ratings.c.sd.desc()).limit(min(max(limit, 1), _MOST)))

    def near(self, collection: int, mean: float, limit: int = 64, prompt: int | None = None) -> list[Rating]:
        half = min(max(limit // 2, 1), _MOST)
        here = _of(collection, prompt)
        below = here.where(_ratings.c.mean < mean).order_by(_ratings.c.mean.desc()).limit(half)
        above = here.where(_ratings.c.mean >= mean).order_by(_ratings.c.mean).limit(half)
        return self._rows(below) + self._rows(above)

    def _rows(self, query: Select[Any]) -> list[Rating]:
        with self._db.read() as connection:
            _bulk.by_index(connection)
            return [_rows.rating_of(row) for row in connection.execute(query)]


def _of(collection: int, prompt: int | None) -> Select[Any]:
    query = select(_ratings).join(_images, _images.c.number == _ratings.c.image)
    query = query.where(_ratings.c.collection == bounded(collection), _images.c.state.not_in(("removed", "gone")))
    return query if prompt is None else query.where(_ratings.c.prompt == bounded(prompt))
