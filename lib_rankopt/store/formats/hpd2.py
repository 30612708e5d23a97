"""HPD v2: pairs for training, rankings by several annotators for the test.

As the README of ``tgxs002/HPSv2`` says and its ``hpsv2/src/training/data.py`` loads (``HPDDataset``, ``RankingDataset``): ``train.json`` is
a list of ``{prompt, file_path, human_preference, user_hash}`` with two paths and a **one-hot** list, ``test.json`` one of ``{prompt,
image_path, rank, raw_annotations}``, where ``rank`` sums up the annotators (per image, lower is better) and ``raw_annotations`` (or
``raw_annotation``) holds ``{rank, user_hash}`` of each. Paths are relative to ``train/`` and ``test/`` beside them, or to the folder itself
where there are no such ones. Each annotator's ranking is an answer of its own; the summary is kept in ``about["rank"]``.

The lists of prompts in ``benchmark/`` have no images and are refused.

Written: strict pairs into ``train.json``, everything else that compares into ``test.json``; ``rankings=pairs`` writes rankings as pairs
for training instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import json_tables, sources, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.grouping import Groups, Tally
from lib_rankopt.store.formats.json_tables import Made
from lib_rankopt.store.formats.shapes import FIRST, SECOND, Occurrences, caption, compared, numbers, ranks_of, tiers_of
from lib_rankopt.store.formats.sources import Source
from lib_rankopt.store.formats.writing import EVERY, NO_LABELS, ImageFolder, JsonList, count_unused, empty_folder, strict_pairs, whole_file

_MOST_ANNOTATORS = 1000
_RAW = ("raw_annotations", "raw_annotation")


class Hpd2(Format):
    """See the module."""

    name: ClassVar[str] = "hpd2"
    title: ClassVar[str] = "HPD v2 json"
    loses: ClassVar[tuple[str, ...]] = ("likes and dislikes", "when something was said", "an image's settings and model")
    options: ClassVar[Mapping[str, str]] = {
        "rankings": "where rankings and ties are written: test (default, nothing is lost) or pairs (as pairs of train.json, without ties)"
    }

    def __init__(self, rankings: str = "test") -> None:
        if rankings not in ("test", "pairs"):
            raise InvalidInputError(f"rankings is '{rankings[:80]}'; it may be test or pairs.")
        self._all_pairs = rankings == "pairs"

    def size(self, path: Path) -> int:
        """Bytes of all files."""
        found = _find(path)
        for source in found:
            _refuse_prompts(source)
        return sources.total(found)

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """See the base; an element of either list is a row."""
        return sources.read(_find(path), after, _rows)

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """See the base."""
        empty_folder(path)
        with ExitStack() as stack:
            names, others = stack.enter_context(Tally()), stack.enter_context(Tally())
            groups = stack.enter_context(Groups())
            train = ImageFolder(dataset, path, "train", report, names)
            test = ImageFolder(dataset, path, "test", report, others)
            out = JsonList(stack.enter_context(whole_file(path / "train.json")))
            for done, (answer, shown) in enumerate(dataset.feedback(), 1):
                if len(shown) < 2:
                    report.leave_out(NO_LABELS, answer.token)
                elif self._all_pairs or answer.tiers in (FIRST, SECOND):
                    _write_pairs(answer, shown, train, out, report)
                else:
                    _collect(answer, shown, test, groups, report)
                if done % EVERY == 0:
                    yield done
            if not out.count and not len(groups):
                raise InvalidInputError("There is nothing for HPD v2: no images with files were compared.")
            out.close()
            if len(groups):
                _write_test(stack, path, groups)
                report.wrote("test.json")
            count_unused(dataset, names, report, others)
        report.wrote("train.json")


def _find(path: Path) -> list[Source]:
    return sources.find(path, "a json file of HPD v2", ("train.json", "test.json"), ("*.json",))


def _refuse_prompts(source: Source) -> None:
    first = next(iter(text.json_list(source.path)), None)
    if first is not None and isinstance(first.value, str):
        raise InvalidInputError(f"{source.path} is a list of prompts without images; the command 'select' uses those of the benchmark.")


def _rows(source: Source) -> Iterator[Row]:
    _refuse_prompts(source)
    folder = source.path.stem
    below = folder if (source.path.parent / folder).is_dir() else ""

    def make(values: Mapping[str, Any], tokens: Occurrences) -> Made:
        return _ranked(values, below, tokens) if "image_path" in values else _pair(values, below, tokens)

    return json_tables.rows(source, text.json_list(source.path), make)


def _pair(values: Mapping[str, Any], below: str, tokens: Occurrences) -> Made:
    paths, prompt = json_tables.paths(values, "file_path", below), text.word(values, "prompt")
    images = tuple(ImageEntry(path, prompt, path) for path in paths)
    chosen = values.get("human_preference")
    if len(images) != 2 or chosen not in ([1, 0], [0, 1]):
        return Made(images, problem=f"human_preference is {str(chosen)[:80]} of {len(images)} images; HPD v2 has [1, 0] or [0, 1] of two")
    try:
        rater = text.word(values, "user_hash")
    except InvalidInputError as error:
        return Made(images, problem=str(error))
    first = chosen == [1, 0]
    token = tokens.token(prompt, rater, str(first), *paths)
    return Made(images, (FeedbackEntry("pair", tuple(paths), FIRST if first else SECOND, token, prompt, rater),))


def _ranked(values: Mapping[str, Any], below: str, tokens: Occurrences) -> Made:
    paths, prompt = json_tables.paths(values, "image_path", below), text.word(values, "prompt")
    images = tuple(ImageEntry(path, prompt, path) for path in paths)
    found: list[FeedbackEntry] = []
    problems: list[str] = []
    raw = next((values[name] for name in _RAW if values.get(name)), None)
    annotations = raw[:_MOST_ANNOTATORS] if isinstance(raw, list) else [values]
    for annotation in annotations:
        try:
            found.append(_answer(annotation, paths, prompt, values if isinstance(raw, list) else {}, tokens))
        except InvalidInputError as error:
            problems.append(str(error))
    return Made(images, tuple(found), "; ".join(problems[:3]))


def _answer(annotation: Any, paths: list[str], prompt: str, summary: Mapping[str, Any], tokens: Occurrences) -> FeedbackEntry:
    if not isinstance(annotation, dict):
        raise InvalidInputError(f"an annotation is {str(annotation)[:80]!r}, no object with rank and user_hash")
    ranks, rater = numbers(annotation.get("rank"), "rank"), text.word(annotation, "user_hash")
    if len(ranks) != len(paths) or len(paths) < 2:
        raise InvalidInputError(f"rank has {len(ranks)} numbers for {len(paths)} images")
    try:
        more = {"rank": numbers(summary.get("rank"), "rank")}
    except InvalidInputError:
        more = {}
    token = tokens.token(prompt, rater, *map(repr, ranks), *paths)
    return FeedbackEntry(compared(len(paths)), tuple(paths), tiers_of(ranks), token, prompt, rater, about=more)


def _write_pairs(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], images: ImageFolder, out: JsonList, report: WriteReport) -> None:
    strict = strict_pairs(answer, report)
    if not strict or not (names := images.all(*shown)):
        return
    report.feedback += 1
    for better, worse in strict:
        first, second = sorted((better, worse))
        out.add(
            {
                "prompt": caption(answer, shown[better]),
                "file_path": [names[first].removeprefix("train/"), names[second].removeprefix("train/")],
                "human_preference": [int(first == better), int(second == better)],
                "user_hash": answer.rater,
            }
        )


def _collect(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], images: ImageFolder, groups: Groups, report: WriteReport) -> None:
    """Answers about the same images under one prompt make one element."""
    if not (names := images.all(*shown)):
        return
    report.feedback += 1
    key = json.dumps([caption(answer, shown[0]), [name.removeprefix("test/") for name in names]])
    groups.add(key, json.dumps([ranks_of(answer.tiers), answer.rater, answer.about.get("rank")]))


def _write_test(stack: ExitStack, path: Path, groups: Groups) -> None:
    out = JsonList(stack.enter_context(whole_file(path / "test.json")))
    for key, _, members in groups.items(_MOST_ANNOTATORS):
        prompt, names = json.loads(key)
        said = [json.loads(member) for member in members]
        summaries = [summary for _, _, summary in said]
        ranks = summaries[0] if _agree(summaries, len(names)) else _mean([ranks for ranks, _, _ in said])
        raw = [{"rank": ranks, "user_hash": rater} for ranks, rater, _ in said]
        out.add({"prompt": prompt, "image_path": names, "rank": ranks, "raw_annotations": raw})
    out.close()


def _agree(summaries: list[Any], count: int) -> bool:
    """Whether all answers came with the same summary."""
    first = summaries[0]
    return isinstance(first, list) and len(first) == count and all(other == first for other in summaries)


def _mean(ranks: list[list[int]]) -> list[int]:
    return ranks_of(tiers_of([sum(column) for column in zip(*ranks, strict=True)]))
