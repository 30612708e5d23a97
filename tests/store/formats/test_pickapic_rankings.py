"""PickaPic-rankings: the best of up to four, by uid."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import Row, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, Statement, only
from tests.store.formats.datasets import MemoryDataset, key_of, small

COLUMNS = ["ranking_id", "created_at", "user_id", "image_1_uid", "image_2_uid", "image_3_uid", "image_4_uid", "best_image_uid", "prompt"]


def ranking(n: int, **changes: Any) -> dict[str, Any]:
    made = {"ranking_id": n, "created_at": "2023-02-16 10:11:12.131415", "user_id": n % 7, "prompt": f"p, {n}"}
    uids = {f"image_{i}_uid": f"{n}-{i}" for i in range(1, 5)}
    return {**made, **uids, "best_image_uid": f"{n}-{n % 4 + 1}", **changes}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        out.writerows(rows)
    return path


def read(path: Path) -> list[Row]:
    return list(formats.get("pickapic-rankings").rows(path))


def as_choices(dataset: MemoryDataset) -> list[Statement]:
    """Each image chosen among itself and all below it; ties of all as they are."""
    found = []
    for said in only("pair", "ranking")(with_the_gone_one(dataset)):
        if len(said.tiers) == 1:
            found.append(said)
        for at, tier in enumerate(said.tiers[:-1]):
            worse = tuple(sorted(key for lower in said.tiers[at + 1 :] for key in lower))
            kind = "pair" if len(worse) == 1 else "ranking"
            found += [Statement(kind, ((key,), worse), said.prompt, said.rater, said.created_at) for key in tier]
    return found


def with_the_gone_one(dataset: MemoryDataset) -> MemoryDataset:
    dataset.files[key_of(9)] = b""
    return dataset


class TestPickAPicRankings(FormatConformance):
    case = Case(
        "pickapic-rankings",
        expected=as_choices,
        keeps=("prompt", "rater", "created_at"),
        images=lambda _: {key_of(n) for n in (1, 2, 3, 4, 5, 6, 8, 9)},
        reads_images=False,
        many=lambda folder, rows: write(folder / "rankings.csv", [ranking(n) for n in range(rows)]),
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_published_columns_are_read(tmp_path: Path, kind: str) -> None:
    path, rows = tmp_path / f"train.{kind}", [ranking(n) for n in range(6)]
    if kind == "csv":
        write(path, rows)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    found = read(path)
    (said,) = found[1].feedback
    assert (said.kind, said.images, said.tiers) == ("ranking", ("1-1", "1-2", "1-3", "1-4"), ((1,), (0, 2, 3)))
    assert (said.rater, said.created_at, said.prompt) == ("1", "2023-02-16T10:11:12.131415+00:00", "p, 1")
    assert str(said.about["ranking_id"]) == "1"
    assert found[-1].done == formats.get("pickapic-rankings").size(path)
    assert list(formats.get("pickapic-rankings").rows(path, after=found[2].done)) == found[3:]


def test_fewer_images_ties_and_no_answer(tmp_path: Path) -> None:
    none = {"image_3_uid": "", "image_4_uid": ""}
    rows = [
        ranking(0, **none),
        ranking(1, best_image_uid="none"),
        ranking(2, best_image_uid=""),
        ranking(3, image_4_uid="3-3", best_image_uid="3-3"),
    ]
    pair, tie, silent, twice = read(write(tmp_path / "x.csv", rows))
    assert (pair.feedback[0].kind, pair.feedback[0].tiers) == ("pair", ((0,), (1,)))
    assert tie.feedback[0].tiers == ((0, 1, 2, 3),)
    assert not silent.feedback
    assert len(silent.images) == 4
    assert twice.feedback[0].tiers == ((2,), (0, 1))
    assert not any(row.problem for row in (pair, tie, silent, twice))


def test_bad_rows_are_named(tmp_path: Path) -> None:
    alone = {f"image_{i}_uid": "" for i in (2, 3, 4)}
    rows = [ranking(0, best_image_uid="other"), ranking(1, best_image_uid="1-1", **alone), ranking(2, image_1_uid="", **alone), ranking(3)]
    found = read(write(tmp_path / "x.csv", rows))
    assert [bool(row.problem) for row in found] == [True, True, True, False]
    assert found[0].place == "x.csv, line 2"
    with pytest.raises(InvalidInputError, match="image_1_uid"):
        read(_text(tmp_path / "y.csv", "a,b\n1,2\n"))


def _text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_long_rankings_are_written_four_at_a_time(tmp_path: Path) -> None:
    dataset = small()
    keys = tuple(key_of(n) for n in (3, 4, 5, 8, 1, 2))
    dataset.answers = [type(dataset.answers[0])("ranking", keys, ((0,), (1, 2, 3, 4, 5)), "t")]
    report = WriteReport()
    list(formats.get("pickapic-rankings").write(dataset, tmp_path / "out", report))
    found = read(tmp_path / "out")
    assert [len(row.images) for row in found] == [4, 3]
    assert all(row.feedback[0].images[row.feedback[0].tiers[0][0]] == keys[0] for row in found)
    assert {row.feedback[0].about["ranking_id"] for row in found} == {"t-1", "t-2"}
    assert report.feedback == 1
