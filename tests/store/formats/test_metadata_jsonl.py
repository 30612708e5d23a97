"""A folder with ``metadata.jsonl``: ours, Hugging Face's, the trainer's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry, Row, WriteReport
from lib_rankopt.training.data import files as training_files
from tests.store.formats.conformance import Case, FormatConformance
from tests.store.formats.datasets import FOX, MemoryDataset, key_of, picture, small


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, *rows: object) -> list[Row]:
    return list(formats.get("jsonl").rows(lines(path / "data.jsonl", *rows)))


def many(folder: Path, number: int) -> Path:
    return lines(folder / "many.jsonl", *({"win": f"{n}.png", "lose": f"{n}b.png", "prompt": f"prompt {n}"} for n in range(number)))


def hostile(folder: Path) -> Path:
    return lines(
        folder / "hostile.jsonl",
        {"file_name": "../secret.png", "text": "x"},
        {"file_name": "/etc/passwd"},
        {"win": "C:\\x.png", "lose": "a/../../b.png"},
        {"image": "http://example.org/x.png", "label": 1},
        {"images": ["a.png", ["~/b.png"]]},
    )


class TestMetadataJsonl(FormatConformance):
    case = Case(
        "jsonl", keeps=("prompt", "rater", "created_at", "source"), text="metadata.jsonl", many=many, hostile=hostile
    )  # fmt: skip


def test_lines_of_strangers(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        {"file_name": "a.png", "text": "a fox", "score": 3},
        {"file_name": "sub/b.png", "caption": "a cat", "url": "http://example.org"},
        {"win": "a.png", "lose": "b.png", "prompt": "p", "why": "light"},
        {"image": "a.png", "prompt": "p", "label": "dislike"},
        {"images": [["a.png", "b.png"], "c.png"], "prompt": "p", "rater": "Zoë"},
    )
    assert not [row.problem for row in rows if row.problem]
    assert rows[0].images == (ImageEntry("a.png", "a fox", "a.png", about={"score": 3}),)
    assert rows[1].images[0].prompt == "a cat"
    token = rows[2].feedback[0].token
    assert rows[2].feedback == (FeedbackEntry("pair", ("a.png", "b.png"), ((0,), (1,)), token, "p", about={"why": "light"}),)
    assert rows[3].feedback[0].kind == "dislike"
    token = rows[4].feedback[0].token
    assert rows[4].feedback == (FeedbackEntry("ranking", ("a.png", "b.png", "c.png"), ((0, 1), (2,)), token, "p", rater="Zoë"),)


def test_lines_keep_their_identity_when_others_come_before_them(tmp_path: Path) -> None:
    def tokens(*rows: object) -> list[str]:
        return [answer.token for row in read(tmp_path, *rows) for answer in row.feedback]

    pair, like = {"win": "a.png", "lose": "b.png", "prompt": "p"}, {"image": "a.png", "label": 1, "prompt": "p"}
    before = tokens(pair, like, pair)
    assert len(set(before)) == 3
    assert tokens({"file_name": "c.png"}, {**pair, "prompt": "q"}, pair, like, pair)[1:] == before


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("{broken", "no JSON"),
        ([1], "no JSON object"),
        ({"prompt": "p"}, "neither"),
        ({"image": "a.png", "label": 0.5}, "label"),
        ({"image": "a.png", "label": 2}, "label"),
        ({"images": ["a.png"]}, "two images"),
        ({"images": ["a.png", []]}, "empty"),
        ({"images": ["a.png", "./a.png"]}, "twice"),
        ({"win": ["a.png", "b.png"], "lose": "c.png"}, "two images"),
        ({"win": 1, "lose": "c.png"}, "no file name"),
        ({"win": "\\\\server\\x.png", "lose": "c.png"}, "absolute"),
        ({"file_name": "a.png", "kind": "pair", "about": "{}", "images": [["a.png"], ["b.png"]]}, "token"),
        ({"file_name": "a.png", "kind": "like", "about": "[]"}, "about"),
    ],
)
def test_a_bad_line_is_named_and_the_others_count(row: object, word: str, tmp_path: Path) -> None:
    rows = read(tmp_path, {"file_name": "a.png"}, row, {"file_name": "b.png"})
    assert [bool(one.problem) for one in rows] == [False, True, False]
    assert rows[1].place == "data.jsonl, line 2"
    assert word in rows[1].problem


def test_captions_of_100_kb_and_half_signs(tmp_path: Path) -> None:
    rows = read(tmp_path, {"file_name": "a.png", "text": "x" * 100_000}, '{"file_name": "b.png", "text": "\\ud800 \\u0000 a", "n": NaN}')
    assert rows[0].images[0].prompt == "x" * 100_000
    assert rows[1].images[0].prompt == "?  a"
    assert rows[1].images[0].about == {"n": None}


def test_what_was_seen_and_what_it_was_made_of_both_come_back(tmp_path: Path) -> None:
    dataset = small()
    dataset.answers = [
        FeedbackEntry("ranking", (key_of(1), key_of(3), key_of(0)), ((2,), (0, 1)), "t", "seen", about={"ranking_id": 7, "x": [1.5]}),
    ]
    report = WriteReport()
    list(formats.get("jsonl").write(dataset, tmp_path / "out", report))
    rows = list(formats.get("jsonl").rows(tmp_path / "out"))
    images = {image.key: image for row in rows for image in row.images if not row.feedback}
    one = images[f"images/{key_of(1)}.jpg"]
    assert one == ImageEntry(
        one.key, FOX, one.key, None, None, 24, 16, "model-1", {"seed": 2**53 - 1, "steps": 20, "rating": -3.5, "rating_std": 0.5}
    )
    answer = rows[-1].feedback[0]
    assert answer.images == tuple(f"images/{key_of(n)}.{kind}" for n, kind in ((1, "jpg"), (3, "webp"), (0, "png")))
    assert (answer.tiers, answer.prompt, answer.about) == (((2,), (0, 1)), "seen", {"ranking_id": 7, "x": [1.5]})
    assert {image.key[-3:]: image.prompt for image in rows[-1].images} == {"jpg": FOX, "ebp": "a red house", "png": ""}


def test_the_trainer_reads_the_folder_as_it_is(tmp_path: Path) -> None:
    dataset = small()
    list(formats.get("jsonl").write(dataset, tmp_path / "out", WriteReport()))
    found = training_files.read(tmp_path / "out")
    assert found.problems == ()
    assert sorted(len(one.images) for one in found.rankings) == [2, 2, 2, 3, 4]
    assert sorted(one.tiers for one in found.rankings) == [(0, 0), (0, 1), (0, 1), (0, 1, 1), (0, 1, 1, 2)]
    assert sorted(one.liked for one in found.labels) == [False, True, True]
    assert {one.rater for one in found.rankings} == {"me", "Zoë"}


def test_columns_are_the_same_in_every_line(tmp_path: Path) -> None:
    """Hugging Face's loader guesses types by column: one type each, and no null."""
    list(formats.get("jsonl").write(small(), tmp_path / "out", WriteReport()))
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({tuple(row) for row in rows}) == 1
    assert all((tmp_path / "out" / row["file_name"]).is_file() for row in rows)
    for column in rows[0]:
        assert len({type(row[column]) for row in rows}) == 1, column


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path) -> None:
    dataset = small()
    dataset.entries[3] = replace(dataset.entries[3], about={"x": object()})
    with pytest.raises(ValueError, match="JSON"):
        list(formats.get("jsonl").write(dataset, tmp_path / "out", WriteReport()))
    steps = formats.get("jsonl").write(small(), tmp_path / "out", WriteReport())
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match="empty folder"):
        list(formats.get("jsonl").write(small(), tmp_path / "full", WriteReport()))
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_only_images_of_a_known_kind(tmp_path: Path) -> None:
    dataset = MemoryDataset(entries=[ImageEntry("a"), ImageEntry("b")], files={"a": b"<svg/>", "b": picture(1)})
    report = WriteReport()
    list(formats.get("jsonl").write(dataset, tmp_path / "out", report))
    assert sum(report.left_out.values()) == 1
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["b.png"]
