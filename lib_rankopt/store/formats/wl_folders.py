"""Win and lose folders: pairs as two images of one name, as the preference training of kohya's sd-scripts and of OneTrainer takes them.

kohya (sd-scripts, pull request 1427) reads ``<repeats>_<name>/w/x.png`` and ``…/l/x.png`` with captions ``x.caption`` or, where so
called, ``x.txt`` beside each; OneTrainer (pull request 1403) takes the two folders as a concept of good and one of bad images and pairs by
file name, with captions in ``x.txt``. Both were open proposals when this was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, folders, shapes
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.image_folder import image_entry, token_of
from lib_rankopt.store.formats.text import clean
from lib_rankopt.store.formats.writing import GONE, NO_LABELS, NO_TIES, read_image
from lib_rankopt.store.image_prompts import CAPTIONS

SIDES = (("w", "l"), ("win", "lose"))
_REPEATED = re.compile(r"(\d{1,6})_(.*)", re.DOTALL)


@dataclass(frozen=True)
class _Place:
    """A folder that holds a folder of winners and one of losers; ``path`` is empty for the root itself."""

    path: str
    win: str
    lose: str

    def side(self, number: int) -> str:
        name = (self.win, self.lose)[number]
        return f"{self.path}/{name}" if self.path else name


class WinLoseFolders(Format):
    """See the module's text; ``win`` and ``lose`` are read as well. A pair is one row; the count of repeats goes to ``about``."""

    name = "wl-folders"
    title = "Win and lose folders (kohya, OneTrainer)"
    loses = (
        "ties, likes and dislikes, images without a comparison",
        "rankings as such: they become their pairs",
        "who said something, and when",
        "that two pairs have an image in common: it is there twice",
        "everything about an image that does not stand in its file, but its prompt",
    )
    options: ClassVar[Mapping[str, str]] = {
        "captions": "suffix of the captions that are written: .txt (as it is without the option) or .caption, kohya's default",
        "repeats": "count of repeats in the name of the folder that is written, 1 as it is without the option",
    }

    def __init__(self, captions: str = ".txt", repeats: str = "1") -> None:
        if captions not in CAPTIONS:
            raise InvalidInputError(f"captions is '{captions[:20]}'; {' or '.join(CAPTIONS)} is expected.")
        if not repeats.isascii() or not repeats.isdigit() or not 0 < int(repeats[:7]) < 1_000_000:
            raise InvalidInputError(f"repeats is '{repeats[:20]}'; a whole number from 1 to 999999 is expected.")
        self._captions, self._repeats = captions, int(repeats)

    def size(self, path: Path) -> int:
        return sum(1 for _ in self._named(path))

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        for done, (place, stem, names) in enumerate(self._named(path), 1):
            if done > after:
                where = clean(f"{place.path}/{stem}" if place.path else stem) or "."
                try:
                    yield _pair(path, place, stem, names, Row(done, where))
                except InvalidInputError as error:
                    yield Row(done, where, problem=str(error))

    def _named(self, path: Path) -> Iterator[tuple[_Place, str, tuple[list[str], list[str]]]]:
        """Every name with the files that have it on either side; what is not looked into as one without files."""
        is_empty = True
        for place in _places(folders.checked_folder(path, self.title), "", 0):
            both = merge(*(_stems(path / place.side(number), number) for number in (0, 1)))
            for stem, group in groupby(both, key=lambda found: found[0]):
                is_empty = False
                names: tuple[list[str], list[str]] = ([], [])
                for _, number, name in group:
                    names[number].extend([name] if name else [])
                yield place, stem, names
        if is_empty:
            raise InvalidInputError(f"{path} holds no folders w and l (or win and lose) with images, and neither do its sub-folders.")

    # -- writing
    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        with folders.new_folder(path) as target:
            below = f"{self._repeats}_{files.file_name(dataset.name or 'preferences')}"
            for number, (answer, images) in enumerate(dataset.feedback(), 1):
                for better, worse, is_tie in _pairs(answer, report):
                    if is_tie:
                        report.leave_out(NO_TIES, answer.token)
                    else:
                        pair = _Answer(dataset, answer, (images[better], images[worse]))
                        self._put(target, f"{below}/{{}}/{report.feedback:06d}", pair, report)
                yield number
            if not report.feedback:
                raise InvalidInputError("There is no pair to write: nobody preferred one image to another whose files are here.")

    def _put(self, target: Path, name: str, said: _Answer, report: WriteReport) -> None:
        try:
            data = said.read(report)
        except InvalidInputError:
            report.leave_out(f"answer about images of which {GONE}", said.answer.token)
            return
        for side, image, one in zip("wl", said.pair, data, strict=True):
            folders.put(target, name.format(side) + files.suffix_of(one), one, report)
            folders.put(target, name.format(side) + self._captions, folders.plain_text(shapes.caption(said.answer, image)), report)
        report.images += 2
        report.feedback += 1


@dataclass(frozen=True)
class _Answer:
    """One pair that is written: the better image and the worse one."""

    dataset: Dataset
    answer: FeedbackEntry
    pair: tuple[ImageEntry, ImageEntry]

    def read(self, report: WriteReport) -> list[bytes]:
        """Both files, of one kind: the trainers pair by the whole name.

        Raises:
            InvalidInputError: one is gone or damaged.
        """
        data = [one for image in self.pair if (one := read_image(self.dataset, image, report)) is not None]
        if len(data) < 2:
            raise InvalidInputError(GONE)
        if files.suffix_of(data[0]) == files.suffix_of(data[1]):
            return data
        return [folders.as_png(one, report, image.key) for one, image in zip(data, self.pair, strict=True)]


def _pairs(answer: FeedbackEntry, report: WriteReport) -> Iterator[tuple[int, int, bool]]:
    if answer.kind not in ("ranking", "pair"):
        report.leave_out(NO_LABELS, answer.token)
        return
    if answer.kind == "ranking":
        report.leave_out("the format has no rankings; they are written as their pairs", answer.token)
    yield from shapes.pairs(answer.tiers)


# -- reading


def _places(root: Path, inside: str, depth: int) -> Iterator[_Place]:
    _, below, _ = folders.listing(root / inside)
    sides = next((pair for pair in SIDES if set(pair) <= set(below)), None)
    if sides:
        yield _Place(inside, *sides)
    for name in below:
        if depth < 8 and (sides is None or name not in sides):
            yield from _places(root, f"{inside}/{name}" if inside else name, depth + 1)


def _stems(folder: Path, number: int) -> Iterator[tuple[str, int, str]]:
    """A folder's images by stem, with the number of the side; without a name what is not looked into."""
    images, _, problems = folders.listing(folder)
    odd = ((name, number, "") for name, _ in problems)
    return merge(((_stem(name), number, name) for name in sorted(images, key=lambda name: (_stem(name), name))), odd)


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _pair(root: Path, place: _Place, stem: str, names: tuple[list[str], list[str]], row: Row) -> Row:
    """Fill in a row.

    Raises:
        InvalidInputError: no image of it can be read.
    """
    entries: list[ImageEntry] = []
    problems: list[str] = []
    for side in (0, 1):
        for name in names[side]:
            try:
                entry, trouble = image_entry(root, f"{place.side(side)}/{name}")
                entries.append(entry)
                problems += [f"{name}: {trouble}"] if trouble else []
            except InvalidInputError as error:
                problems.append(f"{clean(name)} in {place.side(side)}: {error}")
    if not any(names):
        raise InvalidInputError(folders.NOT_FOLLOWED)
    repeats, fallback = _repeats(root, place)
    prompt = next((entry.prompt for entry in entries if entry.prompt), fallback)
    images = tuple(entry if entry.prompt or _has_caption(root, entry) else replace(entry, prompt=prompt) for entry in entries)
    if [len(side) for side in names] != [1, 1]:
        problems.append(_odd(place, stem, names))
    elif len(images) == 2:
        token = token_of("pair", f"{place.side(0)}/{stem}")
        said = FeedbackEntry("pair", (images[0].key, images[1].key), ((0,), (1,)), token, about={"repeats": repeats} if repeats else {})
        return replace(row, images=images, feedback=(said,), problem="; ".join(problems))
    return replace(row, images=images, problem="; ".join(problems))


def _has_caption(root: Path, entry: ImageEntry) -> bool:
    """Whether there is a caption, and be it an empty one."""
    return any(files.is_there(root, _stem(entry.key) + suffix) for suffix in CAPTIONS)


def _odd(place: _Place, stem: str, names: tuple[list[str], list[str]]) -> str:
    stem = clean(stem)
    for side, own in zip((place.win, place.lose), names, strict=True):
        if len(own) > 1:
            return f"{len(own)} images of the name {stem} in {side}, so that none is one of a pair: {clean(', '.join(own))[:200]}"
    missing = place.win if not names[0] else place.lose
    return f"there is no {stem} in {missing}, so that it is no pair"


def _repeats(root: Path, place: _Place) -> tuple[int, str]:
    """The count in ``<count>_<name>``, 0 without one, and the name, which kohya's scripts take for images without a caption."""
    match = _REPEATED.fullmatch(place.path.rsplit("/", 1)[-1] if place.path else root.name)
    return (int(match[1]), clean(match[2])) if match else (0, "")
