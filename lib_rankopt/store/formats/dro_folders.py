"""The folders of Diffusion-DRO: ``<root>/<number>/caption.txt`` and ``<number>.png`` beside it, one folder for each expert image.

Its inference writes the same with ``<seed>.png``, any number of them in a folder. Scores lie in ``<root>/<scorer>.json``: path relative to
the root → number.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, folders, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.image_folder import Head, head_of, relative_name, token_of
from lib_rankopt.store.formats.labels import Labels
from lib_rankopt.store.formats.writing import read_image
from lib_rankopt.store.image_prompts import caption_bytes, caption_text

CAPTION = "caption.txt"
RATING = "rating"
_MOST_SCORES = 32
_DIGITS = 5


class DroFolders(Format):
    """See the module's text. A row is one image."""

    name = "dro"
    title = "Diffusion-DRO folders"
    loses = (
        "dislikes, rankings and pairs: only the best images are written",
        "who said something, and when",
        "everything about an image that does not stand in its file, but its prompt and its scores",
        "the files of images that are not PNG",
    )
    options: ClassVar[Mapping[str, str]] = {
        "as": "what images of the training layout are read as: likes (as it is without the option) or images",
        "top": "how many images are written, best first; 500 as in the paper without the option, all of them with 'all'",
    }

    def __init__(self, top: str = "500", **options: str) -> None:
        self._as = options.get("as", "likes")
        if self._as not in ("likes", "images"):
            raise InvalidInputError(f"as is '{self._as[:20]}'; likes or images is expected.")
        if top != "all" and not (top.isascii() and top.isdigit() and 0 < int(top[:10]) < 10**9):
            raise InvalidInputError(f"top is '{top[:20]}'; a whole number from 1, or all, is expected.")
        self._top = None if top == "all" else int(top)

    def size(self, path: Path) -> int:
        return sum(1 for _ in self._found(path))

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        scores, problems = _read_scores(folders.checked_folder(path, self.title))
        for done, found in enumerate(self._found(path), 1):
            if done > after:
                if done == 1:
                    yield from (Row(done, name, problem=why) for name, why in problems)
                try:
                    yield self._row(path, found, scores, done)
                except InvalidInputError as error:
                    yield Row(done, text.clean(found.place), problem=str(error))

    def _found(self, path: Path) -> Iterator[_Found]:
        is_empty = True
        for found in _walk(folders.checked_folder(path, self.title)):
            is_empty = False
            yield found
        if is_empty:
            raise InvalidInputError(f"{path} holds no folders with a {CAPTION} and an image each, as Diffusion-DRO has them.")

    def _row(self, root: Path, found: _Found, scores: Mapping[str, Mapping[str, float]], done: int) -> Row:
        if found.problem:
            raise InvalidInputError(found.problem)
        key = relative_name(f"{found.folder}/{found.name}")
        head = head_of(files.inside_text(root, key))
        own = {name: cache[key] for name, cache in scores.items() if key in cache}
        about: dict[str, Any] = {"scores": own} if own else {}
        stem = found.name.rsplit(".", 1)[0]
        is_training = stem == found.folder and found.alone
        if not is_training and stem.isascii() and stem.isdigit() and len(stem) < 20:
            about["seed"] = int(stem)
        prompt, trouble = _caption(root, found.folder)
        entry = _entry(key, prompt, head, about)
        liked = is_training and self._as == "likes"
        said = (FeedbackEntry("like", (key,), ((0,),), token_of("like", key)),) if liked else ()
        return Row(done, key, (entry,), said, trouble)

    # -- writing
    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        with folders.new_folder(path) as target:
            scores: dict[str, dict[str, float]] = {}
            best = _best(dataset, self._top, report)
            digits = max(_DIGITS, len(str(len(best) - 1)))
            for one in best:
                index = f"{report.images:0{digits}d}"
                if not _put(target, index, dataset, one, report):
                    continue
                for scorer, value in one.scores.items():
                    scores.setdefault(scorer, {})[f"{index}/{index}.png"] = value
                report.images += 1
                report.feedback += 1
                yield report.images
            if not report.images:
                raise InvalidInputError("There is nothing to write: no image whose file is here is liked, or stands in a comparison.")
            for scorer, values in scores.items():
                folders.put(target, f"{files.file_name(scorer)}.json", folders.line(values), report)


@dataclass(frozen=True)
class _Found:
    """An image in one of the folders.

    Attributes:
        alone: it is the only one in its folder.
    """

    folder: str
    name: str
    alone: bool = True
    problem: str = ""

    @property
    def place(self) -> str:
        return "/".join(part for part in (self.folder, self.name) if part) or "."


def _walk(root: Path) -> Iterator[_Found]:
    _, below, problems = folders.listing(root)
    yield from (_Found("", name, problem=why) for name, why in problems)
    for folder in below:
        images, _, trouble = folders.listing(root / folder)
        yield from (_Found(folder, name, problem=why) for name, why in trouble)
        for name in images:
            yield _Found(folder, name, len(images) == 1)


def _caption(root: Path, folder: str) -> tuple[str, str]:
    """Return a folder's caption, and what is wrong with it."""
    try:
        raw = caption_bytes(files.inside_text(root, f"{folder}/{CAPTION}"))
        if raw is None:
            return "", f"there is no {CAPTION} beside the image"
        return text.clean(caption_text(raw, CAPTION)), ""
    except InvalidInputError as error:
        return "", str(error)


def _entry(key: str, prompt: str, head: Head, about: Mapping[str, Any]) -> ImageEntry:
    return ImageEntry(key, prompt, key, width=head.width, height=head.height, about=about)


def _read_scores(root: Path) -> tuple[dict[str, dict[str, float]], list[tuple[str, str]]]:
    """Return scorer → path → score from the caches beside the folders, and what is wrong with those that are none."""
    found: dict[str, dict[str, float]] = {}
    problems: list[tuple[str, str]] = []
    for path in [path for path in sorted(root.glob("*.json")) if path.is_file()][:_MOST_SCORES]:
        try:
            cache = text.one_json(files.inside(root, relative_name(path.name)))
            if not isinstance(cache, dict):
                raise InvalidInputError("no JSON object of scores by path")
            good = {str(name): float(value) for name, value in cache.items() if _is_score(value)}
            if len(good) < len(cache):
                problems.append((path.name, f"{len(cache) - len(good)} of {len(cache)} scores are no numbers"))
            found[path.stem] = good
        except InvalidInputError as error:
            problems.append((text.clean(path.name), str(error)))
    return found, problems


def _is_score(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


# -- writing


@dataclass(frozen=True)
class _Best:
    """An image that is good enough. ``order``: liked ones first, then by strength, then as they came; more is better."""

    order: tuple[int, float, int]
    image: ImageEntry
    scores: Mapping[str, float]


def _best(dataset: Dataset, top: int | None, report: WriteReport) -> list[_Best]:
    """The best images, best first: those that are liked, then those that stand in comparisons, by strength; never a disliked one."""
    ratings = dataset.ratings()
    with Labels() as labels:
        labels.collect(dataset, report)
        good = (one for at, image in enumerate(dataset.images()) if (one := _judged(image, at, labels, ratings, report)))
        return sorted(good, key=_order, reverse=True) if top is None else heapq.nlargest(top, _counted(good, top, report), key=_order)


def _order(one: _Best) -> tuple[int, float, int]:
    return one.order


def _counted(good: Iterator[_Best], top: int, report: WriteReport) -> Iterator[_Best]:
    for number, one in enumerate(good):
        if number >= top:
            report.leave_out(f"not among the {top} best")
        yield one


def _judged(image: ImageEntry, at: int, labels: Labels, ratings: Mapping[str, tuple[float, float]], report: WriteReport) -> _Best | None:
    side, rating = labels.of(image.key, report), ratings.get(image.key)
    if side < 0:
        report.leave_out("the image is disliked, and the format has only good ones", image.key)
    elif not side and rating is None:
        report.leave_out("nobody liked the image or compared it with another", image.key)
    else:
        scores = {str(name): float(value) for name, value in dict(image.about.get("scores") or {}).items() if _is_score(value)}
        if rating is not None:
            scores[RATING] = float(rating[0])
        return _Best((side, rating[0] if rating else 0.0, -at), replace(image, about={}), scores)
    return None


def _put(target: Path, index: str, dataset: Dataset, one: _Best, report: WriteReport) -> bool:
    data = read_image(dataset, one.image, report)
    if data is None:
        return False
    try:
        data = folders.as_png(data, report, one.image.key)
    except InvalidInputError as error:
        report.leave_out(str(error), one.image.key)
        return False
    folders.put(target, f"{index}/{index}.png", data, report)
    folders.put(target, f"{index}/{CAPTION}", folders.plain_text(one.image.prompt), report)
    return True
