"""image-ranker's csv files: comparisons of a folder's images, and the ratings that it computed from them.

``QuentinWach/image-ranker`` (``app.py``) writes ``comparisons….csv`` with ``Winner, Loser``, where the winner ``None`` means that the
image was removed from the race, and ``image_rankings….csv`` with ``Image, ELO, Uncertainty, Upvotes, Downvotes``. It saves both into the
folder of the images with the date in their names, each time with the whole history: of several, the newest of each is read. Paths are
those of the machine that it ran on; they are looked for in the folder of the csv, by as many of their last parts as fit.

Comparisons are pairs, removals dislikes with the source ``removed``. Votes are sums of comparisons, which say more; ``votes=labels``
reads those of a file of ratings as labels with the source ``votes``: a like of what only won, a dislike of what only lost.

Written: ``comparisons.csv``, ``image_rankings.csv`` and ``images/``. Its ELO is our mean and uncertainty: natural logarithm of the odds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, json_tables, sources, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.json_tables import Made
from lib_rankopt.store.formats.shapes import FIRST, Occurrences, plain
from lib_rankopt.store.formats.sources import Source
from lib_rankopt.store.formats.writing import EVERY, NO_LABELS, ImageFolder, count_unused, csv_file, empty_folder, strict_pairs

_PAIRS = ("Winner", "Loser")
_RATINGS = ("Image", "ELO", "Uncertainty", "Upvotes", "Downvotes")
_REMOVED = "None"
Where = Callable[[str], str]


class ImageRanker(Format):
    """See the module."""

    name: ClassVar[str] = "image-ranker"
    title: ClassVar[str] = "image-ranker csv"
    loses: ClassVar[tuple[str, ...]] = (
        "prompts",
        "ties",
        "likes and dislikes",
        "who said it and when",
        "which pairs came from one ranking",
        "an image's settings and model",
    )
    options: ClassVar[Mapping[str, str]] = {"votes": "none (default), or labels: sums of votes are read as likes and dislikes"}

    def __init__(self, votes: str = "none") -> None:
        if votes not in ("none", "labels"):
            raise InvalidInputError(f"votes is '{votes[:80]}'; it may be none or labels.")
        self._votes = votes == "labels"

    def size(self, path: Path) -> int:
        """Bytes of the files that are read."""
        return sources.total(_find(path))

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """See the base; a row of either csv is a row."""
        root = self.root(path)
        return sources.read(_find(path), after, lambda source: _rows(source, root, self._votes))

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """See the base."""
        empty_folder(path)
        with Tally() as names, Tally() as votes:
            images = ImageFolder(dataset, path, "images", report, names)
            with csv_file(path / "comparisons.csv") as out:
                out.writerow(_PAIRS)
                for done, (answer, shown) in enumerate(dataset.feedback(), 1):
                    for better, worse in _compared(answer, shown, images, report):
                        out.writerow((better, worse))
                        votes.add(better, first=1)
                        votes.add(worse, second=1)
                    if done % EVERY == 0:
                        yield done
                if not len(votes):
                    raise InvalidInputError("There is nothing for image-ranker: no image with a file was preferred to another one.")
            report.wrote("comparisons.csv")
            _write_ratings(dataset, path / "image_rankings.csv", names, votes)
            report.wrote("image_rankings.csv")
            count_unused(dataset, names, report)


def _find(path: Path) -> list[Source]:
    found = sources.find(path, "a csv file of image-ranker", ("*comparisons*.csv", "*rankings*.csv"), ("*.csv",))
    if path.is_file() or len(found) == 1:
        return found
    chosen = [_newest([source for source in found if word in source.path.name]) for word in ("comparisons", "rankings")]
    names = {one.path for one in chosen if one is not None} or {source.path for source in found}
    return sources.only(found, lambda source: source.path in names)


def _newest(found: list[Source]) -> Source | None:
    """An export by hand, which has no date in its name, else the last by its date."""
    return max(found, key=lambda source: ("autosave" not in source.path.stem, source.path.stem), default=None)


def _rows(source: Source, root: Path, votes: bool) -> Iterator[Row]:
    head = text.csv_head(source.path)

    @lru_cache(maxsize=4096)
    def where(path: str) -> str:
        return _place(path, source.path.parent, root)

    lines = text.csv_rows(source.path)
    if all(name in head for name in _PAIRS):
        return json_tables.rows(source, lines, lambda values, tokens: _pair(values, where, tokens), "line")
    if all(name in head for name in _RATINGS[:3]):
        return json_tables.rows(source, lines, lambda values, tokens: _rating(values, where, tokens if votes else None), "line")
    raise InvalidInputError(
        f"{source.path} has the columns {', '.join(head)[:300]}; image-ranker has {', '.join(_PAIRS)} or {', '.join(_RATINGS)}."
    )


def _place(name: str, folder: Path, root: Path) -> str:
    """Where an image lies below the root: the most of its last parts that are a file in the csv's folder, else its name alone.

    Raises:
        InvalidInputError: it is no file name.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts:
        raise InvalidInputError(f"{name[:80]!r} is no file name")
    base = folder.relative_to(root).parts
    for first in range(max(0, len(parts) - 8), len(parts)):
        try:
            found = files.relative("/".join((*base, *parts[first:])))
        except InvalidInputError:
            continue
        if first == len(parts) - 1 or files.is_there(root, found):
            return found
    raise InvalidInputError(f"{name[:80]!r} is no file name")


def _pair(values: Mapping[str, Any], where: Where, tokens: Occurrences) -> Made:
    winner, loser = text.word(values, "Winner"), text.word(values, "Loser")
    token = tokens.token(winner, loser)
    if winner == _REMOVED:
        image = _image(loser, where)
        return Made((image,), (FeedbackEntry("dislike", (image.key,), ((0,),), token, source="removed"),))
    images = (_image(winner, where), _image(loser, where))
    if images[0].key == images[1].key:
        return Made(images[:1], problem=f"{winner[:200]!r} was compared with itself")
    return Made(images, (FeedbackEntry("pair", (images[0].key, images[1].key), FIRST, token),))


def _rating(values: Mapping[str, Any], where: Where, tokens: Occurrences | None) -> Made:
    about = {name.lower(): _number(values, name) for name in _RATINGS[1:] if values.get(name)}
    name = text.word(values, "Image")
    image = _image(name, where, about)
    won, lost = about.get("upvotes", 0), about.get("downvotes", 0)
    if tokens is None or bool(won) == bool(lost):
        return Made((image,))
    label = FeedbackEntry("like" if won else "dislike", (image.key,), ((0,),), tokens.token("votes", name), source="votes")
    return Made((image,), (label,))


def _image(name: str, where: Where, about: Mapping[str, Any] | None = None) -> ImageEntry:
    path = where(name)
    return ImageEntry(path, path=path, about=about or {})


def _number(values: Mapping[str, Any], name: str) -> float | int:
    if name in _RATINGS[3:]:
        return text.whole(values, name)
    try:
        found = plain(float(values[name]))
    except ValueError:
        found = None
    if found is None:
        raise InvalidInputError(f"{name} is {values[name][:80]!r}, no number")
    return float(found)


def _compared(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], images: ImageFolder, report: WriteReport) -> Iterator[tuple[str, str]]:
    """Paths of the better and the worse one of each pair."""
    if len(shown) < 2:
        report.leave_out(NO_LABELS, answer.token)
        return
    strict = strict_pairs(answer, report)
    if strict and (paths := images.all(*shown)):
        report.feedback += 1
        yield from ((paths[better], paths[worse]) for better, worse in strict)


def _write_ratings(dataset: Dataset, path: Path, names: Tally, votes: Tally) -> None:
    with csv_file(path) as out:
        out.writerow(_RATINGS)
        for key, (mean, deviation) in sorted(dataset.ratings().items(), key=lambda one: -one[1][0]):
            if name := names.noted(key):
                out.writerow((name, round(mean, 4), round(deviation, 4), *votes.get(name)))
