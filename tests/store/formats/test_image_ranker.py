"""image-ranker's csv files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import Row, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, as_pairs
from tests.store.formats.datasets import key_of, picture, small

PAIRS = ["Winner", "Loser"]
RATINGS = ["Image", "ELO", "Uncertainty", "Upvotes", "Downvotes"]


def write(path: Path, head: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="") as file:  # as the program does: no encoding given
        csv.writer(file).writerows([head, *rows])
    return path


def read(path: Path, **options: str) -> list[Row]:
    return list(formats.get("image-ranker", **options).rows(path))


class TestImageRanker(FormatConformance):
    case = Case(
        "image-ranker",
        expected=lambda dataset: [said for said in as_pairs(dataset) if len(said.tiers) == 2],
        keeps=(),
        images=lambda _: {key_of(n) for n in (1, 2, 3, 4, 5, 6, 8)},
        text="*.csv",
        many=lambda folder, rows: write(
            folder / "comparisons.csv", PAIRS, [[f"C:/a/{n % 99}.jpg", f"C:/a/{n % 98}.png"] for n in range(rows)]
        ),
        hostile=lambda folder: write(
            folder / "comparisons.csv", PAIRS, [["../../etc/passwd", "/etc/shadow"], ["..", "a.jpg"], ["a.jpg", "~"]]
        ),
    )


def test_files_of_the_program_are_read(tmp_path: Path) -> None:
    """Absolute paths of another machine, two days of saves with the whole history each, an image that was removed."""
    folder = tmp_path / "emiru"
    (folder / "sub").mkdir(parents=True)
    for name in ("a 1.jpg", "b.jpg", "sub/c.jpg"):
        (folder / name).write_bytes(picture(0))
    where = "C:/Users/Somebody/Images/emiru/"
    write(folder / "comparisons_autosave_2024-09-12.csv", PAIRS, [[where + "a 1.jpg", where + "b.jpg"]])
    rows = [[where + "a 1.jpg", where + "b.jpg"], [where + "sub/c.jpg", where + "a 1.jpg"], ["None", where + "b.jpg"]]
    write(folder / "comparisons_autosave_2024-09-13.csv", PAIRS, rows)
    write(
        folder / "image_rankings_autosave_2024-09-13.csv",
        RATINGS,
        [[where + "sub/c.jpg", 6.95, 6.46, 1, 0], [where + "a 1.jpg", -0.5, 5, 1, 1]],
    )
    first, second, removed, rated, _ = read(folder)
    assert first.feedback[0].images == ("a 1.jpg", "b.jpg")
    assert second.feedback[0].images == ("sub/c.jpg", "a 1.jpg")
    assert [row.feedback[0].tiers for row in (first, second)] == [((0,), (1,))] * 2
    assert (removed.feedback[0].kind, removed.feedback[0].source) == ("dislike", "removed")
    assert rated.images[0].about == {"elo": 6.95, "uncertainty": 6.46, "upvotes": 1, "downvotes": 0}
    assert not rated.feedback


def test_votes_are_labels_when_asked_for(tmp_path: Path) -> None:
    path = write(
        tmp_path / "image_rankings.csv",
        RATINGS,
        [["a.jpg", 1, 1, 2, 0], ["b.jpg", 0, 1, 1, 1], ["c.jpg", -1, 1, 0, 3], ["d.jpg", 0, 8, 0, 0]],
    )
    assert [[(said.kind, said.source) for said in row.feedback] for row in read(path, votes="labels")] == [
        [("like", "votes")],
        [],
        [("dislike", "votes")],
        [],
    ]
    assert not any(row.feedback for row in read(path))


def test_bad_rows_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "image_rankings.csv",
        RATINGS,
        [["a.jpg", "high", 1, 2, 0], ["b.jpg", "nan", 1, 1, 1], ["", 1, 1, 0, 3], ["d.jpg", 0, 8, 0.5, 0]],
    )
    assert [bool(row.problem) for row in read(path)] == [True] * 4
    path = write(tmp_path / "comparisons.csv", PAIRS, [["a.jpg", "a.jpg"], ["a.jpg", "b.jpg"], ["a.jpg"]])
    assert [bool(row.problem) for row in read(path)] == [True, False, True]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Winner"):
        read(write(tmp_path / "x.csv", ["a", "b"], [[1, 2]]))


def test_ratings_and_votes_are_written(tmp_path: Path) -> None:
    list(formats.get("image-ranker").write(small(), tmp_path / "out", WriteReport()))
    with (tmp_path / "out" / "image_rankings.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == RATINGS
    assert [float(row["ELO"]) for row in table] == [3.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5]  # images 8, 6, 5, 4, 3, 2, 1
    assert {row["Uncertainty"] for row in table} == {"0.5"}
    assert [(row["Upvotes"], row["Downvotes"]) for row in table] == [
        ("1", "1"),
        ("1", "0"),
        ("5", "0"),
        ("0", "4"),
        ("1", "2"),
        ("0", "1"),
        ("1", "1"),
    ]
    assert all((tmp_path / "out" / row["Image"]).is_file() for row in table)


def test_the_program_takes_the_comparisons(tmp_path: Path) -> None:
    """``import_comparison_history`` skips the head and unpacks two columns of each row."""
    list(formats.get("image-ranker").write(small(), tmp_path / "out", WriteReport()))
    lines = (tmp_path / "out" / "comparisons.csv").read_bytes().decode("utf-8").splitlines()
    rows = list(csv.reader(lines[1:]))
    assert len(rows) == 9
    assert all(len(row) == 2 for row in rows)
