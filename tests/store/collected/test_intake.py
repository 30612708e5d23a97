"""Rows of a data set into a collection: what is good goes in, once, and an import that was cut off goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_rankopt.errors import ConflictError, StoreError
from lib_rankopt.store import Store, open_store
from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.store.collected.intake import IntakeReport, open_collection, take_in
from lib_rankopt.store.collected.records import Added, Collection, ImageDraft, ImageQuery
from lib_rankopt.store.formats.base import FeedbackEntry, Format, ImageEntry, Row
from tests.store.collected.pictures import png


class Rows(Format):
    """A data set in memory, which counts how many rows were made."""

    name, title = "rows", "Rows"

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self.made = 0

    def size(self, path: Path) -> int:
        return len(self._rows)

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        for row in self._rows:
            if row.done > after:
                self.made += 1
                yield row


def liked(n: int, **image: object) -> Row:
    key = f"{n}.png"
    entry = ImageEntry(key, f"prompt {n % 3}", **image)  # type: ignore[arg-type]
    return Row(n + 1, f"line {n + 1}", (entry,), (FeedbackEntry("like", (key,), ((0,),), f"row {n}"),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data")
    yield opened
    opened.close()


def take(store: Store, tmp_path: Path, fmt: Format, name: str = "set", batch: int = 4) -> list[IntakeReport]:
    (tmp_path / "set").open("a").close()
    collection = open_collection(store.collected, Collection(name, format=fmt.name))
    return list(take_in(store.collected, HeldFiles(tmp_path / "data"), collection, fmt, tmp_path / "set", batch=batch))


def test_all_goes_in_and_a_second_import_adds_nothing(store: Store, tmp_path: Path) -> None:
    fmt = Rows([liked(n, path=f"{n}.png") for n in range(10)])
    reports = take(store, tmp_path, fmt)
    assert [report.done for report in reports] == [4, 8, 10]
    assert (reports[-1].added, reports[-1].total, reports[-1].problems) == (Added(10, 10), 10, 0)
    again = take(store, tmp_path, fmt)
    assert (again[-1].added, fmt.made) == (Added(), 10)


def test_the_same_rows_from_a_file_that_was_touched_are_known(store: Store, tmp_path: Path) -> None:
    fmt = Rows([liked(n) for n in range(10)])
    take(store, tmp_path, fmt)
    (tmp_path / "set").write_text("touched")
    assert take(store, tmp_path, fmt)[-1].added == Added(0, 0, 10, 10)


def test_a_name_gets_the_file_of_a_later_row_and_keeps_its_caption(store: Store, tmp_path: Path) -> None:
    rows = [Row(1, "line 1", (ImageEntry("a.png", "a fox"),)), Row(2, "line 2", (ImageEntry("a.png", "", "a.png"),))]
    for batch in (1, 2):
        take(store, tmp_path, Rows(rows), f"by {batch}", batch)
        image = store.collected.page(ImageQuery(collection=store.collected.collections()[0].number))[0]
        assert (image.prompt, image.path) == ("a fox", "a.png")


def test_an_import_that_was_cut_off_goes_on(store: Store, tmp_path: Path) -> None:
    fmt = Rows([liked(n) for n in range(10)])
    (tmp_path / "set").touch()
    collection = open_collection(store.collected, Collection("set", format="rows"))
    steps = take_in(store.collected, HeldFiles(tmp_path / "data"), collection, fmt, tmp_path / "set", batch=4)
    next(steps)
    steps.close()
    assert store.collected.collection(collection.number).position == 4
    reports = take(store, tmp_path, fmt)
    assert reports[-1].added == Added(6, 6)
    assert fmt.made <= 2 * 4 + 6  # a batch was read ahead
    assert store.collected.tallies()["images"] == 10


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (liked(1, path="../../etc/passwd.png"), "leads out of"),
        (liked(1, path="/etc/passwd.png"), "absolute path"),
        (liked(1, path="C:\\Users\\a.png"), "absolute path"),
        (liked(1, data=b"no image at all"), "no image"),
        (Row(2, "line 2", problem="two columns where three belong"), "two columns"),
        (Row(2, "line 2", (ImageEntry("k" * 2000),)), "1 to 1000"),
        (liked(1, sha256="no hash"), "no sha256"),
        (liked(1, width=-5), "-5 × 0 pixels"),
        (Row(2, "line 2", (ImageEntry("a"), ImageEntry("b")), (FeedbackEntry("pair", ("a", "b"), ((0,),), "t"),)), "do not name each"),
        (Row(2, "line 2", (ImageEntry("a"),), (FeedbackEntry("pair", ("a", "a"), ((0,), (1,)), "t"),)), "stands twice"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_the_good_ones_go_in(store: Store, tmp_path: Path, row: Row, why: str) -> None:
    report = take(store, tmp_path, Rows([liked(0), row, liked(2)]))[-1]
    assert (report.rows, report.problems) == (3, 1)
    assert report.first_problems[0].startswith("line 2: ")
    assert why in report.first_problems[0]
    assert sum(report.by_reason.values()) == 1
    tallies = store.collected.tallies()
    assert tallies["kind:like"] == 2
    assert "kind:pair" not in tallies


def test_bytes_of_a_data_set_are_kept_bit_for_bit(store: Store, tmp_path: Path) -> None:
    take(store, tmp_path, Rows([liked(n, data=png(n % 2)) for n in range(4)]))
    collection = store.collected.collections()[0]
    images = store.collected.page(ImageQuery(collection=collection.number))
    held = HeldFiles(tmp_path / "data")
    assert [held.locate(image, collection).read_bytes() for image in images] == [png(n % 2) for n in range(4)]
    assert len({image.path for image in images}) == 2
    # the two files belong to no other collection
    assert store.collected.delete(collection.number) == {image.path for image in images}


def test_a_full_disk_is_no_rows_fault(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib_rankopt.store.collected.files.atomic_file", full)
    with pytest.raises(StoreError, match="No space left"):
        take(store, tmp_path, Rows([liked(0), liked(1, data=png(1)), liked(2)]))


def test_files_are_safe_on_the_disk_before_the_store_names_them(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[str] = set()
    monkeypatch.setattr("lib_rankopt.store.collected.files.sync_files", lambda paths: synced.update(path.name for path in paths))
    kept = store.collected.add

    def add(collection: int, images: list[ImageDraft], *rest: object) -> Added:
        assert {Path(image.path or "").name for image in images} <= synced
        return kept(collection, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store.collected, "add", add)
    take(store, tmp_path, Rows([liked(n, data=png(n)) for n in range(6)]))
    assert len(synced) == 6


def test_a_name_that_means_another_folder_is_refused(store: Store, tmp_path: Path) -> None:
    open_collection(store.collected, Collection("mine", kind="folder", root="/a"))
    assert open_collection(store.collected, Collection("mine", kind="folder", root="/a")).number
    with pytest.raises(ConflictError, match="another name"):
        open_collection(store.collected, Collection("mine", kind="folder", root="/b"))
