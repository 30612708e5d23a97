"""Ranked images, from the best to the worst: a page of them, or all as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lib_rankopt.store.collected.records import Rating
from lib_rankopt.studies.data.beliefs import PRIOR
from lib_rankopt.studies.data.comparing_views import RankedImage

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

MOST = 20_000  # images that are looked at page by page
_ABOVE_ALL = 1e12
_PAGE, _ROWS = 20_000, 500
COLUMNS = ("rank", "image", "prompt", "mean", "sd", "comparisons")


def best(store: CollectionStore, collection: int, offset: int, limit: int) -> tuple[tuple[RankedImage, ...], int]:
    """Return images that were compared or labelled from the best on, and how many there are among the best twenty thousand."""
    rated = sorted((one for one in store.near(collection, _ABOVE_ALL, 2 * MOST) if _is_rated(one)), key=lambda one: (-one.mean, one.image))
    page = rated[offset : offset + limit]
    images = store.images_by_number([one.image for one in page])
    found = []
    for at, one in enumerate(page, offset + 1):
        image = images[one.image]
        found.append(RankedImage(at, one.image, image.key, image.prompt, one.mean, one.sd, one.games, image.width, image.height))
    return tuple(found), len(rated)


def as_csv(store: CollectionStore, collection: int) -> Iterator[str]:
    """Yield lines of all images that were compared or labelled and are not removed, from the best to the worst."""
    numbers, values, games = [], [], []
    last = 0
    while page := store.ratings(collection, last, _PAGE):
        last = page[-1].image
        rated = [one for one in page if _is_rated(one)]
        numbers.append(np.array([one.image for one in rated], np.int64))
        values.append(np.array([(one.mean, one.sd) for one in rated], np.float64).reshape(-1, 2))
        games.append(np.array([one.games for one in rated], np.int64))
    yield _line(COLUMNS)
    if not numbers:
        return
    every, value, count = np.concatenate(numbers), np.concatenate(values), np.concatenate(games)
    order = np.argsort(-value[:, 0], kind="stable")
    rank = 0
    for start in range(0, len(order), _ROWS):
        chosen = order[start : start + _ROWS]
        images = store.images_by_number(every[chosen].tolist())
        lines = []
        for place in chosen:
            image = images.get(int(every[place]))
            if image is not None and image.state != "removed":
                rank += 1
                lines.append(_line((rank, image.key, image.prompt, f"{value[place, 0]:.6f}", f"{value[place, 1]:.6f}", int(count[place]))))
        yield "".join(lines)


def _is_rated(one: Rating) -> bool:
    return one.games > 0 or one.sd < PRIOR.sd


def _line(values: tuple[object, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(values)
    return out.getvalue()
