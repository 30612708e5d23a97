"""Which format a path has: what our writers write, what the data sets' own files look like, and what is none of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import WriteReport
from lib_rankopt.store.formats.guess import guess
from tests.store.formats.datasets import picture, small

WRITERS = [name for name in formats.names() if formats.find(name).writes]


@pytest.mark.parametrize("name", WRITERS)
def test_what_we_write_is_known_again(name: str, tmp_path: Path) -> None:
    if name in ("pickapic", "imagereward"):
        pytest.importorskip("pyarrow")
    dataset = small()
    path = tmp_path / ("a.rankopt.zip" if name == "archive" else "prompts.json" if name == "spo-prompts" else "out")
    list(formats.get(name).write(dataset, path, WriteReport()))
    assert guess(path) == name


@pytest.mark.parametrize(
    ("file", "content", "wanted"),
    [
        ("train_processed_v3.csv", "file_name,caption,split\na.jpg,x,exclusive_win\n", "kto"),
        ("readme.csv", "file_path,caption,label\na.jpg,x,1\n", "kto"),
        ("semicolons.csv", "file_name;caption;split\n", "kto"),
        ("preference_train.json", '[{"human_preference": 0, "prompt": "x", "file_path": ["a.jpg", "b.jpg"]}]', "hpd1"),
        ("train.json", '[{"human_preference": [1, 0], "prompt": "x", "file_path": ["a.jpg", "b.jpg"]}]', "hpd2"),
        ("test.json", '[{"prompt": "x", "image_path": ["a", "b"], "rank": [1, 2], "raw_annotations": []}]', "hpd2"),
        ("ir.json", '[{"id": "1", "prompt": "x", "generations": ["a", "b"], "ranking": [1, 2]}]', "imagereward"),
        ("4k.json", '[{"caption": "x", "trainset_idx": 3}]', "spo-prompts"),
        ("lines.jsonl", '{"win": "a.png", "lose": "b.png", "prompt": "x"}\n', "jsonl"),
        ("rankings.csv", "ranking_id,created_at,user_id,image_1_uid,image_2_uid,best_image_uid,prompt\n", "pickapic-rankings"),
        ("image_rankings.csv", "Image,ELO,Uncertainty,Upvotes,Downvotes\n", "image-ranker"),
        ("notes.txt", "a caption", None),
        ("empty.csv", "", None),
        ("broken.json", "[{", None),
        ("numbers.json", "[1, 2, 3]", None),
        ("other.csv", "a,b\n1,2\n", None),
        ("no.zip", "plain", None),
        ("cut.parquet", "PAR1", None),
    ],
)
def test_files(file: str, content: str, wanted: str | None, tmp_path: Path) -> None:
    if file.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / file).write_text(content, encoding="utf-8")
    assert guess(tmp_path / file) == wanted


def test_folders(tmp_path: Path) -> None:
    assert guess(tmp_path) is None
    assert guess(tmp_path / "nothing") is None
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.png").write_bytes(picture(0))
    (tmp_path / "notes.json").write_text(json.dumps({"my": "notes"}), encoding="utf-8")
    assert guess(tmp_path) == "folder"
    (tmp_path / "00001").mkdir()
    (tmp_path / "00001" / "caption.txt").write_text("x", encoding="utf-8")
    assert guess(tmp_path) == "dro"


@pytest.mark.parametrize(("sides", "wanted"), [(("w", "l"), "wl-folders"), (("chosen", "rejected"), "folder")])
def test_sides_are_those_that_can_be_read(sides: tuple[str, str], wanted: str, tmp_path: Path) -> None:
    for side in sides:
        (tmp_path / "set" / side).mkdir(parents=True)
        (tmp_path / "set" / side / "a.png").write_bytes(picture(0))
    assert guess(tmp_path) == wanted
    assert any(row.images for row in formats.get(wanted).rows(tmp_path))


def test_a_folder_with_a_list_is_what_the_list_says(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").write_bytes(picture(0, "JPEG"))
    (tmp_path / "train_processed_v3.csv").write_text("file_name,caption,split\ntrain/a.jpg,x,exclusive_win\n", encoding="utf-8")
    assert guess(tmp_path) == "kto"
