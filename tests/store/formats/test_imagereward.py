"""ImageRewardDB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import Row, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, check, only
from tests.store.formats.datasets import MemoryDataset, key_of, picture, small


def element(n: int, **changes: Any) -> dict[str, Any]:
    """As in data/test.json."""
    paths = [f"part-{n}/images/0040/{n}-{i}.webp" for i in range(4)]
    return {"id": f"{n:06d}-0040", "prompt": f"p {n}", "generations": paths, "ranking": [1, 2, 5, 2], **changes}


def record(n: int, i: int, **changes: Any) -> dict[str, Any]:
    """As in the index, one per image."""
    made = {
        "image_path": f"images/train/train_1/{n}-{i}.webp",
        "prompt_id": f"{n:06d}-0040",
        "prompt": f"p {n}",
        "classification": "People",
    }
    ratings = {"rank": i // 2 + 1, "overall_rating": 5 - i, "image_text_alignment_rating": 4, "fidelity_rating": 3}
    return {**made, "image_amount_in_total": 3, **ratings, **changes}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def read(path: Path, after: int = 0) -> list[Row]:
    made = formats.get("imagereward")
    rows = list(made.rows(path, after=after))
    for row in rows:
        check(row, made.root(path))
    return rows


def hostile(folder: Path) -> Path:
    paths = [["../a.webp", "b.webp"], ["/etc/passwd", "b.webp"], ["file:///etc/passwd", "c"], ["a/../../b", "c"], ["fine.webp", "too.webp"]]
    return write(folder / "test.json", [element(n, generations=names, ranking=[1, 2]) for n, names in enumerate(paths)])


class TestImageReward(FormatConformance):
    case = Case(
        "imagereward",
        expected=only("pair", "ranking"),
        images=lambda _: {key_of(n) for n in (1, 2, 3, 4, 5, 6, 8)},
        text="*.json",
        many=lambda folder, rows: write(folder / "test.json", [element(n) for n in range(rows)]),
        hostile=hostile,
    )


def beside(folder: Path) -> Path:
    """As the archives of the data set unpack: a list of records with the images."""
    records = [record(n, i, image_path=f"{n}-{i}.webp") for i in range(3) for n in range(6)]
    write(folder / "db" / "images" / "train" / "train_1" / "train_1.json", records)
    write(folder / "db" / "images" / "train" / "train_2" / "one.json", record(99, 0))
    for n in range(6):
        for i in range(3):
            (folder / "db" / "images" / "train" / "train_1" / f"{n}-{i}.webp").write_bytes(picture(i))
    return folder / "db"


class TestImageRewardRecords(FormatConformance):
    case = Case(
        "imagereward",
        example=beside,
        text="**/*.json",
        many=lambda folder, rows: write(folder / "train_1.json", [record(n, i) for i in range(3) for n in range(rows // 3)]),
        hostile=lambda folder: write(folder / "x.json", [record(1, 0, image_path="../../x"), record(1, 1), record(1, 2)]),
    )

    def test_what_was_written_comes_back(self, tmp_path: Path) -> None:
        pytest.skip("another layout is written")


def test_the_repositorys_list_is_read(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path / "test.json", [element(5658)]))
    (said,) = row.feedback
    assert (said.kind, said.tiers, said.prompt) == ("ranking", ((0,), (1, 3), (2,)), "p 5658")
    assert said.about == {"id": "005658-0040", "ranking": [1, 2, 5, 2]}
    assert row.images[0].path == "part-5658/images/0040/5658-0.webp"


@pytest.mark.parametrize(
    "changes",
    [
        {"ranking": [1, 2]},
        {"ranking": 3},
        {"ranking": [1, 2, None, 4]},
        {"ranking": ["1", "2", "3", "4"]},
        {"generations": ["a.webp"], "ranking": [1]},
        {"generations": None},
        {"prompt": 7},
    ],
)
def test_bad_elements_are_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    rows = read(write(tmp_path / "test.json", [element(0), element(1, **changes), element(2)]))
    assert [bool(row.problem) for row in rows] == [False, True, False]
    assert rows[1].place == "test.json, element 2"


def test_the_index_is_put_together_by_prompt(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    records = [record(n, i) for i in range(3) for n in range(3)]
    records[4]["image_path"] = "../x.webp"
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "metadata-train.parquet", row_group_size=2)
    rows = read(tmp_path)
    assert [len(row.images) for row in rows] == [0, 3, 2, 3]
    assert "leads out" in rows[0].problem
    assert rows[0].place == "metadata-train.parquet, record 5"
    (said,) = rows[1].feedback
    assert said.tiers == ((0, 1), (2,))
    assert said.about == {"prompt_id": "000000-0040", "classification": "People", "image_amount_in_total": 3, "id": "000000-0040"}
    assert rows[1].images[1].about == {"rank": 1, "overall_rating": 4, "image_text_alignment_rating": 4, "fidelity_rating": 3}
    assert rows[-1].done == formats.get("imagereward").size(tmp_path) == 9
    for after in range(10):
        assert read(tmp_path, after) == [row for row in rows if row.done > after]


def test_files_beside_the_images_are_read(tmp_path: Path) -> None:
    rows = read(beside(tmp_path))
    assert [len(row.images) for row in rows] == [3] * 6 + [1]
    assert rows[0].images[0].path == "images/train/train_1/0-0.webp"
    assert rows[-1].images[0].path == "images/train/train_1/99-0.webp"
    assert not rows[-1].feedback


@pytest.mark.parametrize("changes", [{"rank": "first"}, {"rank": None}, {"prompt_id": None}, {"image_path": 3}, {"rank": float("inf")}])
def test_bad_records_are_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    rows = read(write(tmp_path / "train_1.json", [record(0, 0), record(0, 1, **changes), record(0, 2)]))
    assert [(bool(row.problem), len(row.images)) for row in rows] == [(True, 0), (False, 2)]


def test_one_prompt_of_too_many_images_is_refused(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "train_1.json", [record(0, i) for i in range(300)] + [record(1, i) for i in range(2)]))
    assert [(bool(row.problem), len(row.images)) for row in rows] == [(True, 0), (False, 2)]


def test_gaps_and_ids_come_back(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path / "test.json", [element(1)]))
    files = {image.key: picture(i, "WEBP") for i, image in enumerate(row.images)}
    dataset = MemoryDataset(entries=list(row.images), answers=list(row.feedback), files=files)
    list(formats.get("imagereward", split="test").write(dataset, tmp_path / "out", WriteReport()))
    (again,) = json.loads((tmp_path / "out" / "test.json").read_text(encoding="utf-8"))
    assert {**again, "generations": element(1)["generations"]} == element(1)
    assert [(tmp_path / "out" / name).read_bytes() for name in again["generations"]] == list(files.values())


def test_the_published_loaders_read_what_is_written(tmp_path: Path) -> None:
    """``rank_pair_dataset`` opens generations below its image base and makes pairs of unequal ranks, lower ones better."""
    list(formats.get("imagereward").write(small(), tmp_path / "out", WriteReport()))
    elements = json.loads((tmp_path / "out" / "train.json").read_text(encoding="utf-8"))
    assert all(set(one) == {"id", "prompt", "generations", "ranking"} for one in elements)
    assert all((tmp_path / "out" / name).is_file() for one in elements for name in one["generations"])
    assert [one["ranking"] for one in elements] == [[1, 2], [2, 1], [1, 1], [2, 3, 1, 2], [1, 2, 2]]


def test_other_json_files_of_the_folder_do_not_count(tmp_path: Path) -> None:
    write(tmp_path / "a.json", {"notes": "of mine"})
    path = write(tmp_path / "test.json", [element(1)])
    (row,) = read(tmp_path)
    assert row.feedback
    assert row.done == formats.get("imagereward").size(tmp_path) == path.stat().st_size


def test_options_are_checked() -> None:
    with pytest.raises(InvalidInputError, match="split"):
        formats.get("imagereward", split="everything")
