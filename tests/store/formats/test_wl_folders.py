"""Win and lose folders as kohya's and OneTrainer's proposals have them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import FeedbackEntry, Row, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, Statement, as_pairs
from tests.store.formats.datasets import MemoryDataset, key_of, picture, small


def put(folder: Path, name: str, number: int = 0, caption: str | None = None, suffix: str = ".txt") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(number))
    if caption is not None:
        path.with_suffix(suffix).write_text(caption, encoding="utf-8")


def read(folder: Path) -> list[Row]:
    return list(formats.get("wl-folders").rows(folder))


def untied(dataset: MemoryDataset) -> Iterable[Statement]:
    return [pair for pair in as_pairs(dataset) if len(pair.tiers) == 2]


def in_pairs(dataset: MemoryDataset) -> set[str]:
    return {key for pair in untied(dataset) for tier in pair.tiers for key in tier}


def many(folder: Path, number: int) -> Path:
    for n in range(number):
        put(folder, f"1_x/w/{n}.png", 1)
        put(folder, f"1_x/l/{n}.png", 2)
    return folder


def hostile(folder: Path) -> Path:
    put(folder, "outside/x.png")
    inside = folder / "inside"
    for side in "wl":
        put(inside, f"{side}/good.png")
    (inside / "w" / "bad.png").symlink_to(folder / "outside" / "x.png")
    put(inside, "l/bad.png")
    (inside / "w" / "more").symlink_to(folder / "outside")
    (inside / "w" / "stolen.png").write_bytes(picture(1))
    put(inside, "l/stolen.png")
    (folder / "secret.txt").write_text("secret", encoding="utf-8")
    (inside / "w" / "stolen.txt").symlink_to(folder / "secret.txt")
    return inside


class TestWinLoseFolders(FormatConformance):
    case = Case("wl-folders", expected=untied, images=in_pairs, many=many, more=3000, hostile=hostile)


class TestWithKohyasCaptions(FormatConformance):
    case = Case("wl-folders", {"captions": ".caption", "repeats": "12"}, expected=untied, images=in_pairs)


def test_kohyas_layout(tmp_path: Path) -> None:
    put(tmp_path, "10_fox/w/a.png", 0, "a red fox", ".caption")
    put(tmp_path, "10_fox/l/a.png", 1, "a red fox", ".caption")
    put(tmp_path, "10_fox/w/b.png", 2)
    put(tmp_path, "10_fox/l/b.png", 3)
    first, second = read(tmp_path)
    assert first.feedback[0].images == ("10_fox/w/a.png", "10_fox/l/a.png")
    assert first.feedback[0].tiers == ((0,), (1,))
    assert first.feedback[0].about == {"repeats": 10}
    assert [image.prompt for image in first.images] == ["a red fox", "a red fox"]
    assert [image.prompt for image in second.images] == ["fox", "fox"]  # the scripts' own prompt where there is no caption


def test_onetrainers_folders_and_long_names(tmp_path: Path) -> None:
    put(tmp_path, "set/win/a.png", 0, "p")
    put(tmp_path, "set/lose/a.png", 1, "")
    (row,) = read(tmp_path)
    assert row.feedback[0].images == ("set/win/a.png", "set/lose/a.png")
    assert [image.prompt for image in row.images] == ["p", ""]
    assert row.feedback[0].about == {}


def test_the_folder_itself_may_be_the_pair(tmp_path: Path) -> None:
    put(tmp_path, "w/a.png", 0)
    put(tmp_path, "l/a.jpg", 1, "said of the other")
    (row,) = read(tmp_path)
    assert row.feedback[0].images == ("w/a.png", "l/a.jpg")
    assert {image.prompt for image in row.images} == {"said of the other"}


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["w/a.png"], "there is no a in l"),
        (["w/a.png", "w/a.jpg", "l/a.png"], "2 images of the name a in w"),
        (["w/a.png", "l/a.png", "l/a.webp"], "2 images of the name a in l"),
    ],
)
def test_what_is_no_pair_is_said_and_its_images_go_in(names: list[str], word: str, tmp_path: Path) -> None:
    for name in ("w/good.png", "l/good.png", *names):
        put(tmp_path, name)
    odd, good = read(tmp_path)
    assert good.feedback
    assert not good.problem
    assert not odd.feedback
    assert word in odd.problem
    assert {image.key for image in odd.images} == set(names)


def test_broken_images_and_captions(tmp_path: Path) -> None:
    for name in ("w/a.png", "l/a.png", "w/b.png", "l/b.png"):
        put(tmp_path, name)
    (tmp_path / "l" / "a.png").write_bytes(b"no picture")
    (tmp_path / "w" / "b.txt").write_bytes(b"\xff\xfe\xfa")
    first, second = read(tmp_path)
    assert (len(first.images), first.feedback) == (1, ())
    assert "no image" in first.problem
    assert len(second.feedback) == 1
    assert "UTF-8" in second.problem


def test_a_caption_that_cannot_be_read_does_not_cost_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    put(tmp_path, "w/a.png", 0, "secret")
    put(tmp_path, "l/a.png", 1)
    monkeypatch.setattr("lib_rankopt.store.image_prompts.open", refuse, raising=False)
    (row,) = read(tmp_path)
    assert len(row.feedback) == 1
    assert "a.txt cannot be read" in row.problem


def test_names_are_counted_and_both_sides_have_one_suffix(tmp_path: Path) -> None:
    report = WriteReport()
    dataset = small()
    dataset.answers = [
        FeedbackEntry("pair", (key_of(1), key_of(2)), ((0,), (1,)), "a", prompt="as it was seen"),  # a JPEG and a PNG
        FeedbackEntry("pair", (key_of(1), key_of(5)), ((1,), (0,)), "b"),  # two JPEGs
    ]
    list(formats.get("wl-folders", repeats="3").write(dataset, tmp_path / "out", report))
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert names == [
        f"3_small/{side}/00000{n}.{suffix}" for side in "lw" for n, kind in ((0, "png"), (1, "jpg")) for suffix in sorted((kind, "txt"))
    ]
    assert report.left_out == {"the image's file is written anew as PNG, without what else stood in it": 1}
    assert (tmp_path / "out/3_small/w/000000.txt").read_text(encoding="utf-8") == "as it was seen"
    assert (report.images, report.feedback) == (4, 2)


@pytest.mark.parametrize("options", [{"captions": "txt"}, {"repeats": "0"}, {"repeats": "-1"}, {"repeats": "x"}, {"repeats": "9" * 5000}])
def test_options_are_checked(options: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        formats.get("wl-folders", **options)
