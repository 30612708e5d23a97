"""Our own archive of a data set: everything comes back, and a zip that was made to do harm does none."""

from __future__ import annotations

import io
import json
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_rankopt.errors import InvalidInputError, RankOptError
from lib_rankopt.store import formats
from lib_rankopt.store.formats import zip_files
from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry, WriteReport
from tests.store.formats.conformance import Case, FormatConformance, Statement, _stated, swallow
from tests.store.formats.datasets import MemoryDataset, key_of, picture, small


def made(folder: Path, dataset: MemoryDataset | None = None) -> Path:
    path = folder / "a.rankopt.zip"
    list(formats.get("archive").write(dataset or small(), path, WriteReport()))
    return path


def everything(dataset: MemoryDataset) -> list[Statement]:
    return [_stated(answer, images) for answer, images in dataset.feedback()]


def many(folder: Path, number: int) -> Path:
    """Many rows of few members: what a zip costs for each member is its own."""
    entries = [ImageEntry(f"image {n}", f"prompt {n}") for n in range(number // 2)]
    answers = [FeedbackEntry("like", (entries[n].key,), ((0,),), f"t{n}") for n in range(number // 2)]
    return made(folder, MemoryDataset("many", entries, answers, {entry.key: picture(n % 3) for n, entry in enumerate(entries)}))


class TestArchive(FormatConformance):
    case = Case(
        "archive",
        expected=everything,
        keeps=("prompt", "rater", "created_at", "source"),
        images=lambda dataset: {image.key for image in dataset.entries},
        target="a.rankopt.zip",
        many=many,
    )


def test_nothing_is_lost(tmp_path: Path) -> None:
    dataset = small()
    about = {"a": [1, {"b": [[[[["deep"]]]]]}], "n": None}
    dataset.entries[1] = ImageEntry("../odd/key", "p\u2028\n", None, None, "f" * 64, 3, 4, "m", about)
    del dataset.files[key_of(1)]
    dataset.files["../odd/key"] = picture(11, "WEBP")
    dataset.answers = [
        FeedbackEntry("ranking", ("../odd/key", key_of(0), key_of(3)), ((2,), (0, 1)), "t1", None, "Zoë", "", "saved", {"x": 0.1}),
        FeedbackEntry("pair", (key_of(9), key_of(0)), ((0, 1),), "t2", "", "", "2024-03-01T12:00:00.000001+00:00"),
    ]
    rows = list(formats.get("archive").rows(made(tmp_path, dataset)))
    images = [row.images[0] for row in rows if not row.feedback]
    assert [ImageEntry(i.key, i.prompt, None, None, i.sha256, i.width, i.height, i.model, i.about) for i in images] == dataset.entries
    assert {image.key: image.data for image in images if image.data} == dataset.files
    assert [row.feedback[0] for row in rows if row.feedback] == dataset.answers
    assert [image.prompt for image in rows[-2].images] == ["p\u2028\n", "", "a red house"]


def test_the_same_content_gives_the_same_file_and_equal_images_are_stored_once(tmp_path: Path) -> None:
    dataset = small()
    dataset.files = dict.fromkeys(dataset.files, picture(2))
    (tmp_path / "2").mkdir()
    first, second = made(tmp_path, dataset), made(tmp_path / "2", dataset)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        infos = {info.filename: info for info in archive.infolist()}
    assert list(infos) == [f"images/{(d := sha256(picture(2)).hexdigest())[:2]}/{d}.png", "images.jsonl", "feedback.jsonl", "manifest.json"]
    assert infos["images.jsonl"].compress_type == zipfile.ZIP_DEFLATED
    assert next(iter(infos.values())).compress_type == zipfile.ZIP_STORED


def test_more_than_a_plain_zip_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and counts past the limits of 32 and 16 bits, with the limits moved down."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    path = made(tmp_path)
    assert b"PK\6\6" in path.read_bytes()
    monkeypatch.undo()
    rows = list(formats.get("archive").rows(path))
    assert len(rows) == 20
    assert not any(row.problem for row in rows)


def test_an_archive_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = made(tmp_path)
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="there already"):
        list(formats.get("archive").write(small(), path, WriteReport()))
    steps = formats.get("archive").write(small(), tmp_path / "b.rankopt.zip", WriteReport())
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


# -- strangers


def rewritten(path: Path, change: Callable[[zipfile.ZipFile, dict[str, bytes]], None], packed: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", packed) as archive:
        warnings.simplefilter("ignore")
        change(archive, content)
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def extra(name: str, data: bytes = b"x", attributes: int = 0) -> Callable[[zipfile.ZipFile, dict[str, bytes]], None]:
    info = zipfile.ZipInfo("name")
    info.filename = name
    info.external_attr = attributes
    return lambda archive, _: archive.writestr(info, data)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (extra("../climbing.png"), "leads out"),
        (extra("images/../../x"), "leads out"),
        (extra("images/../x"), "no archive of ours"),
        (extra("/etc/passwd"), "absolute"),
        (extra("C:/x.png"), "absolute"),
        (extra("images\\ab\\x.png"), "no archive of ours"),
        (extra("a//b"), "no archive of ours"),
        (extra("images.jsonl"), "two members"),
        (extra("Manifest.JSON"), "two members"),
        (extra("link.png", b"/etc/passwd", (stat.S_IFLNK | 0o777) << 16), "link"),
    ],
)
def test_names_that_no_archive_of_ours_has(change: Callable[[zipfile.ZipFile, dict[str, bytes]], None], word: str, tmp_path: Path) -> None:
    path = rewritten(made(tmp_path), change)
    with pytest.raises(InvalidInputError, match=word):
        list(formats.get("archive").rows(path))


def test_what_other_programs_add_is_passed_over(tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, _: dict[str, bytes]) -> None:
        archive.mkdir("images/") if hasattr(archive, "mkdir") else archive.writestr("images/", b"")
        archive.writestr("__MACOSX/._x", b"x")
        archive.writestr(".DS_Store", b"x")

    assert len(list(formats.get("archive").rows(rewritten(made(tmp_path), change, zipfile.ZIP_DEFLATED)))) == 20


def test_bombs_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/00/" + "0" * 64 + ".png", b"\0" * (80 << 20))
    path = tmp_path / "bomb.zip"
    path.write_bytes(packed.getvalue())
    with pytest.raises(InvalidInputError, match="unpack to 80 MiB"):
        list(formats.get("archive").rows(path))
    monkeypatch.setattr(zip_files, "_MOST_MEMBERS", 3)
    with pytest.raises(InvalidInputError, match="more than 3 members"):
        list(formats.get("archive").rows(made(tmp_path)))


def test_sizes_that_lie(tmp_path: Path) -> None:
    """A member of one size in the directory and of another in the file."""
    path = made(tmp_path)
    raw = bytearray(path.read_bytes())
    at = raw.rfind(b"PK\1\2")  # the manifest
    struct.pack_into("<L", raw, at + 24, 10)
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError, match=r"manifest\.json"):
        list(formats.get("archive").rows(path))
    struct.pack_into("<L", raw, at + 24, 0xFFFFFFF0)
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError, match="unpack to"):
        list(formats.get("archive").rows(path))
    struct.pack_into("<L", raw, at + 20, 0xFFFFFFF0)
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError, match="overlap"):
        list(formats.get("archive").rows(path))


def test_encrypted_and_otherwise_packed_members(tmp_path: Path) -> None:
    path = made(tmp_path)
    good = path.read_bytes()
    for offset, value, word in ((8, 1, "encrypted"), (10, 12, "packed in a way")):
        raw = bytearray(good)
        struct.pack_into("<H", raw, raw.rfind(b"PK\1\2") + offset, value)
        path.write_bytes(raw)
        with pytest.raises(InvalidInputError, match=word):
            list(formats.get("archive").rows(path))


def test_cut_off_anywhere(tmp_path: Path) -> None:
    path = made(tmp_path)
    good = path.read_bytes()
    for at in range(0, len(good), len(good) // 60):
        path.write_bytes(good[:at])
        with pytest.raises(InvalidInputError):
            list(formats.get("archive").rows(path))


def test_changed_images_are_named_and_the_others_go_in(tmp_path: Path) -> None:
    name = ""

    def change(_: zipfile.ZipFile, content: dict[str, bytes]) -> None:
        nonlocal name
        name = next(iter(content))
        content[name] = picture(10)

    path = rewritten(made(tmp_path), change)
    rows = list(formats.get("archive").rows(path))
    bad = [row for row in rows if row.problem]
    assert len(bad) == 1
    assert name in bad[0].problem
    assert "sha256" in bad[0].problem
    assert bad[0].images[0].data is None
    assert sum(row.images[0].data is not None for row in rows) == 8


@pytest.mark.parametrize("name", ["images.jsonl", "feedback.jsonl"])
def test_changed_texts_are_refused(name: str, tmp_path: Path) -> None:
    def change(_: zipfile.ZipFile, content: dict[str, bytes]) -> None:
        content[name] += b"{}\n"

    with pytest.raises(InvalidInputError, match=name):
        list(formats.get("archive").rows(rewritten(made(tmp_path), change)))


@pytest.mark.parametrize(
    ("manifest", "word"),
    [
        ({"format": "other"}, "none of ours"),
        ([], "none of ours"),
        ({"format": "rankopt-archive", "format_version": 2, "members": {}}, "version 2"),
        ({"format": "rankopt-archive", "format_version": 1, "kind": "study", "members": {}}, "holds a study"),
    ],
)
def test_manifests_of_others(manifest: object, word: str, tmp_path: Path) -> None:
    def change(_: zipfile.ZipFile, content: dict[str, bytes]) -> None:
        content["manifest.json"] = json.dumps(manifest).encode()

    with pytest.raises(InvalidInputError, match=word):
        list(formats.get("archive").rows(rewritten(made(tmp_path), change)))


def with_lines(path: Path, name: str, *lines: object) -> Path:
    """Lines with a manifest that fits them."""

    def change(_: zipfile.ZipFile, content: dict[str, bytes]) -> None:
        content[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        manifest = json.loads(content["manifest.json"])
        manifest["members"][name] = sha256(content[name]).hexdigest()
        content["manifest.json"] = json.dumps(manifest).encode()

    return rewritten(path, change)


ANSWER = {"kind": "like", "images": ["a"], "tiers": [[0]], "token": "t", "about": {}}


@pytest.mark.parametrize(
    "line",
    [
        [],
        {**ANSWER, "kind": "hate"},
        {**ANSWER, "images": ["a", "b"]},
        {**ANSWER, "images": [3]},
        {**ANSWER, "images": "a"},
        {**ANSWER, "kind": "pair", "images": ["a", "a"], "tiers": [[0], [1]]},
        {**ANSWER, "tiers": [[1]]},
        {**ANSWER, "tiers": [[True]]},
        {**ANSWER, "tiers": [[0], []]},
        {**ANSWER, "tiers": [0]},
        {**ANSWER, "token": "t" * 200},
        {**ANSWER, "token": ""},
        {**ANSWER, "prompts": ["a", "b"]},
        {**ANSWER, "prompt": 3},
        {**ANSWER, "about": []},
    ],
)
def test_bad_answers_are_named(line: object, tmp_path: Path) -> None:
    rows = list(formats.get("archive").rows(with_lines(made(tmp_path), "feedback.jsonl", ANSWER, line)))
    assert rows[-2].feedback[0].kind == "like"
    assert rows[-1].problem
    assert rows[-1].place == "feedback.jsonl, line 2"


@pytest.mark.parametrize("file", ["../x.png", "manifest.json", "images/00/missing.png", "/etc/passwd"])
def test_images_that_are_not_there(file: str, tmp_path: Path) -> None:
    line = {"key": "a", "file": file, "width": 1, "height": 1, "about": {}}
    row = next(iter(formats.get("archive").rows(with_lines(made(tmp_path), "images.jsonl", line))))
    assert row.problem
    assert row.images[0].data is None


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(
    inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "file", "width", "height", "about", *ANSWER, "prompts", "hashes"]), inner,
    max_size=6), max_leaves=12), max_size=4), st.sampled_from(["images.jsonl", "feedback.jsonl"]))  # fmt: skip
def test_any_lines_do_no_harm(tmp_path_factory: pytest.TempPathFactory, lines: list[object], name: str) -> None:
    swallow(formats.get("archive"), with_lines(made(tmp_path_factory.mktemp("fuzz")), name, *lines))


def test_a_folder_or_nothing_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.zip"):
        with pytest.raises(RankOptError):
            formats.get("archive").size(path)
