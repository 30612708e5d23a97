"""HPD v1, of "Better Aligning Text-to-Image Models with Human Preference": one choice among several images.

``preference_train.json`` and ``preference_test.json`` are lists of ``{human_preference, prompt, id, file_path, user_hash, contain_name}``
as the README of ``tgxs002/align_sd`` says: ``human_preference`` is the **index** of the chosen one in ``file_path`` (in HPD v2 it is
one-hot), and paths are relative to the folder of the json.

A ranking is written as choices that say the same: each image chosen among itself and all that stand in lower tiers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import json_tables, sources, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.json_tables import Made
from lib_rankopt.store.formats.shapes import Occurrences, about, caption, choice, choices, compared
from lib_rankopt.store.formats.sources import Source
from lib_rankopt.store.formats.writing import (
    EVERY,
    NO_LABELS,
    NO_TIES,
    ImageFolder,
    JsonList,
    count_unused,
    empty_folder,
    whole_file,
)


class Hpd1(Format):
    """See the module."""

    name: ClassVar[str] = "hpd1"
    title: ClassVar[str] = "HPD v1 json"
    loses: ClassVar[tuple[str, ...]] = ("ties", "likes and dislikes", "when something was said", "an image's settings and model")
    options: ClassVar[Mapping[str, str]] = {"split": "name of the part that is written: train (default) or test"}

    def __init__(self, split: str = "train") -> None:
        if split not in ("train", "test"):
            raise InvalidInputError(f"split is '{split[:80]}'; it may be train or test.")
        self._split = split

    def size(self, path: Path) -> int:
        """Bytes of all files."""
        return sources.total(_find(path))

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """See the base; an instance is a row."""
        return sources.read(_find(path), after, _rows)

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """See the base."""
        empty_folder(path)
        name = f"preference_{self._split}.json"
        with Tally() as names, whole_file(path / name) as file:
            images, out = ImageFolder(dataset, path, "preference_images", report, names), JsonList(file)
            for done, (answer, shown) in enumerate(dataset.feedback(), 1):
                if said := _choices(answer, shown, report):
                    _write(answer, shown, said, images, out, report)
                if done % EVERY == 0:
                    yield done
            if not out.count:
                raise InvalidInputError("There is nothing for HPD v1: no image with a file was preferred to another one.")
            out.close()
            count_unused(dataset, names, report)
        report.wrote(name)


def _find(path: Path) -> list[Source]:
    return sources.find(path, "a json file of HPD v1", ("preference_train.json", "preference_test.json"), ("*.json",))


def _rows(source: Source) -> Iterator[Row]:
    return json_tables.rows(source, text.json_list(source.path), _made)


def _made(values: Mapping[str, Any], tokens: Occurrences) -> Made:
    paths, prompt = json_tables.paths(values, "file_path"), text.word(values, "prompt")
    images = tuple(ImageEntry(path, prompt, path) for path in paths)
    try:
        best, rater = text.whole(values, "human_preference"), text.word(values, "user_hash")
    except InvalidInputError as error:
        return Made(images, problem=f"{error}; HPD v1 has the chosen one's index in human_preference")
    if not 0 <= best < len(images):
        return Made(images, problem=f"human_preference is {str(best)[:80]}, no index of {len(images)} images")
    if len(images) < 2:
        return Made(images, problem="there is one image only, so nothing was chosen")
    token = tokens.token(str(values.get("id")), rater, str(best), *paths)
    more = about(values, "id", "contain_name")
    return Made(images, (FeedbackEntry(compared(len(images)), tuple(paths), choice(best, len(images)), token, prompt, rater, about=more),))


def _choices(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], report: WriteReport) -> list[tuple[int, tuple[int, ...]]]:
    if len(shown) < 2:
        report.leave_out(NO_LABELS, answer.token)
        return []
    found = list(choices(answer.tiers))
    if not found or any(len(tier) > 1 for tier in answer.tiers[:-1]):
        report.leave_out(NO_TIES, answer.token)
    return found


def _write(
    answer: FeedbackEntry,
    shown: tuple[ImageEntry, ...],
    said: list[tuple[int, tuple[int, ...]]],
    images: ImageFolder,
    out: JsonList,
    report: WriteReport,
) -> None:
    if not (names := images.all(*shown)):
        return
    report.feedback += 1
    known = answer.about.get("id")
    for best, worse in said:
        order = sorted((best, *worse))
        out.add(
            {
                "human_preference": order.index(best),
                "prompt": caption(answer, shown[best]),
                "id": known if isinstance(known, int) and len(said) == 1 else out.count,
                "file_path": [names[i] for i in order],
                "user_hash": answer.rater,
                "contain_name": answer.about.get("contain_name") is True,
            }
        )
