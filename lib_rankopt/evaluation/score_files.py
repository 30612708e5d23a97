"""Scores of images in files, in batches, and their means."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.evaluation.image_files import Picture, ScoredFile, Source, is_current, pixels_of, read
from lib_rankopt.evaluation.statistics import Estimate, mean_interval
from lib_rankopt.scorers.base import CALIBRATED, JOINED
from lib_rankopt.scorers.prompts import without_tags

if TYPE_CHECKING:
    from lib_rankopt.scorers.base import Scorer

_BATCH = 16
_MOST_PIXELS = 64_000_000  # of a batch; two of them are in memory
_MOST_KNOWN = 256  # files with known scores that are told together
_READERS = min(8, os.cpu_count() or 1)  # decoding a PNG takes longer than scoring it on a GPU


@dataclass(frozen=True)
class SummaryRow:
    """Scores of one folder by one scorer; folder ``None`` is all of them together."""

    folder: str | None
    scorer: str
    estimate: Estimate


def score_files(
    sources: Iterable[Source], scorers: Mapping[str, Scorer], prompt: str = "", known: Mapping[str, ScoredFile] | None = None
) -> Generator[list[ScoredFile], None, None]:
    """Score files in batches and yield each batch, in the order of the files. A file that cannot be read or scored costs only itself.

    Of animated images the first picture is scored. The pixels are taken as they are stored, whatever EXIF says about their orientation.

    Args:
        sources: files, read as the work goes on.
        scorers: by name, on the device where they are to work.
        prompt: of all images; empty takes each one's own, see :func:`~lib_rankopt.evaluation.image_prompts.prompt_in`.
        known: scores of an earlier run by file. They are taken where size and time of the file and the prompt are still the same.

    Raises:
        InvalidInputError: a scorer's scores of different batches do not compare.
    """
    for name, scorer in scorers.items():
        if scorer.info.is_relative:
            raise relative(name)
    return _run(sources, scorers, without_tags(prompt), known or {})


def relative(name: str) -> InvalidInputError:
    """What is said against a scorer that only ranks."""
    names = name.split(JOINED)
    return InvalidInputError(
        f"The scorer '{name}' ranks the images of one call among each other, so its scores of images that are scored one after the other "
        f"would not compare. Name the scorers apart, --scorer {','.join(names)}, or calibrate them (--calibrate) and take "
        f"{JOINED.join(CALIBRATED + one.removeprefix(CALIBRATED) for one in names)}."
    )


def _run(
    sources: Iterable[Source], scorers: Mapping[str, Scorer], prompt: str, known: Mapping[str, ScoredFile]
) -> Generator[list[ScoredFile], None, None]:
    by_prompt = any(one.info.uses_prompt for one in scorers.values())

    def kept(source: Source) -> ScoredFile | None:
        found = known.get(source.file)
        return found if found is not None and is_current(found, source, prompt, by_prompt) else None

    with ThreadPoolExecutor(_READERS) as pool:
        for batch in _read_ahead(_batches(sources, kept), lambda source: pool.submit(read, source, prompt)):
            yield _scored(batch, scorers)


def _batches(
    sources: Iterable[Source], kept: Callable[[Source], ScoredFile | None]
) -> Iterator[list[tuple[Source, ScoredFile | None]]]:
    """Files with what is known of them, as many together as are scored together."""
    batch: list[tuple[Source, ScoredFile | None]] = []
    count = pixels = 0
    for source in sources:
        batch.append((source, kept(source)))
        if batch[-1][1] is None:
            count, pixels = count + 1, pixels + pixels_of(source)
        if count == _BATCH or pixels >= _MOST_PIXELS or len(batch) == _MOST_KNOWN:
            yield batch
            batch, count, pixels = [], 0, 0
    if batch:
        yield batch


def _read_ahead(
    batches: Iterable[list[tuple[Source, ScoredFile | None]]], start: Callable[[Source], Future[Picture]]
) -> Iterator[list[Picture]]:
    """Batches as they were read; the next one is read while one is scored."""
    waiting: list[Future[Picture] | Picture] = []
    for batch in batches:
        started = [start(source) if known is None else Picture(known) for source, known in batch]
        if waiting:
            yield [_result(one) for one in waiting]
        waiting = list(started)
    if waiting:
        yield [_result(one) for one in waiting]


def _result(one: Future[Picture] | Picture) -> Picture:
    return one if isinstance(one, Picture) else one.result()


def _scored(pictures: Sequence[Picture], scorers: Mapping[str, Scorer]) -> list[ScoredFile]:
    scores: list[dict[str, float]] = [{} for _ in pictures]
    errors: list[dict[str, str]] = [{} for _ in pictures]
    for name, scorer in scorers.items():
        rows = []
        for row, one in enumerate(pictures):
            if one.record.is_known:
                scores[row][name] = one.record.scores[name]
            elif one.image is None:
                errors[row][name] = one.error
            elif scorer.info.uses_prompt and not one.record.prompt:
                errors[row][name] = one.no_prompt
            else:
                rows.append(row)
        for row, outcome in zip(rows, _outcomes(scorer, [pictures[row] for row in rows]), strict=True):
            if isinstance(outcome, str):
                errors[row][name] = outcome
            else:
                scores[row][name] = outcome
    return [replace(one.record, scores=scores[row], errors=errors[row]) for row, one in enumerate(pictures)]


def _outcomes(scorer: Scorer, pictures: Sequence[Picture]) -> list[float | str]:
    """A score for each picture, or why there is none. Where a batch is refused each picture is asked for by itself."""
    if not pictures:
        return []
    try:
        values = scorer.score([one.image for one in pictures if one.image], [one.record.prompt for one in pictures])
    except (InvalidInputError, ModelError) as error:
        if len(pictures) == 1:
            return [str(error)]
        return [outcome for one in pictures for outcome in _outcomes(scorer, [one])]
    return [value if math.isfinite(value) else f"the scorer gave {value}" for value in map(float, values)]


class Tally:
    """Counts files and keeps their scores, eight bytes each, for the summary."""

    def __init__(self) -> None:
        self.files = self.known = self.failed = 0
        self._values: dict[tuple[str, str], array[float]] = {}

    def add(self, record: ScoredFile) -> None:
        """Count one file."""
        self.files += 1
        self.known += record.is_known
        self.failed += bool(record.errors)
        folder = str(Path(record.file).parent)
        for name, score in record.scores.items():
            self._values.setdefault((folder, name), array("d")).append(score)

    def scores(self, scorer: str) -> list[float]:
        """All scores of a scorer."""
        return [score for (_, name), values in self._values.items() if name == scorer for score in values]

    def rows(self) -> list[SummaryRow]:
        """Mean and 95 % interval for each folder that holds images, and of several folders for all together."""
        rows = [SummaryRow(folder, name, mean_interval(values)) for (folder, name), values in self._values.items()]
        if len({row.folder for row in rows}) < 2:
            return rows
        names = dict.fromkeys(row.scorer for row in rows)
        return rows + [SummaryRow(None, name, mean_interval(self.scores(name))) for name in names]
