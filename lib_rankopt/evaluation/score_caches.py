"""Scores in the files of other programs: Diffusion-DRO's two caches, and our own lines.

``<score>.json`` is one object, path relative to the folder → score. ``pickapicv2_train_<score>.jsonl`` has lines of uid → caption →
score. Lines of ``score --out`` are read too. No file says whose scores it holds, nor on what scale: HPSv2 is × 100 in theirs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.store.blobs import write_atomically

_MOST_WHOLE = 1 << 30  # bytes of a file that is one JSON object


class ScoreCache:
    """Scores by what their file calls an image; see :meth:`get`."""

    def __init__(self) -> None:
        self._by_name: dict[str, float] = {}
        self._by_caption: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._by_name) + len(self._by_caption)

    def get(self, names: Iterable[str], prompt: str) -> float | None:
        """Return the score of an image with a caption, under the first of its names that has one."""
        for name in names:
            found = self._by_caption.get((name, prompt))
            if found is None:
                found = self._by_name.get(name)
            if found is not None:
                return found
        return None

    def add(self, values: Mapping[str, Any], scorer: str) -> None:
        """Take one JSON object in.

        Raises:
            ValueError: it holds something else than scores.
        """
        if isinstance(values.get("file"), str):  # a line of score --out
            given = values.get("scores")
            if not isinstance(given, Mapping) or (not scorer and len(given) > 1):
                raise ValueError("it has scores of several scorers; name the one that counts with --scorer")
            score = given.get(scorer) if scorer else next(iter(given.values()), None)
            if score is not None:
                self._by_name[values["file"]] = _score(score)
            return
        if "summary" in values:
            return
        for name, found in values.items():
            if isinstance(found, Mapping):
                for caption, score in found.items():
                    self._by_caption[name, caption] = _score(score)
            else:
                self._by_name[name] = _score(found)


def _score(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is no score")
    return float(value)


def read(path: Path, scorer: str) -> ScoreCache:
    """Read a file of scores of any of the three kinds; later lines count.

    Args:
        scorer: whose scores of those that a line of ours holds; empty where each has one.

    Raises:
        InvalidInputError: it cannot be read, or a line is something else; the message names the line.
    """
    cache, number = ScoreCache(), 0
    try:
        with path.open("rb") as file:
            lines: Iterable[bytes] = [_whole(file, path)] if path.suffix.lower() == ".json" else file
            for number, line in enumerate(lines, 1):  # noqa: B007  (named in the message below)
                if line.strip():
                    values = json.loads(line)
                    if not isinstance(values, dict):
                        raise ValueError("no JSON object")
                    cache.add(values, scorer)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}, line {number}, holds no scores: {error}.") from error
    return cache


def _whole(file: IO[bytes], path: Path) -> bytes:
    data = file.read(_MOST_WHOLE + 1)
    if len(data) > _MOST_WHOLE:
        raise InvalidInputError(f"{path} has more than {_MOST_WHOLE >> 30} GiB; give the scores as lines (.jsonl).")
    return data


def check_suffix(path: Path) -> None:
    """Refuse a file whose suffix is none of a cache.

    Raises:
        InvalidInputError: it is neither ``.json`` nor ``.jsonl``.
    """
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise InvalidInputError(f"{path}: scores are written as .json (by path) or as .jsonl (by image and caption).")


def write(path: Path, scores: Iterable[tuple[str, str, float]]) -> int:
    """Write (name, caption, score) as Diffusion-DRO reads them: ``.json`` by name, ``.jsonl`` by name and caption. Return how many.

    Raises:
        InvalidInputError: another suffix, or in a ``.json`` a name with two captions. StoreError: it cannot be written.
    """
    check_suffix(path)
    count = 0

    def fill(file: IO[bytes]) -> None:
        nonlocal count
        by_name: dict[str, float] = {}
        for name, caption, score in scores:
            count += 1
            if path.suffix.lower() == ".jsonl":
                file.write(json.dumps({name: {caption: score}}).encode("ascii") + b"\n")
            elif name in by_name:
                raise InvalidInputError(f"{name} has scores with several captions, which a .json by path cannot hold: write a .jsonl.")
            else:
                by_name[name] = score
        if path.suffix.lower() == ".json":
            file.write(json.dumps(by_name).encode("ascii"))

    try:
        write_atomically(path, fill)
    except OSError as error:
        raise StoreError(f"Cannot write to {path}: {error.strerror or error}.") from error
    return count
