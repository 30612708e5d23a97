"""Images in files: found lazily, read with their prompts, scored in batches, and none costs another its score."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import threading
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.evaluation import mean_interval
from lib_rankopt.evaluation.image_files import ScoredFile, Source, find_images, is_current, read
from lib_rankopt.evaluation.image_prompts import prompt_beside, prompt_in, prompt_of_infotext
from lib_rankopt.evaluation.score_files import Tally, score_files
from lib_rankopt.evaluation.score_log import CsvLog, JsonLog
from lib_rankopt.scorers import create
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.prompts import without_tags

INFOTEXT = "a red fox, <lora:fox_v2:0.8> (in snow:1.2)\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Size: 512x512"
PROMPT = "a red fox,  (in snow:1.2)"


class Red(Scorer):
    """The red of the first pixel; refuses a call that holds an image whose first pixel has green in it."""

    def __init__(self, uses_prompt: bool = False, is_relative: bool = False) -> None:
        self.info = ScorerInfo("red", "1", "0 to 255", "none", uses_prompt, is_relative)
        self.calls: list[list[str]] = []

    def score(self, images: Any, prompts: str | Sequence[str]) -> torch.Tensor:
        self.calls.append(list(prompts))
        pixels = [image.convert("RGB").getpixel((0, 0)) for image in images]
        if any(green == 255 for _, green, _ in pixels):
            raise ModelError("green is too much")
        return torch.tensor([float(red) for red, _, _ in pixels])

    def to(self, device: str) -> None:
        pass


def save(path: Path, color: tuple[int, int, int] = (7, 0, 0), infotext: str = "", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if infotext:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("parameters", infotext)
    Image.new("RGB", (8, 8), color).save(path, **options)
    return path


def exif(comment: bytes) -> bytes:
    """EXIF with nothing but a UserComment, byte by byte: older Pillows write no folders of it."""
    start = struct.pack("<2sHIHHHIIIHHHIII", b"II", 42, 8, 1, 0x8769, 4, 1, 26, 0, 1, 0x9286, 7, len(comment), 44, 0)
    return b"Exif\0\0" + start + comment.ljust(5, b"\0")


def scored(paths: list[Path], scorers: dict[str, Scorer], **options: Any) -> list[ScoredFile]:
    return [one for batch in score_files(find_images(paths), scorers, **options) for one in batch]


# -- prompts
@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("fox\nNegative prompt: dog\nSteps: 4, Seed: 1", "fox"),
        ("fox\nSteps: 4, Seed: 1", "fox"),
        ("fox\r\nSteps: 4, Seed: 1", "fox"),
        ("a fox\nin two lines\nSteps: 4, Seed: 1\nTemplate: a {fox|dog}", "a fox\nin two lines"),
        ("Steps: to the door\nSteps: 4, Seed: 1", "Steps: to the door"),
        ("Negative prompt: dog\nSteps: 4", ""),
        ("Steps: 4, Seed: 1", ""),
        ("just a fox", "just a fox"),
        ("{red|blue} fox", "{red|blue} fox"),
        ('{"prompt": "a fox", "steps": 4}', "a fox"),
        ('{"nodes": []}', ""),
        ("", ""),
    ],
)
def test_the_prompt_of_an_infotext(text: str, prompt: str) -> None:
    assert prompt_of_infotext(text) == prompt


def test_tags_of_extra_networks_are_stripped_and_the_rest_stays() -> None:
    text = "<lora:a b:0.5:0.7>((fox)), [dog:cat:0.5] AND <hypernet:x:1> 1 < 2 <3"
    assert without_tags(text) == "((fox)), [dog:cat:0.5] AND  1 < 2 <3"


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png", ".tif"])
@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le", "utf-16"])
def test_the_prompt_in_exif_as_the_webui_writes_it(suffix: str, order: str, tmp_path: Path) -> None:
    comment = b"UNICODE\0" + INFOTEXT.replace("fox", "fox 狐").encode(order)
    path = save(tmp_path / f"a{suffix}", exif=exif(comment))
    assert read(Source(path)).record.prompt == PROMPT.replace("fox", "fox 狐")


def test_other_encodings_in_exif_and_nonsense(tmp_path: Path) -> None:
    for comment, prompt in ((b"ASCII\0\0\0a fox", "a fox"), (b"\0" * 8 + b"a fox", "a fox"), (b"", ""), (b"UNICODE\0\xd8", "�")):
        assert read(Source(save(tmp_path / "a.jpg", exif=exif(comment)))).record.prompt == prompt
    assert read(Source(save(tmp_path / "b.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))).record.prompt == ""


def test_a_caption_beside_the_image_counts_where_the_image_says_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    assert prompt_beside(path) == ""
    (tmp_path / "a.caption").write_text("\ufeffa dog <lora:x:1>\n", encoding="utf-8")
    assert prompt_beside(path) == "a dog"
    (tmp_path / "a.txt").write_text(INFOTEXT, encoding="utf-8")  # the webui's option to save texts beside images
    assert read(Source(path)).record.prompt == PROMPT
    save(path, infotext="a cat\nSteps: 3")
    assert read(Source(path)).record.prompt == "a cat"
    assert read(Source(path), "a cow").record.prompt == "a cow"


def test_a_caption_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"f\xfcchse")
    (found,) = scored([save(tmp_path / "a.png")], {"red": Red(uses_prompt=True), "free": Red()})
    assert found.errors == {"red": "no prompt: the caption a.txt is not UTF-8 (invalid start byte at byte 1)"}
    assert found.scores == {"free": 7.0}


def test_a_prompt_behind_the_pixels_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    data = path.read_bytes()
    body = b"tEXt" + b"parameters\0" + b"a fox\nSteps: 2"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:-12] + chunk + data[-12:])
    with Image.open(path) as image:
        assert prompt_in(image) == ""
    (found,) = scored([path], {"red": Red(uses_prompt=True)})
    assert (found.prompt, found.scores) == ("a fox", {"red": 7.0})
    assert is_current(found, Source(path), "", by_prompt=True)


# -- files
def test_folders_are_listed_sorted_without_hidden_and_other_files(tmp_path: Path) -> None:
    wanted = ["b.PNG", "c.jpeg", "sub/a.tif", "sub/deep/z.webp", "tail/a.gif"]
    for name in [*wanted, "notes.txt", ".hidden.png", ".cache/x.png", "folder.png/inner.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    found = [source.path.relative_to(tmp_path).as_posix() for source in find_images([tmp_path])]
    assert found == wanted
    again = [source.path for source in find_images([tmp_path / "sub", tmp_path, tmp_path / "sub" / ".." / "b.PNG"])]
    assert len(again) == len(wanted)
    with pytest.raises(InvalidInputError, match=r"gone\.png"):
        find_images([tmp_path, tmp_path / "gone.png"])


def test_thousands_of_files_are_listed_lazily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in range(5):
        (tmp_path / str(folder)).mkdir()
        for i in range(1000):
            (tmp_path / str(folder) / f"{i:04d}.png").touch()
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or scandir(path))
    monkeypatch.setattr(Image, "open", lambda *_args, **_options: pytest.fail("a file was opened"))
    sources = find_images([tmp_path])
    assert next(sources).path == tmp_path / "0" / "0000.png"
    assert listed == [tmp_path.name, "0"]
    assert sum(1 for _ in sources) == 4999


def test_a_batch_of_a_large_folder_is_read_no_further_than_the_next_one(tmp_path: Path) -> None:
    for i in range(60):
        save(tmp_path / f"{i:02d}.png", (i, 0, 0))
    taken: list[Path] = []
    batches = score_files((taken.append(s.path) or s for s in find_images([tmp_path])), {"red": Red()})
    assert [one.scores["red"] for one in next(batches)] == list(range(16))
    assert len(taken) == 32
    batches.close()


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to this user")
def test_a_closed_folder_and_file_cost_only_themselves(tmp_path: Path) -> None:
    save(tmp_path / "a.png").chmod(0)
    save(tmp_path / "closed" / "b.png").parent.chmod(0)
    save(tmp_path / "open" / "c.png")
    found = {Path(one.file).name: one for one in scored([tmp_path], {"red": Red()})}
    (tmp_path / "closed").chmod(0o700)
    assert "Permission denied" in found["a.png"].errors["red"]
    assert "cannot be listed" in found["closed"].errors["red"]
    assert found["c.png"].scores == {"red": 7.0}


def test_shards_cover_all_files_exactly_once(tmp_path: Path) -> None:
    for i in range(23):
        (tmp_path / f"{i}.png").touch()
    parts = [list(islice(find_images([tmp_path]), rank, None, 4)) for rank in range(4)]
    assert sorted(s.path for part in parts for s in part) == sorted(tmp_path.iterdir())
    assert [len(part) for part in parts] == [6, 6, 6, 5]


# -- scores
def test_broken_files_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "PNG")
    for name, data in (("a.png", b""), ("b.png", whole.getvalue()[:1500]), ("c.png", b"no image"), ("d.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n")):
        (tmp_path / name).write_bytes(data)
    Image.new("RGB", (300, 300)).save(tmp_path / "e.png")
    save(tmp_path / "f.png", (9, 0, 0))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    *broken, good = scored([tmp_path], {"red": Red(), "other": Red()})
    said = ("empty", "truncated", "no picture", "no picture", "decompression bomb")
    for one, words in zip(broken, said, strict=True):
        assert words in one.errors["red"], one
        assert one.errors["other"] == one.errors["red"]
        assert not one.scores
    assert good.scores == {"red": 9.0, "other": 9.0}
    assert not good.errors


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_damage_of_any_kind_is_an_error_of_its_file(tmp_path: Path) -> None:
    rng = random.Random(2)
    picture = Image.effect_noise((16, 16), 60).convert("RGB")
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "tiff"):
        stream = io.BytesIO()
        picture.save(stream, suffix.replace("jpg", "jpeg"), **({"exif": exif(b"UNICODE\0\0a")} if suffix in ("jpg", "webp") else {}))
        for i in range(60):
            data = bytearray(stream.getvalue())
            for _ in range(rng.randint(1, 6)):
                data[rng.randrange(min(len(data), 150 if i % 2 else len(data)))] = rng.randrange(256)
            (tmp_path / f"{i}.{suffix}").write_bytes(data[: rng.randint(1, len(data))] if i % 3 == 0 else data)
    found = scored([tmp_path], {"red": Red()})
    assert len(found) == 360
    assert all(bool(one.scores) != bool(one.errors) for one in found)


def test_of_an_animation_the_first_picture_is_scored(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (red, 0, 0)) for red in (255, 40, 90)]
    for name in ("a.gif", "b.png", "c.webp", "d.tiff"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert [one.scores for one in scored([tmp_path], {"red": Red()})] == [{"red": 255.0}] * 4


def test_one_refused_image_does_not_cost_its_batch(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path / f"{i:02d}.png", (i, 255 if i == 3 else 0, 0))
    red = Red()
    found = scored([tmp_path], {"red": red})
    assert [i for i, one in enumerate(found) if one.errors] == [3]
    assert found[3].errors == {"red": "green is too much"}
    assert [one.scores.get("red") for one in found] == [None if i == 3 else float(i) for i in range(20)]
    assert [len(call) for call in red.calls] == [16, *[1] * 16, 4]


def test_without_a_prompt_only_scorers_that_need_none_score(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", infotext=INFOTEXT)
    save(tmp_path / "c.png", infotext="<lora:only:1>\nSteps: 1")
    needs = Red(uses_prompt=True)
    found = scored([tmp_path], {"needs": needs, "free": Red()})
    assert [list(one.scores) for one in found] == [["free"], ["needs", "free"], ["free"]]
    assert "no prompt: neither in the image nor in a .txt or .caption file" in found[0].errors["needs"]
    assert needs.calls == [[PROMPT]]
    assert all(not one.errors for one in scored([tmp_path], {"needs": needs}, prompt="fox <lora:x:1>"))
    assert needs.calls[-1] == ["fox"] * 3


def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    red = Red()
    red.score = lambda images, prompts: torch.tensor([float("nan")])  # type: ignore[method-assign]
    assert scored([save(tmp_path / "a.png")], {"red": red})[0].errors == {"red": "the scorer gave nan"}


def test_what_ranks_within_a_call_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"--scorer a,b, or calibrate .* z:a\+z:b"):
        score_files([], {"a+b": Red(is_relative=True)})


def test_the_embedded_scorer_gives_what_it_gives_by_itself(tmp_path: Path) -> None:
    colors = [(200, 30, 30), (20, 20, 220), (250, 250, 250)]
    paths = [save(tmp_path / f"{i}.png", color, infotext=INFOTEXT) for i, color in enumerate(colors)]
    clip = create("clip")
    found = scored([tmp_path], {"clip": clip})
    direct = [float(clip.score([Image.open(path)], PROMPT)[0]) for path in paths]
    assert [one.scores["clip"] for one in found] == pytest.approx(direct, abs=1e-4)


def test_reading_happens_beside_scoring(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png")
    threads: set[str] = set()
    red = Red()
    score = red.score
    red.score = lambda images, prompts: (threads.add(threading.current_thread().name), score(images, prompts))[1]  # type: ignore[method-assign]
    scored([tmp_path], {"red": red})
    assert threads == {threading.current_thread().name}


# -- summary
def test_the_summary_equals_a_direct_computation() -> None:
    tally = Tally()
    values = {"a": [1.0, 2.0, 4.0], "b": [3.0]}
    for folder, scores in values.items():
        for i, score in enumerate(scores):
            tally.add(ScoredFile(f"{folder}/{i}.png", scores={"red": score}))
    tally.add(ScoredFile("b/broken.png", errors={"red": "broken"}))
    rows = {row.folder: row.estimate for row in tally.rows()}
    assert rows == {"a": mean_interval(values["a"]), "b": mean_interval([3.0]), None: mean_interval([1.0, 2.0, 4.0, 3.0])}
    assert (tally.files, tally.failed, tally.known) == (5, 1, 0)
    alone = Tally()
    alone.add(ScoredFile("a/1.png", scores={"red": 1.0}))
    assert [row.folder for row in alone.rows()] == ["a"]


# -- going on
@pytest.mark.parametrize("log_type", [JsonLog, CsvLog])
def test_a_line_that_was_cut_off_is_scored_again_and_no_other(log_type: type[JsonLog] | type[CsvLog], tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f'pic "{i}", x.png', (i, 0, 0), infotext=f'a "fox",\nno {i}\nSteps: 1')
    path = tmp_path / "out"
    log = log_type(path, {"red": "1"})
    found = scored([tmp_path], {"red": Red(uses_prompt=True)})
    log.append(found)
    log.close()
    whole, last = path.read_bytes(), len(log.line(found[-1], {"red": "1"}))
    for cut in range(1, last + 1):
        path.write_bytes(whole[:-cut])
        log = log_type(path, {"red": "1"})
        assert len(log.known) == 2, cut
        red = Red(uses_prompt=True)
        found = [one for batch in score_files(find_images([tmp_path]), {"red": red}, known=log.known) for one in batch]
        log.append(one for one in found if not one.is_known)
        log.close()
        assert [one.is_known for one in found] == [True, True, False]
        assert [one.scores["red"] for one in found] == [0.0, 1.0, 2.0]
        assert red.calls == [['a "fox",\nno 2']]
        assert path.read_bytes() == whole


def test_what_has_changed_is_scored_again(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", (i, 0, 0)) for i in range(4)]
    for path in paths:
        path.with_suffix(".txt").write_text("fox")
    first = scored([tmp_path], {"red": Red(uses_prompt=True)})
    log = JsonLog(tmp_path / "out", {"red": "1"})
    log.append(first)
    log.close()
    known = JsonLog(tmp_path / "out", {"red": "1"}).known
    os.utime(paths[0], (1, 1))
    paths[1].with_suffix(".txt").write_text("dog")
    assert [one.is_known for one in scored([tmp_path], {"red": Red(uses_prompt=True)}, known=known)] == [False, False, True, True]
    assert [one.is_known for one in scored([tmp_path], {"red": Red()}, known=known)] == [False, True, True, True]
    assert not any(one.is_known for one in scored([tmp_path], {"red": Red(uses_prompt=True)}, known=known, prompt="cat"))
    assert not JsonLog(tmp_path / "out", {"red": "1", "other": "1"}).known
    assert not JsonLog(tmp_path / "out", {"red": "2"}).known  # other weights


@pytest.mark.parametrize("text", ["notes of mine", "notes\nof mine\n", '{"a": 1}\n', "[1]\n", '{"file": "a.png"}\n', "\0\0\0"])
@pytest.mark.parametrize("log_type", [JsonLog, CsvLog])
def test_a_file_of_something_else_is_left_as_it_is(log_type: type[JsonLog] | type[CsvLog], text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match="name a new file"):
        log_type(path, {"red": "1"})
    assert path.read_text() == text


def test_other_columns_and_an_error_after_a_score(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "a.csv", {"red": "1"})
    log.append([ScoredFile("1.png", scores={"red": 1.0}), ScoredFile("2.png", scores={"red": 2.0})])
    log.append([ScoredFile("2.png", errors={"red": "is gone"})])
    log.close()
    assert list(CsvLog(tmp_path / "a.csv", {"red": "1"}).known) == ["1.png"]
    with pytest.raises(InvalidInputError, match="other columns than file,prompt,red,blue,error"):
        CsvLog(tmp_path / "a.csv", {"red": "1", "blue": "1"})


def test_a_summary_among_the_lines_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "out"
    line = JsonLog.line(ScoredFile("a.png", 1, 2.5, "x", {"red": 1.0}), {"red": "1"})
    path.write_bytes(line + json.dumps({"summary": []}).encode() + b"\n")
    assert JsonLog(path, {"red": "1"}).known == {"a.png": ScoredFile("a.png", 1, 2.5, "x", {"red": 1.0}, is_known=True)}
