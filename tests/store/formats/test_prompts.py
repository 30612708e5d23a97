"""Lists of prompts, and SPO's in particular."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.store.formats.base import ImageEntry, WriteReport
from lib_rankopt.store.formats.prompts import entries, read_prompts
from tests.store.formats.conformance import Case, FormatConformance
from tests.store.formats.datasets import FOX, MemoryDataset, small


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def many(folder: Path, number: int) -> Path:
    return written(folder / "many.json", [{"caption": f"prompt {n}", "trainset_idx": n} for n in range(number)])


class TestSpoPrompts(FormatConformance):
    case = Case("spo-prompts", target="prompts.json", many=many, reads_images=False)

    def test_what_was_written_comes_back(self, tmp_path: Path) -> None:
        path, report = self.case.made(tmp_path)
        assert list(read_prompts(path)) == [FOX, "a red house", "nobody rated this", "gone"]
        assert report.files == ["prompts.json"]
        assert report.images == report.feedback == 0
        assert "the format has prompts alone, neither images nor feedback" in report.left_out
        rows = list(self.case.format().rows(path))
        assert len(rows) == 4
        assert not any(row.images or row.feedback or row.problem for row in rows)
        assert [one.name for one in tmp_path.iterdir()] == ["prompts.json"]


def test_columns_are_spos(tmp_path: Path) -> None:
    dataset = MemoryDataset(entries=[ImageEntry("a", "p", about={"trainset_idx": 77}), ImageEntry("b", " p "), ImageEntry("c", "q")])
    list(formats.get("spo-prompts").write(dataset, tmp_path / "out.json", WriteReport()))
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert found == [{"caption": "p", "trainset_idx": 77}, {"caption": "q", "trainset_idx": -1}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spo.json", [{"caption": "a fox", "trainset_idx": 3}, {"caption": "a cat", "trainset_idx": 9}, {"caption": "a fox"}]),
        ("hpdv2.json", ["a fox", "a cat", "a fox"]),
        ("lines.txt", "\ufeffa fox\r\n\r\n  a cat \na fox"),
        ("lines.jsonl", '{"prompt": "a fox"}\n"a cat"\n\n{"text": "a fox", "id": 1}\n'),
    ],
)
def test_lists_of_all_kinds(name: str, content: object, tmp_path: Path) -> None:
    assert list(read_prompts(written(tmp_path / name, content))) == ["a fox", "a cat", "a fox"]


def test_bad_entries_are_named_and_the_others_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "x.json", ["a", 3, "", {"caption": None}, "\ud800", "b"])
    assert [(one.text, bool(one.problem)) for one in entries(path)] == [
        ("a", False), ("", True), ("", True), ("", True), ("?", False), ("b", False),
    ]  # fmt: skip
    assert list(read_prompts(path)) == ["a", "?", "b"]
    assert "x.json, element 2" in caplog.text


@pytest.mark.parametrize(("name", "content"), [("x.csv", "a"), ("x.json", "[]"), ("x.json", "{}"), ("x.txt", " \n"), ("x.jsonl", "")])
def test_what_is_no_list_is_refused(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=name):
        list(read_prompts(written(tmp_path / name, content)))


def test_a_data_set_without_prompts_leaves_no_file(tmp_path: Path) -> None:
    dataset = MemoryDataset(entries=small().entries[:1])
    with pytest.raises(InvalidInputError, match="no prompt"):
        list(formats.get("spo-prompts").write(dataset, tmp_path / "out.json", WriteReport()))
    assert not list(tmp_path.iterdir())
