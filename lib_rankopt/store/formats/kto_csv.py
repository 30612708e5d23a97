"""Diffusion-KTO's csv of labelled images, as ``jacklishufan/pick-a-pick-kto-processed`` has it and ``train_kto_sd_v1.5.py`` loads it.

The loader opens ``<data dir>/{split}_processed_v3.csv`` with the columns ``file_name`` (relative to the data folder), ``caption`` (missing
means empty) and ``split``, which sums up all comparisons of one image under one caption: ``exclusive_win`` it only won, ``exclusive_lose``
it only lost, ``intersections`` both. Without such a file it takes ``metadata.csv`` with a column ``label``. The project's README names
the columns ``file_path, caption, label`` instead; that is read too.

Read as: ``exclusive_win`` → like, ``exclusive_lose`` → dislike, ``intersections`` → like with ``about["split"] = "intersections"``, which
is what the loader's policy ``gt_label_wi_l`` makes of it. The writer counts such a like as a win and a loss, so that a round trip gives
the same split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, sources, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, FeedbackKind, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.shapes import Occurrences, caption
from lib_rankopt.store.formats.sources import Source
from lib_rankopt.store.formats.writing import EVERY, ImageFolder, csv_file, empty_folder

_BOTH: Mapping[str, Any] = {"split": "intersections"}
_NOTHING: Mapping[str, Any] = {}
_SPLITS: Mapping[str, tuple[FeedbackKind, Mapping[str, Any]]] = {
    "exclusive_win": ("like", _NOTHING),
    "exclusive_lose": ("dislike", _NOTHING),
    "intersections": ("like", _BOTH),
    **dict.fromkeys(("1", "1.0", "true", "True", "TRUE", "win"), ("like", _NOTHING)),
    **dict.fromkeys(("0", "0.0", "-1", "false", "False", "FALSE", "lose"), ("dislike", _NOTHING)),
}
_PATTERNS = (
    ("train_processed_v3.csv", "validation_processed_v3.csv", "test_processed_v3.csv"),
    ("metadata.csv",),
    ("*.csv",),
)
_ALONE = ((0,),)


class DiffusionKto(Format):
    """See the module."""

    name: ClassVar[str] = "kto"
    title: ClassVar[str] = "Diffusion-KTO csv"
    loses: ClassVar[tuple[str, ...]] = (
        "who said it, when, and which images were compared: per image and caption only whether it won, lost or both",
        "ties",
        "images without a win or loss",
        "an image's settings and model",
    )
    options: ClassVar[Mapping[str, str]] = {"split": "name of the part that is written: train (default), validation or test"}

    def __init__(self, split: str = "train") -> None:
        if split not in ("train", "validation", "test"):
            raise InvalidInputError(f"split is '{split[:80]}'; it may be train, validation or test.")
        self._split = split

    def size(self, path: Path) -> int:
        """Bytes of all files."""
        found = _find(path)
        if len(found) == 1:
            _columns(found[0])
        return sources.total(found)

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """See the base; a row of the csv is a row."""
        return sources.read(_find(path), after, lambda source: _rows(source, after))

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """See the base; the csv is written last."""
        empty_folder(path)
        with Tally() as names, Tally() as labels:
            images = ImageFolder(dataset, path, self._split, report, names)
            for done, (answer, shown) in enumerate(dataset.feedback(), 1):
                _count(answer, shown, images, labels, report)
                if done % EVERY == 0:
                    yield done
            if not len(labels):
                raise InvalidInputError("There is nothing for Diffusion-KTO: no image with a file won, lost or was labelled.")
            for image in dataset.images():
                if names.noted(image.key) is None:
                    report.leave_out("the image neither won nor lost nor has a label", image.key)
            name = f"{self._split}_processed_v3.csv"
            _write_csv(path / name, labels, names)
            report.wrote(name)


def _find(path: Path) -> list[Source]:
    return sources.find(path, "a csv file of Diffusion-KTO", *_PATTERNS)


def _columns(source: Source) -> tuple[str, str]:
    """Names of the columns with the file and the split."""
    head = text.csv_head(source.path)
    for file, split in (("file_name", "split"), ("file_path", "label"), ("file_name", "label"), ("file_path", "split")):
        if file in head and split in head:
            return file, split
    raise InvalidInputError(
        f"{source.path} has the columns {', '.join(head)[:300]}; Diffusion-KTO has file_name, caption, split or file_path, caption, label."
    )


def _rows(source: Source, after: int) -> Iterator[Row]:
    file, split = _columns(source)
    start, name, tokens = source.start, source.name, Occurrences()
    for values, number, position, problem in text.csv_rows(source.path):
        done = start + position
        if values is None:
            yield Row(done, f"{name}, line {number}", problem=problem)
            continue
        said, image = values[split].strip(), values[file]
        prompt = values.get("caption", "")
        token = tokens.token(name, image, prompt, said)
        if done > after:
            yield _row(done, f"{name}, line {number}", image, prompt, said, token)


def _row(done: int, place: str, file: str, prompt: str, said: str, token: str) -> Row:
    try:
        path = files.relative(file)
    except InvalidInputError as error:
        return Row(done, place, problem=str(error))
    if prompt in ("NaN", "nan"):  # of a missing one
        prompt = ""
    images = (ImageEntry(path, prompt, path),)
    if said not in _SPLITS:
        return Row(done, place, images, problem=f"{said[:80]!r} is none of exclusive_win, exclusive_lose, intersections")
    kind, about = _SPLITS[said]
    return Row(done, place, images, (FeedbackEntry(kind, (path,), _ALONE, token, prompt, about=about),))


def _count(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], images: ImageFolder, labels: Tally, report: WriteReport) -> None:
    """Add an answer's wins and losses; an image wins against every one of a lower tier."""
    if len(answer.tiers) == 1 and len(shown) > 1:
        report.leave_out("the answer is a tie", answer.token)
        return
    if not images.all(*shown):
        return
    report.feedback += 1
    last = len(answer.tiers) - 1
    for at, tier in enumerate(answer.tiers):
        wins, losses = int(at < last or answer.kind == "like"), int(at > 0 or answer.kind == "dislike")
        if len(shown) == 1 and answer.about.get("split") == "intersections":
            wins = losses = 1
        for position in tier:
            labels.add(shown[position].key, caption(answer, shown[position]), first=wins, second=losses)


def _write_csv(path: Path, labels: Tally, names: Tally) -> None:
    with csv_file(path) as writer:
        writer.writerow(["file_name", "caption", "split"])
        for (key, prompt), wins, losses in labels.items():
            split = "intersections" if wins and losses else "exclusive_win" if wins else "exclusive_lose"
            writer.writerow([names.noted(key), prompt, split])
