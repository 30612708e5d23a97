"""The images that were chosen, as a data set that every format writes and a collection takes in; the best comes first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.evaluation.select import Scored
from lib_rankopt.store.formats import files
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row
from lib_rankopt.studies.data.pools import Candidate, Pool, candidates_of


@dataclass(frozen=True)
class Place:
    """A chosen image: its entry in the new data set, and where it is from."""

    entry: ImageEntry
    original: ImageEntry
    pool: Pool
    score: float
    sd: float | None = None
    spooled: Path | None = None


class Chosen:
    """See the module's text. Bytes that only a stream holds wait in a folder of their own until :meth:`close`.

    Args:
        pools: are gone through once more.
        scored: best first.
        by: whose scores these are: the rater of the likes.
        likes: each image comes with a like; what else was said about it stays where it is.
        spread: standard deviations by the candidates' names, where the scores are strengths by what people said.
    """

    def __init__(
        self, pools: Sequence[Pool], scored: Sequence[Scored], by: str, likes: bool = True, spread: Mapping[str, float] | None = None
    ) -> None:
        self.name, self._by, self._likes = f"best by {by}", by, likes
        self._pools, self._spread = tuple(pools), spread
        self._folder = tempfile.TemporaryDirectory(prefix="rankopt-")
        try:
            self.places = self._gather(scored)
        except BaseException:
            self.close()
            raise
        self._by_key = {place.entry.key: place for place in self.places}

    def __enter__(self) -> Chosen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Delete what waits."""
        self._folder.cleanup()

    def _gather(self, scored: Sequence[Scored]) -> tuple[Place, ...]:
        order = {one.name: at for at, one in enumerate(scored)}
        found: list[tuple[Pool, Candidate, Path | None] | None] = [None] * len(scored)
        for pool, candidate in candidates_of(self._pools):
            at = order.get(candidate.name)
            if at is None or found[at] is not None:
                continue
            spooled = None
            if candidate.image.data is not None:
                spooled = Path(self._folder.name) / str(at)
                spooled.write_bytes(candidate.image.data)
                candidate = replace(candidate, image=replace(candidate.image, data=None))
            found[at] = (pool, candidate, spooled)
        keys: dict[str, int] = {}
        places = []
        for one, item in zip(scored, found, strict=True):
            if item is None:
                raise InvalidInputError(f"{one.name} was there and is not any more: the candidates change while they are selected.")
            pool, candidate, spooled = item
            image = candidate.image
            count = keys[image.key] = keys.get(image.key, 0) + 1
            key = image.key if count == 1 else f"{count}/{image.key}"  # another prompt, or another source's
            about = {**image.about, "scores": {**_scores(image), self._by: round(one.score, 6)}}
            sd = None if self._spread is None else self._spread[one.name]
            places.append(Place(replace(image, key=key, about=about), image, pool, one.score, sd, spooled))
        return tuple(places)

    # -- as a data set
    def images(self) -> Iterator[ImageEntry]:
        """The best first."""
        return (place.entry for place in self.places)

    def feedback(self) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
        """A like of each."""
        if self._likes:
            for place in self.places:
                yield self._like(place.entry), (place.entry,)

    def _like(self, image: ImageEntry) -> FeedbackEntry:
        return FeedbackEntry("like", (image.key,), ((0,),), f"selected {image.key}"[:128], rater=self._by, about={"selected": True})

    def read(self, image: ImageEntry) -> bytes:
        """Return an image's file."""
        place = self._by_key[image.key]
        return files.read(place.spooled) if place.spooled else place.pool.read(place.original)

    def ratings(self) -> Mapping[str, tuple[float, float]]:
        """Strengths, if that is what the images were chosen by; scores of scorers are none."""
        return {place.entry.key: (place.score, place.sd) for place in self.places if place.sd is not None}


def _scores(image: ImageEntry) -> Mapping[str, Any]:
    found = image.about.get("scores")
    return found if isinstance(found, Mapping) else {}


class AsRows(Format):
    """A data set as a format that reads it with its bytes, so that an intake copies them into the data folder."""

    name: ClassVar[str] = "select"
    title: ClassVar[str] = "Selection"
    writes: ClassVar[bool] = False

    def __init__(self, dataset: Dataset, count: int) -> None:
        self._dataset, self._count = dataset, count

    def root(self, path: Path) -> Path:
        return path

    def size(self, path: Path) -> int:
        return self._count

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        done = 0
        for done, image in enumerate(self._dataset.images(), 1):
            if done > after:
                yield self._row(image, done)
        for said, images in self._dataset.feedback():
            done += 1
            if done > after:
                yield Row(done, said.token, tuple(replace(image, path=None, data=None) for image in images), (said,))

    def _row(self, image: ImageEntry, done: int) -> Row:
        try:
            return Row(done, image.key, (replace(image, path=None, data=self._dataset.read(image)),))
        except (NotFoundError, StoreError, InvalidInputError) as error:
            return Row(done, image.key, (replace(image, path=None, data=None),), problem=str(error))
