"""HPD v1 and v2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import Row, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, Statement, as_it_is, as_pairs, only
from tests.store.formats.datasets import MemoryDataset, key_of, picture, small


def write(path: Path, elements: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(elements), encoding="utf-8")
    return path


def as_choices(dataset: MemoryDataset) -> list[Statement]:
    """Each image chosen among itself and all below it."""
    found = []
    for said in only("pair", "ranking")(dataset):
        for at, tier in enumerate(said.tiers[:-1]):
            worse = tuple(sorted(key for lower in said.tiers[at + 1 :] for key in lower))
            kind = "pair" if len(worse) == 1 else "ranking"
            found += [Statement(kind, ((key,), worse), said.prompt, said.rater) for key in tier]
    return found


def compared(*numbers: int) -> Any:
    return lambda dataset: {key_of(n) for n in numbers}


def v1(n: int, **changes: Any) -> dict[str, Any]:
    made = {"human_preference": n % 3, "prompt": f"p {n}", "id": n, "user_hash": f"u{n % 7}", "contain_name": False}
    return {**made, "file_path": [f"preference_images/{n}_{i}.jpg" for i in range(3)], **changes}


def v2(n: int, **changes: Any) -> dict[str, Any]:
    made = {"prompt": f"p {n}", "file_path": [f"{n}a.jpg", f"{n}b.jpg"], "human_preference": [n % 2, 1 - n % 2], "user_hash": "ab"}
    return {**made, **changes}


def ranked(n: int, **changes: Any) -> dict[str, Any]:
    raw = [{"rank": [1, 2, 3], "user_hash": "a"}, {"rank": [1, 3, 2], "user_hash": "b"}]
    return {"prompt": f"p {n}", "image_path": [f"{n}_{i}.jpg" for i in range(3)], "rank": [1, 2, 2], "raw_annotations": raw, **changes}


class TestHpd1(FormatConformance):
    case = Case(
        "hpd1",
        expected=as_choices,
        keeps=("prompt", "rater"),
        images=compared(1, 2, 3, 4, 5, 6, 8),
        text="*.json",
        many=lambda folder, rows: write(folder / "preference_train.json", [v1(n) for n in range(rows)]),
        hostile=lambda folder: write(
            folder / "a.json", [v1(0, file_path=["../x.jpg", "y.jpg"]), v1(1, file_path=["/etc/passwd", "b"]), v1(2)]
        ),
    )


class TestHpd2(FormatConformance):
    case = Case(
        "hpd2",
        expected=only("pair", "ranking"),
        keeps=("prompt", "rater"),
        images=compared(1, 2, 3, 4, 5, 6, 8),
        text="*.json",
        many=lambda folder, rows: write(folder / "train.json", [v2(n) for n in range(rows)]),
        hostile=lambda folder: write(
            folder / "test.json", [ranked(0, image_path=["../x", "y", "z"]), ranked(1, image_path=["\\\\h\\x", "y"]), ranked(2)]
        ),
    )


class TestHpd2Pairs(FormatConformance):
    case = Case(
        "hpd2",
        {"rankings": "pairs"},
        expected=lambda dataset: [said for said in as_pairs(dataset) if len(said.tiers) == 2],
        keeps=("prompt", "rater"),
        images=compared(1, 2, 3, 4, 5, 6, 8),
        text="*.json",
    )


def read(name: str, path: Path) -> list[Row]:
    return list(formats.get(name).rows(path))


def test_v1_has_an_index(tmp_path: Path) -> None:
    (row,) = read("hpd1", write(tmp_path / "preference_train.json", [v1(1, id=77, contain_name=True)]))
    (said,) = row.feedback
    assert said.images == tuple(f"preference_images/1_{i}.jpg" for i in range(3))
    assert (said.kind, said.tiers, said.rater) == ("ranking", ((1,), (0, 2)), "u1")
    assert said.about == {"id": 77, "contain_name": True}
    assert row.images[0].path == "preference_images/1_0.jpg"


@pytest.mark.parametrize(
    ("changes", "images"),
    [
        ({"human_preference": [1, 0, 0]}, 3),
        ({"human_preference": 3}, 3),
        ({"human_preference": -1}, 3),
        ({"human_preference": 10**500}, 3),
        ({"human_preference": None}, 3),
        ({"file_path": "a.jpg"}, 0),
        ({"file_path": ["a.jpg", "a.jpg"]}, 0),
        ({"file_path": ["a.jpg"], "human_preference": 0}, 1),
        ({"file_path": [1, 2]}, 0),
        ({"prompt": ["a"]}, 0),
    ],
)
def test_v1_bad_rows_are_named(tmp_path: Path, changes: dict[str, Any], images: int) -> None:
    rows = read("hpd1", write(tmp_path / "preference_train.json", [v1(0), v1(1, **changes), v1(2), 5]))
    assert [bool(row.problem) for row in rows] == [False, True, False, True]
    assert rows[1].place == "preference_train.json, element 2"
    assert len(rows[1].images) == images
    assert not rows[1].feedback


def test_v1_ids_and_names_come_back(tmp_path: Path) -> None:
    first = read("hpd1", write(tmp_path / "in" / "preference_train.json", [v1(1, id=77, contain_name=True)]))[0]
    dataset = MemoryDataset(
        entries=list(first.images), answers=list(first.feedback), files={f"preference_images/1_{i}.jpg": picture(i) for i in range(3)}
    )
    list(formats.get("hpd1").write(dataset, tmp_path / "out", WriteReport()))
    (element,) = json.loads((tmp_path / "out" / "preference_train.json").read_text(encoding="utf-8"))
    assert (element["id"], element["contain_name"], element["human_preference"], element["user_hash"]) == (77, True, 1, "u1")


def test_v2_is_one_hot_and_lies_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    write(tmp_path / "train.json", [v2(1), v2(2)])
    write(tmp_path / "test.json", [ranked(3)])
    first, second, third = read("hpd2", tmp_path)
    assert first.feedback[0].tiers == ((0,), (1,))
    assert second.feedback[0].tiers == ((1,), (0,))
    assert [image.path for image in first.images] == ["train/1a.jpg", "train/1b.jpg"]
    assert [image.path for image in third.images] == ["3_0.jpg", "3_1.jpg", "3_2.jpg"]  # there is no folder test/
    assert [(said.rater, said.tiers) for said in third.feedback] == [("a", ((0,), (1,), (2,))), ("b", ((0,), (2,), (1,)))]


def test_v2_annotators_come_back_as_one_element(tmp_path: Path) -> None:
    element = ranked(3, rank=[1, 3, 2])
    (row,) = read("hpd2", write(tmp_path / "test.json", [element]))
    dataset = MemoryDataset(
        entries=list(row.images), answers=list(row.feedback), files={f"3_{i}.jpg": picture(i, "JPEG") for i in range(3)}
    )
    list(formats.get("hpd2").write(dataset, tmp_path / "out", WriteReport()))
    (again,) = json.loads((tmp_path / "out" / "test.json").read_text(encoding="utf-8"))
    assert {**again, "image_path": element["image_path"]} == element
    assert all((tmp_path / "out" / "test" / name).is_file() for name in again["image_path"])


def test_v2_without_annotators_the_summary_is_the_answer(tmp_path: Path) -> None:
    (row,) = read("hpd2", write(tmp_path / "test.json", [ranked(3, raw_annotations=None)]))
    assert [said.tiers for said in row.feedback] == [((0,), (1, 2))]


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({"raw_annotations": [{"rank": [1, 2], "user_hash": "a"}, {"rank": [3, 2, 1], "user_hash": "b"}]}, 1),
        ({"raw_annotations": [{"rank": "1 2 3"}, {"rank": [float("nan"), 2, 1]}, 7, {"rank": [1, True, 2]}]}, 0),
        ({"raw_annotations": [{"rank": [10**30, 2, -1], "user_hash": "a"}, {"rank": [1, 2, 3], "user_hash": 5}]}, 1),
        ({"raw_annotations": [], "rank": 4}, 0),
    ],
)
def test_v2_bad_annotations_are_left_out(tmp_path: Path, changes: dict[str, Any], good: int) -> None:
    (row,) = read("hpd2", write(tmp_path / "test.json", [ranked(3, **changes)]))
    assert row.problem
    assert len(row.feedback) == good
    assert len(row.images) == 3


@pytest.mark.parametrize("label", [[1, 1], [0, 0], 1, [1, 0, 0], [0.5, 0.5], None, "10"])
def test_v2_bad_labels_are_named(tmp_path: Path, label: Any) -> None:
    (row,) = read("hpd2", write(tmp_path / "train.json", [v2(1, human_preference=label)]))
    assert "human_preference" in row.problem
    assert len(row.images) == 2


def test_v2_lists_of_prompts_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "anime.json", ["a fox", "a cat"])
    with pytest.raises(InvalidInputError, match="select"):
        read("hpd2", path)


def test_v2_the_published_loader_reads_what_is_written(tmp_path: Path) -> None:
    """``HPDDataset`` opens every path below the image folder and takes the list as the label; ``RankingDataset`` likewise with rank."""
    dataset = small()
    list(formats.get("hpd2").write(dataset, tmp_path / "out", WriteReport()))
    train = json.loads((tmp_path / "out" / "train.json").read_text(encoding="utf-8"))
    test = json.loads((tmp_path / "out" / "test.json").read_text(encoding="utf-8"))
    assert [element["human_preference"] for element in train] == [[1, 0], [0, 1]]
    for folder, elements, column in (("train", train, "file_path"), ("test", test, "image_path")):
        assert all((tmp_path / "out" / folder / name).is_file() for element in elements for name in element[column])
    assert [element["rank"] for element in test] == [[1, 1], [2, 3, 1, 2], [1, 2, 2]]


def test_a_list_that_is_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", [v2(n) for n in range(5)])
    path.write_bytes(path.read_bytes()[:-20])
    rows = read("hpd2", path)
    assert [bool(row.feedback) for row in rows] == [True] * 4 + [False]
    assert rows[-1].problem


def test_everything_said_of_the_small_data_set_is_in_it() -> None:
    assert len(as_it_is(small())) == 8
