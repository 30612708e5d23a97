"""What the formats share: text as streams, names of files, tiers, tokens, counting on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.store.blobs import atomic_file
from lib_rankopt.store.formats import files, shapes, sources, text
from lib_rankopt.store.formats.base import Row
from lib_rankopt.store.formats.grouping import Groups, Tally
from lib_rankopt.store.formats.writing import csv_file, empty_folder


def test_csv_lines_say_where_they_end(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes('a,b\n1,"two\nlines"\n\nü,4\n'.encode())
    first, second = text.csv_rows(path)
    assert (first.value, first.number, first.done) == ({"a": "1", "b": "two\nlines"}, 3, 18)
    assert (second.value, second.number, second.done) == ({"a": "ü", "b": "4"}, 5, path.stat().st_size)


def test_a_stray_quote_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    lines = ["a,b,c"] + [f"{n},x,y" for n in range(3000)]
    lines[2] = '1,"open,y'
    path.write_text("\n".join(lines), encoding="utf-8")
    rows = list(text.csv_rows(path))
    assert [row.number for row in rows if row.problem] == [3]
    assert [row.value["a"] for row in rows if not row.problem] == [str(n) for n in range(3000) if n != 1]
    done = [row.done for row in rows]
    assert done == sorted(set(done))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_json_lists_say_where_each_element_ends(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.json"
    whole = json.dumps([{"a": "🦊 ü"}, 5, "x"], ensure_ascii=False)
    path.write_bytes(whole.encode(encoding))
    lines = list(text.json_list(path))
    assert [line.value for line in lines] == [{"a": "🦊 ü"}, 5, "x"]
    for line, end in zip(lines, ("}", "5", '"x"'), strict=True):
        assert line.done == len(whole[: whole.index(end) + len(end)].encode(encoding))


def test_numbers_of_many_digits_are_no_numbers_and_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(f'[{{"n": {"9" * 5000}}}, {{"n": 1}}]', encoding="utf-8")
    first, second = (line.value for line in text.json_list(path))
    with pytest.raises(InvalidInputError, match="whole number"):
        text.whole(first, "n")
    assert text.whole(second, "n") == 1


def test_text_that_no_database_takes_is_cleaned() -> None:
    assert text.word({"a": "x\ud800y\0"}, "a") == "x?y"
    assert shapes.plain({"a": ["\udfff", float("inf"), 1 << 70, b"x", {"b": "ü"}]}) == {"a": ["?", None, str(1 << 70), None, {"b": "ü"}]}


@pytest.mark.parametrize("name", ["a/b.jpg", "a-b_c.1.jpg", "ü/x y.png", "a/./b", "a/../b", "a\\b.jpg"])
def test_names_inside_are_taken(name: str) -> None:
    assert ".." not in files.relative(name)


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/a", "~/a", "C:/a", "c:a", "\\\\host\\a", "http://x/a", "", ".", "a\0b", "a\nb", "\ud800", "x" * 2000, 5]
)
def test_names_outside_are_refused(name: object) -> None:
    with pytest.raises(InvalidInputError):
        files.relative(name)


def test_tiers_and_pairs() -> None:
    assert shapes.tiers_of([2, 1, 5, 2.0]) == ((1,), (0, 3), (2,))
    assert shapes.ranks_of(((1,), (0, 3), (2,))) == [2, 1, 3, 2]
    assert list(shapes.pairs(((2,), (0, 1)))) == [(0, 1, True), (2, 0, False), (2, 1, False)]
    assert list(shapes.choices(((2,), (0, 1), (3,)))) == [(2, (0, 1, 3)), (0, (3,)), (1, (3,))]
    assert shapes.choice(1, 3) == ((1,), (0, 2))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05+00:00"),
        ("2024-01-02 03:04:05.5+02:00", "2024-01-02T01:04:05.500000+00:00"),
        ("2024-01-02", "2024-01-02T00:00:00+00:00"),
        ("yesterday", ""),
        (5, ""),
        (None, ""),
        ("0001-01-01T00:00:00+05:00", ""),
    ],
)
def test_times_are_utc(said: object, meant: str) -> None:
    assert shapes.moment(said) == meant


def test_tokens_are_stable_and_each_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def tokens() -> list[str]:
        made = shapes.Occurrences()
        return [made.token(str(n % 5000), "x") for n in range(20_000)]

    first = tokens()
    assert first == tokens()
    assert len(set(first)) == 20_000
    assert first[5000] == f"{first[0]}-2"
    monkeypatch.setattr(shapes, "_MOST_REPEATS", 10)  # beyond what is kept in memory
    assert len(set(tokens())) == 20_000


def test_the_last_row_ends_the_file() -> None:
    assert [row.done for row in shapes.ending([Row(1, "a"), Row(5, "b")], 9)] == [1, 9]
    assert list(shapes.ending([], 9)) == []


def test_counting_by_key() -> None:
    with Tally() as tally:
        tally.add("b", "x\x1f\ud800", first=1)
        tally.add("a", "", second=2)
        tally.add("b", "x\x1f\ud800", first=1, second=1)
        tally.note("a", "", text="seen")
        assert list(tally.items()) == [(("b", "x\x1f\ud800"), 2, 1), (("a", ""), 0, 2)]
        assert tally.get("b", "x\x1f\ud800") == (2, 1)
        assert tally.get("c") == (0, 0)
        assert (tally.noted("a", ""), tally.noted("b", "x\x1f\ud800"), tally.noted("c")) == ("seen", None, None)
        assert (tally.once("d"), tally.once("d")) == (True, False)
        assert len(tally) == 3


def test_groups_keep_their_order() -> None:
    with Groups() as groups:
        for key, value in (("b", "1"), ("a", "2"), ("b", "3"), ("b", "4")):
            groups.add(key, value)
        assert list(groups.items(2)) == [("b", 3, ["1", "3"]), ("a", 1, ["2"])]
        assert len(groups) == 2


def test_files_that_are_links_out_of_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "outside.csv").write_text("a\n", encoding="utf-8")
    (tmp_path / "data" / "x.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(InvalidInputError, match="link"):
        sources.find(tmp_path / "data", "a csv file", ("*.csv",))
    (tmp_path / "data" / "y.csv").write_text("a\n", encoding="utf-8")
    assert [source.name for source in sources.find(tmp_path / "data", "a csv file", ("*.csv",))] == ["y.csv"]


def test_a_file_that_breaks_off_costs_no_row_that_was_read(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("12345", encoding="utf-8")

    def rows(source: sources.Source) -> Iterator[Row]:
        yield from (Row(source.start + at, source.name) for at in (1, 2))
        if source.name == "a.csv":
            raise InvalidInputError("the disk is gone")

    found = sources.find(tmp_path, "a csv file", ("*.csv",))
    read = list(sources.read(found, 0, rows))
    assert [(row.done, row.problem) for row in read] == [(1, ""), (2, ""), (5, "the disk is gone"), (6, ""), (10, "")]
    for after in range(11):
        assert list(sources.read(found, after, rows)) == [row for row in read if row.done > after]


def test_files_that_are_left_out_take_no_room(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text(name * len(name), encoding="utf-8")
    found = sources.only(sources.find(tmp_path, "a csv file", ("*.csv",)), lambda source: source.name != "b.csv")
    assert [(source.name, source.start, source.end) for source in found] == [("a.csv", 0, 25), ("c.csv", 25, 50)]


def test_files_are_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaks_off() -> None:
        with atomic_file(tmp_path / "x") as file, csv_file(tmp_path / "y.csv") as out:
            file.write(b"half")
            out.writerow(["half"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks_off()
    assert list(tmp_path.iterdir()) == []
    with csv_file(tmp_path / "y.csv") as out:
        out.writerow(["ü", 'a "quote"'])
    assert (tmp_path / "y.csv").read_bytes() == 'ü,"a ""quote"""\r\n'.encode()


def test_exports_go_into_empty_folders(tmp_path: Path) -> None:
    empty_folder(tmp_path / "new" / "one")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for path, error in ((tmp_path, InvalidInputError), (tmp_path / "file", InvalidInputError), (tmp_path / "file" / "x", StoreError)):
        with pytest.raises(error):
            empty_folder(path)
