"""Feedback from JSON lines: ``{"win", "lose", "prompt"}``, ``{"image", "prompt", "label"}`` or ``{"images": [best first], "prompt"}``.

In ``images`` a list among the names holds those that tie: ``[["a.png", "b.png"], "c.png"]``. ``file_name`` stands for ``image``, as Hugging
Face's image folders call it; a line with no more than that is an image of which nothing is said.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.scorers.prompts import without_tags
from lib_rankopt.training.data.images import training_image
from lib_rankopt.training.data.records import Feedback, LabelledImage, RankedImages, TrainingImage

_LIKED = {1: True, "like": True, 0: False, -1: False, "dislike": False}  # true and false are found as 1 and 0
_INDEX = "metadata.jsonl"


def read(path: Path) -> Feedback:
    """Read a ``.jsonl`` file, or the ``metadata.jsonl`` of a folder. Paths in it are relative to its folder, and stay inside it.

    A line that cannot be used is named in ``problems``; the others count.

    Raises:
        InvalidInputError: the file cannot be read, or no line can be used.
    """
    file = path / _INDEX if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file}: these training data cannot be read: {error}") from error
    reader = _Reader(file)
    for number, line in enumerate(lines, 1):
        if line.strip():
            reader.read(number, line)
    if not reader.rankings and not reader.labels:
        reasons = f" First: {reader.problems[0]}" if reader.problems else " Nothing is said in it."
        raise InvalidInputError(f"{file}: no line can be used.{reasons}")
    return Feedback(tuple(reader.rankings), tuple(reader.labels), tuple(reader.problems))


class _Reader:
    """Collects what the lines of one file say."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.folder = file.parent.resolve()
        self.rankings: list[RankedImages] = []
        self.labels: list[LabelledImage] = []
        self.problems: list[str] = []
        self._seen: dict[Path, TrainingImage] = {}

    def read(self, number: int, line: str) -> None:
        where = f"{self.file.name}, line {number}"
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise InvalidInputError("no JSON object")
            self._row(row, where)
        except (ValueError, RecursionError) as error:  # InvalidInputError is a ValueError
            self.problems.append(f"{where}: {error}")

    def _row(self, row: dict[str, Any], where: str) -> None:
        prompt = row.get("prompt") or ""
        if not isinstance(prompt, str):
            raise InvalidInputError("the prompt is no text")
        prompt, rater = without_tags(prompt), row.get("rater") or "me"
        if not isinstance(rater, str):
            raise InvalidInputError("the rater is no text")
        if "win" in row and "lose" in row:
            pair = (self._image(row["win"]), self._image(row["lose"]))
            if pair[0].sha256 == pair[1].sha256:
                raise InvalidInputError("win and lose are the same image")
            self.rankings.append(RankedImages(prompt, pair, (0, 1), rater, where))
        elif len(names := _names(row.get("images"))) > 1:
            self.rankings.append(self._ranking(names, prompt, rater, where))
        elif "image" in row or ("file_name" in row and row.get("label") not in (None, "")):
            label = row.get("label")
            if not isinstance(label, (bool, int, str)) or label not in _LIKED:
                raise InvalidInputError(f"label is {label!r}; true or false is expected")
            image = self._image(row.get("image", row.get("file_name")))
            self.labels.append(LabelledImage(prompt, image, _LIKED[label], rater, where))
        elif "file_name" not in row:
            raise InvalidInputError("neither win and lose, nor images (two at least), nor image and label")

    def _ranking(self, names: list[tuple[int, Any]], prompt: str, rater: str, where: str) -> RankedImages:
        images = tuple(self._image(name) for _, name in names)
        if len({one.sha256 for one in images}) < len(images):
            raise InvalidInputError("an image stands in the list twice")
        return RankedImages(prompt, images, tuple(tier for tier, _ in names), rater, where)

    def _image(self, name: Any) -> TrainingImage:
        if not isinstance(name, str):
            raise InvalidInputError(f"{name!r} names no image")
        path = (self.folder / name).resolve()
        # a downloaded list must not make the trainer read whatever it names
        if not path.is_relative_to(self.folder):
            raise InvalidInputError(f"{name}: lies outside the folder of the list")
        if path not in self._seen:
            self._seen[path] = training_image(path)
        return self._seen[path]


def _names(images: Any) -> list[tuple[int, Any]]:
    """Each name with its tier, 0 best, of a list of names and of lists of names that tie."""
    if not isinstance(images, list):
        return []
    tiers = [one for one in (listed if isinstance(listed, list) else [listed] for listed in images) if one]
    return [(place, name) for place, tier in enumerate(tiers) for name in tier]
