"""Diffusion-DRO's folders: what its trainer reads and its inference writes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, Statement
from tests.store.formats.datasets import MemoryDataset, key_of, picture, small


def put(root: Path, name: str, number: int = 0, caption: str | None = "a fox") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(number))
    if caption is not None:
        (path.parent / "caption.txt").write_text(caption, encoding="utf-8")


BEST = (1, 0, 8, 7, 6, 5, 3, 2)  # liked by strength, then the others by strength; 4 is disliked, 9 gone


def liked(dataset: MemoryDataset) -> Iterable[Statement]:
    prompts = {image.key: image.prompt for image in dataset.entries}
    return [Statement("like", ((key_of(n),),), prompts[key_of(n)]) for n in BEST]


def many(folder: Path, number: int) -> Path:
    for n in range(number):
        put(folder, f"{n:05d}/{n:05d}.png", n % 10)
    return folder


def hostile(folder: Path) -> Path:
    put(folder, "outside/outside.png")
    (folder / "secret.json").write_text('{"0/0.png": 1}', encoding="utf-8")
    inside = folder / "inside"
    put(inside, "0/0.png")
    (inside / "1").symlink_to(folder / "outside")
    (inside / "2").mkdir()
    (inside / "2" / "2.png").symlink_to(folder / "outside" / "outside.png")
    put(inside, "3/3.png", caption=None)
    (inside / "3" / "caption.txt").symlink_to(folder / "secret.json")
    (inside / "score.json").symlink_to(folder / "secret.json")
    return inside


class TestDroFolders(FormatConformance):
    case = Case("dro", expected=liked, images=lambda _: {key_of(n) for n in BEST}, many=many, more=3000, hostile=hostile)


class TestTheBestThree(FormatConformance):
    case = Case("dro", {"top": "3", "as": "images"}, expected=lambda _: [], images=lambda _: {key_of(n) for n in BEST[:2]})


def test_training_and_inference_layouts_and_scores(tmp_path: Path) -> None:
    put(tmp_path, "00000/00000.png", 0)
    put(tmp_path, "00001/1234.png", 1, "a cat\nat night")
    put(tmp_path, "00001/99.png", 2, "a cat\nat night")
    (tmp_path / "hps.json").write_text(json.dumps({"00000/00000.png": 0.25, "00001/99.png": 1}), encoding="utf-8")
    rows = list(formats.get("dro").rows(tmp_path))
    assert [row.problem for row in rows] == [""] * 3
    assert rows[0].images == (ImageEntry("00000/00000.png", "a fox", "00000/00000.png", None, None, 24, 16, "", {"scores": {"hps": 0.25}}),)
    assert [row.feedback and row.feedback[0].kind for row in rows] == ["like", (), ()]
    assert rows[1].images[0].about == {"seed": 1234}
    assert rows[2].images[0].about == {"seed": 99, "scores": {"hps": 1.0}}
    assert rows[1].images[0].prompt == "a cat\nat night"


def test_a_caption_may_be_a_link_to_any_name_inside(tmp_path: Path) -> None:
    put(tmp_path, "0/0.png", caption=None)
    (tmp_path / "all.captions").write_text("a fox", encoding="utf-8")
    (tmp_path / "0" / "caption.txt").symlink_to(tmp_path / "all.captions")
    (row,) = formats.get("dro").rows(tmp_path)
    assert (row.images[0].prompt, row.problem) == ("a fox", "")


def test_what_is_wrong_is_said_of_its_place(tmp_path: Path) -> None:
    put(tmp_path, "0/0.png", caption=None)
    put(tmp_path, "1/1.png")
    put(tmp_path, "2/2.png")
    (tmp_path / "2/2.png").write_bytes(b"")
    (tmp_path / "3").mkdir()
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    (tmp_path / "odd.json").write_text('{"1/1.png": "high", "0/0.png": NaN, "x": 1}', encoding="utf-8")
    (tmp_path / "torn.json").write_text('{"1/1.png": ', encoding="utf-8")
    problems = {row.place: row.problem for row in formats.get("dro").rows(tmp_path)}
    assert "caption.txt" in problems["0/0.png"]
    assert problems["1/1.png"] == ""
    assert "empty" in problems["2/2.png"]
    assert "2 of 3 scores are no numbers" in problems["odd.json"]
    assert "list.json" in problems
    assert "no JSON" in problems["torn.json"]


def test_the_best_are_written_with_their_scores(tmp_path: Path) -> None:
    dataset = small()
    dataset.entries = [ImageEntry(image.key, image.prompt, about={"scores": {"hps v2": n / 8}}) for n, image in enumerate(dataset.entries)]
    report = WriteReport()
    list(formats.get("dro", top="4").write(dataset, tmp_path / "out", report))
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[:3] == ["00000", "00001", "00002"]
    rating = json.loads((tmp_path / "out" / "rating.json").read_text(encoding="utf-8"))
    assert rating == {"00000/00000.png": -3.5, "00001/00001.png": -4.5, "00002/00002.png": 3.5}
    first = next(iter(formats.get("dro").rows(tmp_path / "out"))).images[0]
    assert sorted(first.about["scores"].values()) == [-3.5, 0.125]
    assert report.left_out["the image's file is written anew as PNG, without what else stood in it"] == 1
    assert report.left_out["the image is disliked, and the format has only good ones"] == 1
    assert report.left_out["not among the 4 best"] == 5
    assert report.left_out["the format has no rankings and pairs"] == 6
    assert report.left_out["the image's file is gone or damaged"] == 1


def test_what_was_said_on_purpose_wins(tmp_path: Path) -> None:
    def said(kind: str, number: int, token: str, source: str = "") -> FeedbackEntry:
        return FeedbackEntry(kind, (key_of(number),), ((0,),), token, source=source)  # type: ignore[arg-type]

    dataset = small()
    dataset.strengths = {}
    dataset.answers = [
        *(said("like", 0, f"a{n}", "saved") for n in range(5)),
        said("dislike", 0, "b"),
        said("like", 2, "c"),
        said("dislike", 2, "d"),
        said("like", 4, "e", "saved"),
    ]
    report = WriteReport()
    list(formats.get("dro").write(dataset, tmp_path / "out", report))
    assert report.images == 1
    assert (tmp_path / "out/00000/00000.png").read_bytes() == picture(4)
    assert report.left_out["raters disagree on an image, and the format has one label for each"] == 1


@pytest.mark.parametrize("options", [{"as": "dislikes"}, {"top": "0"}, {"top": "-3"}, {"top": "many"}, {"top": "9" * 5000}])
def test_options_are_checked(options: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        formats.get("dro", **options)
