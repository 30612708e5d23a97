"""PickaPic-rankings: the best one of up to four images, by uid, as csv, parquet or JSON lines.

Columns as the server of Pick-a-Pic exports them: ``ranking_id, created_at, user_id, image_1_uid … image_4_uid, best_image_uid, prompt``.
``best_image_uid`` is ``none`` where nobody was better: a tie of all. There are no images in it, only their uids.

A ranking is written as choices that say the same: each image chosen among itself and, three at a time, all that stand in lower tiers. A
tie is written where all images of an answer are equal and up to four.
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
from lib_rankopt.store.formats.parquet import Parquet
from lib_rankopt.store.formats.shapes import LONGEST_KEY, Occurrences, about, caption, choice, choices, compared, moment, rater
from lib_rankopt.store.formats.sources import Source
from lib_rankopt.store.formats.writing import EVERY, NO_LABELS, NO_TIES, count_unused, csv_file, empty_folder

_UIDS = tuple(f"image_{i}_uid" for i in range(1, 5))
_COLUMNS = ("ranking_id", "created_at", "user_id", *_UIDS, "best_image_uid", "prompt")
_TIE = "none"
_NEEDED = ("image_1_uid", "image_2_uid", "best_image_uid")


class PickAPicRankings(Format):
    """See the module."""

    name: ClassVar[str] = "pickapic-rankings"
    title: ClassVar[str] = "PickaPic-rankings csv"
    loses: ClassVar[tuple[str, ...]] = (
        "the images themselves",
        "likes and dislikes",
        "ties but of all images",
        "an image's settings and model",
    )

    def size(self, path: Path) -> int:
        """Bytes of all files."""
        return sources.total(_find(path))

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """See the base; a ranking is a row."""
        return sources.read(_find(path), after, _rows)

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """See the base; ``rankings.csv``."""
        empty_folder(path)
        written = 0
        with Tally() as names, csv_file(path / "rankings.csv") as out:
            out.writerow(_COLUMNS)
            for done, (answer, shown) in enumerate(dataset.feedback(), 1):
                said = _said(answer, shown, report)
                report.feedback += bool(said)
                written += len(said)
                for number, (best, among) in enumerate(said, 1):
                    out.writerow(_row(answer, shown, best, among, number if len(said) > 1 else 0))
                for image in shown if said else ():
                    report.images += names.once(image.key)
                    names.note(image.key, text="written")
                if done % EVERY == 0:
                    yield done
            if not written:
                raise InvalidInputError("There is nothing for PickaPic-rankings: no images were compared.")
            count_unused(dataset, names, report)
        report.wrote("rankings.csv")


def _find(path: Path) -> list[Source]:
    return sources.find(
        path, "a csv, parquet or JSON lines file of PickaPic-rankings", ("*.parquet", "data/*.parquet"), ("*.csv",), ("*.jsonl",)
    )


def _rows(source: Source) -> Iterator[Row]:
    kind = source.path.suffix.lower()
    if kind == ".parquet":
        return json_tables.rows(source, _parquet(source), _made, "row")
    lines = text.json_lines(source.path) if kind in (".jsonl", ".json") else text.csv_rows(source.path, _NEEDED)
    return json_tables.rows(source, lines, _made, "line")


def _parquet(source: Source) -> Iterator[text.Line]:
    """Rows of a parquet file; ``done`` is a share of its bytes."""
    with Parquet(source.path) as file:
        if missing := [name for name in _NEEDED if name not in file.columns]:
            raise InvalidInputError(f"{source.path} has no column '{missing[0]}'; its columns are {', '.join(file.columns)[:300]}.")
        columns, number = [name for name in _COLUMNS if name in file.columns], 0
        for group, count in enumerate(file.groups):
            end = number + count
            try:
                for piece in file.pieces(group, columns):
                    for values in piece:
                        number += 1
                        yield text.Line(values, number, _share(number, file.rows, source.size))
            except InvalidInputError as error:
                yield text.Line(None, end, _share(end, file.rows, source.size), str(error))
            number = end


def _share(number: int, rows: int, size: int) -> int:
    """Strictly growing from row to row, also where rows have less than a byte each."""
    return number if rows >= size else max(1, number * size // rows)


def _made(values: Mapping[str, Any], tokens: Occurrences) -> Made:
    prompt, best = text.word(values, "prompt"), text.word(values, "best_image_uid").strip()
    uids = list(dict.fromkeys(uid for name in _UIDS if (uid := text.word(values, name).strip()) and uid != _TIE))
    if max(map(len, uids), default=0) > LONGEST_KEY:
        raise InvalidInputError(f"a uid has more than {LONGEST_KEY} signs")
    if not uids:
        raise InvalidInputError("there is no image_1_uid")
    images = tuple(ImageEntry(uid, prompt) for uid in uids)
    if not best:
        return Made(images)
    if len(uids) < 2:
        return Made(images, problem="there is one image only, so nothing was chosen")
    if best != _TIE and best not in uids:
        return Made(images, problem=f"best_image_uid is {best[:80]!r}, none of the images")
    tiers = (tuple(range(len(uids))),) if best == _TIE else choice(uids.index(best), len(uids))
    who, more = values.get("user_id"), about(values, "ranking_id")
    token = tokens.token(str(values.get("ranking_id")), str(who), best, *uids)
    at = moment(values.get("created_at"))
    return Made(images, (FeedbackEntry(compared(len(images)), tuple(uids), tiers, token, prompt, rater(who), at, about=more),))


def _said(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], report: WriteReport) -> list[tuple[int | None, tuple[int, ...]]]:
    """Choices of one among up to four, ``None`` for a tie, each with the positions that it is among."""
    if len(shown) < 2:
        report.leave_out(NO_LABELS, answer.token)
        return []
    if len(answer.tiers) == 1 and len(shown) <= len(_UIDS):
        return [(None, answer.tiers[0])]
    if any(len(tier) > 1 for tier in answer.tiers[:-1]) or len(answer.tiers) == 1:
        report.leave_out(NO_TIES, answer.token)
    few = len(_UIDS) - 1
    return [
        (best, tuple(sorted((best, *worse[at : at + few])))) for best, worse in choices(answer.tiers) for at in range(0, len(worse), few)
    ]


def _row(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], best: int | None, among: tuple[int, ...], number: int) -> list[object]:
    uids = [shown[position].key for position in among]
    known = answer.about.get("ranking_id", answer.token)
    return [
        f"{known}-{number}" if number else known,
        answer.created_at,
        answer.rater,
        *uids,
        *[""] * (len(_UIDS) - len(uids)),
        _TIE if best is None else shown[best].key,
        caption(answer, shown[among[0]]),
    ]
