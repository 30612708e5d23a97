"""Diffusion-KTO's csv."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import WriteReport
from tests.store.formats.conformance import Case, FormatConformance, Statement, as_it_is
from tests.store.formats.datasets import FOX, MemoryDataset, key_of, picture, small

HEAD = ["file_name", "caption", "split"]


def write(path: Path, rows: list[list[str]], head: list[str] = HEAD) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def summed_up(dataset: MemoryDataset) -> list[Statement]:
    """The published rule: per image and caption over all comparisons."""
    won, lost = set(), set()
    for said in as_it_is(dataset):
        if len(said.tiers) == 1 and said.kind in ("pair", "ranking"):
            continue
        for at, tier in enumerate(said.tiers):
            own = [(key, next(e.prompt for e in dataset.entries if e.key == key)) for key in tier]
            won.update(own if at < len(said.tiers) - 1 or said.kind == "like" else [])
            lost.update(own if at > 0 or said.kind == "dislike" else [])
    return [Statement("like" if one in won else "dislike", ((one[0],),), one[1]) for one in won | lost]


def many(folder: Path, rows: int) -> Path:
    splits = ("exclusive_win", "exclusive_lose", "intersections")
    return write(folder / "train_processed_v3.csv", [[f"train/{i}.jpg", f"caption {i // 3}", splits[i % 3]] for i in range(rows)])


def hostile(folder: Path) -> Path:
    names = ["../secret.jpg", "/etc/passwd", "C:\\x.jpg", "train/../../x.jpg", "https://example.org/x.jpg", "train/a.jpg", ""]
    return write(folder / "train_processed_v3.csv", [[name, "c", "exclusive_win"] for name in names])


class TestDiffusionKto(FormatConformance):
    case = Case(
        "kto",
        expected=summed_up,
        images=lambda dataset: {key_of(n) for n in (0, 1, 2, 3, 4, 5, 6, 8)},
        text="*.csv",
        many=many,
        more=45_000,
        hostile=hostile,
    )


def test_a_file_with_the_published_columns_is_read(tmp_path: Path) -> None:
    """As the data set's: ids of Pick-a-Pic below train/, a caption that is missing."""
    rows = [
        ["train/17a0ce90-9e1c.jpg", "a fox", "exclusive_win"],
        ["train/b.jpg", "", "exclusive_lose"],
        ["train/c.jpg", "a fox", "intersections"],
    ]
    write(tmp_path / "train_processed_v3.csv", rows)
    read = list(formats.get("kto").rows(tmp_path))
    assert [(r.images[0].path, r.images[0].prompt, r.feedback[0].kind, r.feedback[0].about.get("split")) for r in read] == [
        ("train/17a0ce90-9e1c.jpg", "a fox", "like", None),
        ("train/b.jpg", "", "dislike", None),
        ("train/c.jpg", "a fox", "like", "intersections"),
    ]
    assert read[1].place == "train_processed_v3.csv, line 3"


@pytest.mark.parametrize(
    ("head", "labels"),
    [(["file_path", "caption", "label"], ["exclusive_win", "exclusive_lose"]), (["file_name", "caption", "label"], ["True", "0"])],
)
def test_the_other_columns_are_read(tmp_path: Path, head: list[str], labels: list[str]) -> None:
    path = write(tmp_path / "metadata.csv", [["a.jpg", "x", labels[0]], ["b.jpg", "y", labels[1]]], head)
    assert [row.feedback[0].kind for row in formats.get("kto").rows(path)] == ["like", "dislike"]


def test_the_published_loader_reads_what_is_written(tmp_path: Path) -> None:
    """``train_kto_sd_v1.5.py`` joins file_name to the data folder and takes split for the label under its three policies."""
    dataset = small()
    for _ in formats.get("kto").write(dataset, tmp_path / "out", WriteReport()):
        pass
    with (tmp_path / "out" / "train_processed_v3.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == HEAD
    assert all((tmp_path / "out" / row["file_name"]).is_file() and row["file_name"].startswith("train/") for row in table)
    found = defaultdict(set)
    for row in table:
        found[row["split"]].add(next(n for n in range(9) if (tmp_path / "out" / row["file_name"]).read_bytes() == dataset.files[key_of(n)]))
    assert found == {"exclusive_win": {0, 5, 6}, "intersections": {1, 3, 8}, "exclusive_lose": {2, 4}}
    assert FOX in {row["caption"] for row in table}


def test_split_survives_a_round_trip(tmp_path: Path) -> None:
    rows = [[f"train/{n}.png", "p", split] for n, split in enumerate(("exclusive_win", "exclusive_lose", "intersections"))]
    write(tmp_path / "train_processed_v3.csv", rows)
    read = list(formats.get("kto").rows(tmp_path))
    dataset = MemoryDataset(
        entries=[row.images[0] for row in read],
        answers=[row.feedback[0] for row in read],
        files={row.images[0].key: picture(n) for n, row in enumerate(read)},
    )
    list(formats.get("kto").write(dataset, tmp_path / "out", WriteReport()))
    again = list(formats.get("kto").rows(tmp_path / "out"))
    assert [row.feedback[0].about for row in again] == [row.feedback[0].about for row in read]
    assert [row.feedback[0].kind for row in again] == ["like", "dislike", "like"]


def test_bad_rows_are_named_and_the_others_go_in(tmp_path: Path) -> None:
    path = tmp_path / "train_processed_v3.csv"
    lines = [
        b"file_name,caption,split",
        b'a.jpg,"open quote, exclusive_win',
        b"b.jpg,fine,exclusive_win",
        b"c.jpg,too,many,exclusive_win",
        b"d.jpg,M\xfcnchen,exclusive_lose",
        b"e.jpg,what,maybe",
        b"f.jpg," + b"x" * 100_000 + b",exclusive_win",
        b"g.jpg,contradiction,exclusive_win",
        b"g.jpg,contradiction,exclusive_lose",
        b"g.jpg,contradiction,exclusive_lose",
    ]
    path.write_bytes(b"\n".join(lines))
    read = list(formats.get("kto").rows(path))
    assert [(row.place.rsplit(" ", 1)[1], bool(row.problem)) for row in read] == [
        ("2", True), ("3", False), ("4", True), ("5", False), ("6", True), ("7", False), ("8", False), ("9", False), ("10", False)
    ]  # fmt: skip
    assert read[3].images[0].prompt == "München"
    assert len(read[5].images[0].prompt) == 100_000
    assert len({row.feedback[0].token for row in read if row.feedback}) == 6


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("file_name,caption,split\na.jpg,Füchse,exclusive_win\n".encode(encoding))
    rows = list(formats.get("kto").rows(path))
    assert [row.images[0].prompt for row in rows] == ["Füchse"]
    assert rows[-1].done == formats.get("kto").size(path)


def test_one_bad_file_of_a_folder_is_a_problem_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [["1", "2"]], ["x", "y"])
    write(tmp_path / "b.csv", [["a.jpg", "p", "exclusive_win"]])
    bad, good = formats.get("kto").rows(tmp_path)
    assert "a.csv" in bad.place
    assert "file_name" in bad.problem
    assert good.feedback
