"""Any folder of images, good and bad."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import FeedbackEntry, Row, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, only, swallow
from tests.store.formats.datasets import key_of, picture, small

INFOTEXT = "a fox <lora:x:1>\nNegative prompt: blurry\nSteps: 20, Seed: 42, Size: 512x512, Model: sd15"


def read(folder: Path, **options: str) -> dict[str, Row]:
    return {row.place: row for row in formats.get("folder", **options).rows(folder)}


def put(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(number))
    return path


def many(folder: Path, number: int) -> Path:
    for n in range(number):
        put(folder / "images" / f"{n}.png", n % 10)
    return folder / "images"


def hostile(folder: Path) -> Path:
    put(folder / "secret.png")
    put(folder / "other" / "x.png", 1)
    inside = folder / "images"
    put(inside / "good.png", 2)
    (inside / "link.png").symlink_to(folder / "secret.png")
    (inside / "climbing.png").symlink_to(Path("..") / "secret.png")
    (inside / "folder").symlink_to(folder / "other")
    return inside


class TestFolder(FormatConformance):
    case = Case("folder", expected=lambda _: [], many=many, hostile=hostile)


class TestFolderWithLikes(FormatConformance):
    case = Case("folder", {"likes": "best", "dislikes": "bad"}, expected=only("like", "dislike"), hostile=hostile)


def test_what_files_say_of_themselves(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("parameters", INFOTEXT)
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "sub" / "a.png", pnginfo=texts)
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + INFOTEXT.encode("utf-16-be")}
    Image.new("RGB", (9, 7)).save(tmp_path / "b.jpg", exif=exif.tobytes())
    put(tmp_path / "c.png").with_suffix(".caption").write_text("a cat\n", encoding="utf-8")
    put(tmp_path / "d.png")
    rows = read(tmp_path)
    assert list(rows) == ["b.jpg", "c.png", "d.png", "sub/a.png"]
    assert not any(row.problem or row.feedback for row in rows.values())
    for name in ("sub/a.png", "b.jpg"):
        entry = rows[name].images[0]
        assert (entry.key, entry.path, entry.prompt, entry.model) == (name, name, "a fox <lora:x:1>", "sd15")
        assert (entry.width, entry.height) == (9, 7)
        assert entry.about == {"negative_prompt": "blurry", "steps": 20, "seed": 42, "size": "512x512", "model": "sd15"}
        assert (entry.data, entry.sha256) == (None, None)
    assert [rows[name].images[0].prompt for name in ("c.png", "d.png")] == ["a cat", ""]


def test_favourites_and_rejects(tmp_path: Path) -> None:
    for name in ("Favourites/a.png", "2024/favourites/b.png", "bad/c.png", "d.png", "bad/favourites/e.png", "favourites.png"):
        put(tmp_path / name)
    rows = read(tmp_path, likes=" favourites, best ", dislikes="bad")
    said = {name: [answer.kind for answer in row.feedback] for name, row in rows.items()}
    assert said == {
        "Favourites/a.png": ["like"], "2024/favourites/b.png": ["like"], "bad/c.png": ["dislike"], "d.png": [], "bad/favourites/e.png": [],
        "favourites.png": [],
    }  # fmt: skip
    assert "liked" in rows["bad/favourites/e.png"].problem
    assert rows["bad/c.png"].feedback == (FeedbackEntry("dislike", ("bad/c.png",), ((0,),), rows["bad/c.png"].feedback[0].token),)


@pytest.mark.parametrize(
    "options", [{"likes": "a,b", "dislikes": "B"}, {"likes": "../up"}, {"likes": "a/b"}, {"dislikes": "/etc"}, {"likes": ".git"}]
)
def test_options_are_checked(options: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        formats.get("folder", **options)


def test_broken_images_are_named_and_the_others_go_in(tmp_path: Path) -> None:
    good = put(tmp_path / "good.png").read_bytes()
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    (tmp_path / "cut.png").write_bytes(good[:20])
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    head = b"IHDR" + struct.pack(">2I5B", 40_000, 40_000, 8, 2, 0, 0, 0)
    (tmp_path / "huge.png").write_bytes(good[:8] + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + good[33:])
    os.mkfifo(tmp_path / "pipe.png")
    rows = read(tmp_path)
    assert {name for name, row in rows.items() if not row.problem} == {"good.png"}
    assert set(rows) == {"good.png", "empty.png", "text.jpg", "cut.png", "gone.png", "huge.png", "pipe.png"}
    assert "empty" in rows["empty.png"].problem
    assert "pixels" in rows["huge.png"].problem
    assert all(not row.images for row in rows.values() if row.problem)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_and_folders(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    put(tmp_path / "secret.png").chmod(0)
    put(tmp_path / "closed" / "x.png")
    (tmp_path / "closed").chmod(0)
    try:
        rows = read(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert {name: bool(row.problem) for name, row in rows.items()} == {"good.png": False, "secret.png": True, "closed": True}


def test_captions_long_short_and_wrong(tmp_path: Path) -> None:
    put(tmp_path / "a.png").with_suffix(".txt").write_text("x" * 100_000, encoding="utf-8")
    put(tmp_path / "b.png").with_suffix(".txt").write_bytes(b"\xff\xff")
    put(tmp_path / "c.png").with_suffix(".txt").write_text(INFOTEXT, encoding="utf-8-sig")
    put(tmp_path / "d.png")  # two images of one name and one caption
    put(tmp_path / "d.jpg").with_suffix(".txt").write_text("both", encoding="utf-8")
    (tmp_path.parent / "secret.txt").write_text("secret", encoding="utf-8")
    put(tmp_path / "e.png").with_suffix(".txt").symlink_to(tmp_path.parent / "secret.txt")
    rows = read(tmp_path)
    assert rows["a.png"].images[0].prompt == "x" * 100_000
    assert "UTF-8" in rows["b.png"].problem
    assert rows["c.png"].images[0].about["seed"] == 42
    assert rows["d.png"].images[0].prompt == rows["d.jpg"].images[0].prompt == "both"
    assert rows["e.png"].images[0].prompt == ""
    assert "leads out" in rows["e.png"].problem


@pytest.mark.parametrize("name", [b"\xff.png", b"a\\b.png", b"C:x.png", b"~.png", b"new\nline.png"])
def test_names_that_other_systems_do_not_take(name: bytes, tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    put(tmp_path / os.fsdecode(name))
    rows = list(formats.get("folder").rows(tmp_path))
    assert sorted(bool(row.problem) for row in rows) == [False, True]


def test_hidden_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.png", "._a.png", ".cache/b.png"):
        put(tmp_path / name)
    assert list(read(tmp_path)) == ["a.png"]


def test_labels_without_a_place_are_told(tmp_path: Path) -> None:
    report = WriteReport()
    list(formats.get("folder", likes="yes").write(small(), tmp_path / "out", report))
    assert report.left_out["the format as it was called has no dislikes"] == 1
    assert report.left_out["the format has no rankings and pairs"] == 6
    assert sorted(path.name for path in (tmp_path / "out" / "yes").iterdir()) == sorted(
        [f"{key_of(0)}.png", f"{key_of(1)}.jpg", f"{key_of(1)}.txt"]
    )


NAMES = st.sampled_from(["a.png", "b.jpg", "c.webp", "a.txt", "b.caption", "w/a.png", "l/a.png", "1_x/w/b.png", "1_x/l/b.jpg", "1/1.png",
                         "1/caption.txt", "2/99.gif", "score.json", "metadata.jsonl", ".x.png", "d/d/d.tiff", "e.bmp"])  # fmt: skip
SNIPPETS = [picture(0), picture(1, "JPEG"), picture(2, "WEBP"), b"", b"{}", b'{"1/1.png": 1}', b"\xff\xfe", b"prompt\nSteps: 1",
            b"\x89PNG\r\n\x1a\n", b'{"file_name": "a.png", "label": true}\n']  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(NAMES, st.sampled_from(SNIPPETS) | st.binary(max_size=40), min_size=1, max_size=8), st.data())
def test_any_folder_does_no_harm(found: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in found.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            place = data.draw(st.integers(0, len(content)))
            path.write_bytes(content[:place] + data.draw(st.binary(max_size=3)) + content[place:])
        for name in ("folder", "dro", "wl-folders", "jsonl"):
            swallow(formats.get(name), Path(folder))
