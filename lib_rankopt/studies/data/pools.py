"""Images to choose from: what the store holds, or any data set that a format reads, without taking it in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.evaluation.image_files import Source
from lib_rankopt.store.formats import files
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry

Piece = tuple[Sequence[ImageEntry], Sequence[FeedbackEntry]]


@dataclass(frozen=True)
class Candidate:
    """An image with a prompt: an image that was judged under two prompts is two.

    Attributes:
        image: its ``prompt`` is the one meant here.
        name: identity among the candidates of all pools; what scores are kept under.
        names: what files of scores may call the image.
        group: what it competes in where each prompt has its best.
        source: where its pixels come from.
    """

    image: ImageEntry
    name: str
    names: tuple[str, ...]
    group: str
    source: Source


class Pool(ABC):
    """One source of candidates, gone through in the same order each time, at constant memory but for some hashes a candidate.

    It is a :class:`~lib_rankopt.store.formats.base.Dataset` as well, in which an image may come several times.

    Attributes:
        name: for messages.
        problems: rows that could not be read, of the latest time that the candidates were gone through. first_problem: of the first.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems, self.first_problem = 0, ""

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """Yield images, and feedback with at least the images that it is about."""

    @abstractmethod
    def read(self, image: ImageEntry) -> bytes:
        """Return an image's file. Raises: NotFoundError, StoreError, InvalidInputError."""

    @abstractmethod
    def name_of(self, image: ImageEntry) -> str:
        """What scores of an image are kept under, as far as its first prompt is meant."""

    def path_of(self, image: ImageEntry) -> Path | None:
        """Where its file lies, if it may be read without another check."""
        return None

    def file_of(self, image: ImageEntry) -> str:
        """What a person may call it."""
        return self.name_of(image)

    def candidates(self) -> Iterator[Candidate]:
        """All images, and once more under each other prompt that a rater saw."""
        self.problems, self.first_problem = 0, ""
        seen: set[bytes] = set()
        first: dict[bytes, bytes] = {}
        for images, feedback in self.pieces():
            for image in _under_all_prompts(images, feedback):
                key, pair = _digest(image.key), _digest(image.key, image.prompt)
                if pair not in seen:
                    seen.add(pair)
                    is_first = first.setdefault(key, pair) == pair
                    yield self._candidate(image, is_first)

    def _candidate(self, image: ImageEntry, is_first: bool) -> Candidate:
        plain = self.name_of(image)
        name = plain if is_first else f"{plain}#{_digest(image.prompt).hex()[:12]}"
        names = tuple(dict.fromkeys([plain, image.key, *([image.path] if image.path else [])]))
        path = self.path_of(image)
        source = Source(Path(plain), name=name, prompt=image.prompt, data=partial(self.read, image)) if path is None else (
            Source(path, name=name, prompt=image.prompt)
        )
        style = image.about.get("style")
        return Candidate(image, name, names, f"{style}\n{image.prompt}" if style else image.prompt, source)

    def preferred(self) -> set[tuple[str, str]]:
        """Return (key, prompt) of what stands in the best of several tiers of some comparison, or is liked."""
        found: set[tuple[str, str]] = set()
        for images, feedback in self.pieces():
            prompts = {image.key: image.prompt for image in images}
            for said in feedback:
                if said.kind == "like" or len(said.tiers) > 1:
                    for key in (said.images[position] for position in said.tiers[0]):
                        found.add((key, prompts.get(key, "") if said.prompt is None else said.prompt))
        return found

    def images(self) -> Iterator[ImageEntry]:
        """All images, some several times."""
        for images, _ in self.pieces():
            yield from images

    def feedback(self) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
        """All feedback."""
        for images, feedback in self.pieces():
            by_key = {image.key: image for image in images}
            for said in feedback:
                yield said, tuple(by_key[key] for key in said.images)

    def ratings(self) -> Mapping[str, tuple[float, float]]:
        """Strength and standard deviation by key, over all that was said, of images about which something was."""
        from lib_rankopt.studies.data.aggregate import aggregate

        found = aggregate(self)
        values = zip(found.keys, found.ratings.mean.tolist(), found.ratings.sd.tolist(), found.comparisons.games.tolist(), strict=True)
        return {key: (mean, sd) for key, mean, sd, games in values if games > 0}


def _under_all_prompts(images: Sequence[ImageEntry], feedback: Sequence[FeedbackEntry]) -> Iterator[ImageEntry]:
    yield from images
    by_key = {image.key: image for image in images}
    for said in feedback:
        if said.prompt is not None:
            for key in said.images:
                if key in by_key and by_key[key].prompt != said.prompt:
                    yield replace(by_key[key], prompt=said.prompt)


def _digest(*parts: str) -> bytes:
    made = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        made.update(b"%d:" % len(data))
        made.update(data)
    return made.digest()


class StorePool(Pool):
    """What the store holds of one collection or study.

    Args:
        name: stays the same from call to call, as scores are kept under it.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        super().__init__(name)
        self._dataset = dataset

    def pieces(self) -> Iterator[Piece]:
        for image in self._dataset.images():
            yield (image,), ()
        for said, images in self._dataset.feedback():
            yield images, (said,)

    def read(self, image: ImageEntry) -> bytes:
        return self._dataset.read(image)

    def name_of(self, image: ImageEntry) -> str:
        return f"{self.name}/{image.key}"

    def file_of(self, image: ImageEntry) -> str:
        return str(getattr(image, "file", None) or self.name_of(image))


class FormatPool(Pool):
    """A file or folder of any format that can be read."""

    def __init__(self, fmt: Format, path: Path) -> None:
        super().__init__(str(path))
        self._format, self._path, self._root = fmt, path, fmt.root(path)

    def pieces(self) -> Iterator[Piece]:
        for row in self._format.rows(self._path):
            if row.problem:
                self.problems += 1
                self.first_problem = self.first_problem or f"{row.place}: {row.problem}"
            yield row.images, row.feedback

    def read(self, image: ImageEntry) -> bytes:
        if image.data is not None:
            return image.data
        if image.path is None:
            raise NotFoundError(f"Of the image '{image.key[:200]}' there is no file, only its name.")
        return files.read(files.inside(self._root, files.relative(image.path)))

    def name_of(self, image: ImageEntry) -> str:
        # as 'score' names the same file
        return str(self._root / (image.key if image.path is None else image.path))

    def path_of(self, image: ImageEntry) -> Path | None:
        if image.path is None or image.data is not None:
            return None
        try:
            files.inside(self._root, files.relative(image.path))
        except InvalidInputError:
            return None  # reading it will say why
        return self._root / image.path


def candidates_of(pools: Iterable[Pool]) -> Iterator[tuple[Pool, Candidate]]:
    """Yield the candidates of all pools, one pool after the other."""
    for pool in pools:
        for candidate in pool.candidates():
            yield pool, candidate
