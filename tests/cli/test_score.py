"""``score`` as its user types it: with the embedded scorer, and with small ones of the test's own."""

from __future__ import annotations

import csv
import io
import json
import os
from argparse import Namespace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rankopt.cli import main
from lib_rankopt.cli.shards import Shard, device_of, shard
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation import mean_interval
from lib_rankopt.scorers import ScorerShelf, registry
from tests.cli.conftest import Red, Run

PROMPT = "a red square"


@pytest.fixture
def run(run: Run) -> Run:
    """As everywhere, with ``score`` before the arguments."""
    return partial(run, "score")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folders a and b: 20 and 3 images whose red counts up from 0, with a prompt."""
    for folder, count in (("a", 20), ("b", 3)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        for i in range(count):
            info = PngInfo()
            info.add_text("parameters", f"{PROMPT} <lora:x:1>\nNegative prompt: blue\nSteps: 3, Seed: {i}")
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "in" / folder / f"{i:02d}.png", pnginfo=info)
    return tmp_path / "in"


@pytest.fixture
def red(monkeypatch: pytest.MonkeyPatch) -> dict[str, Red]:
    """Scorers that stand in for those of the same names."""
    made = {"pickscore": Red("pickscore"), "aesthetic2": Red("aesthetic2", uses_prompt=False)}
    shelf = ScorerShelf(factories={name: lambda name=name: made[name] for name in made})
    monkeypatch.setattr("lib_rankopt.cli.score.open_shelf", lambda *_arguments: shelf)
    return made


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_plain_lines_and_a_table_on_stderr(run: Run, images: Path) -> None:
    code, out, err = run("--scorer", "clip", images / "b")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert out.startswith(f"{images / 'b' / '00.png'}  clip=")
    head, row = err.splitlines()
    assert head.split("  ")[0] == "folder"
    assert "95 % interval" in head
    assert row.split()[:3] == [str(images / "b"), "clip", "3"]


def test_json_lines_with_their_summary(run: Run, images: Path, red: dict[str, Red]) -> None:
    code, out, err = run("--scorer", "pickscore,aesthetic2", "--json", images)
    *lines, last = json_lines(out)
    assert (code, err) == (0, "")
    assert [Path(line["file"]).name for line in lines] == [f"{i:02d}.png" for i in (*range(20), *range(3))]
    assert lines[5]["prompt"] == PROMPT
    assert lines[5]["scores"] == {"pickscore": 5.0, "aesthetic2": 5.0}
    assert lines[5]["errors"] == {}
    assert (last["files"], last["failed"]) == (23, 0)
    for folder, values in ((str(images / "a"), range(20)), (str(images / "b"), range(3)), (None, (*range(20), *range(3)))):
        (row,) = (one for one in last["summary"] if (one["folder"], one["scorer"]) == (folder, "pickscore"))
        wanted = mean_interval([float(v) for v in values])
        assert (row["n"], row["mean"], row["low"], row["high"]) == pytest.approx((wanted.n, wanted.mean, wanted.low, wanted.high), abs=1e-6)


def test_one_image_has_no_interval(run: Run, images: Path, red: dict[str, Red]) -> None:
    code, out, _ = run("--scorer", "pickscore", "--json", images / "a" / "07.png")
    assert code == 0
    assert json_lines(out)[-1]["summary"] == [
        {"folder": str(images / "a"), "scorer": "pickscore", "n": 1, "mean": 7.0, "low": None, "high": None}
    ]
    assert run("--scorer", "pickscore", images / "a" / "07.png")[2].splitlines()[1].endswith("1       7     -")


def test_csv_and_errors_and_the_exit_status(run: Run, images: Path, red: dict[str, Red]) -> None:
    (images / "b" / "empty.png").touch()
    Image.new("RGB", (8, 8), (9, 0, 0)).save(images / "b" / "mute.png")
    code, out, err = run("--scorer", "pickscore", "--scorer", "aesthetic2", "--csv", images / "b")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    assert list(rows[0]) == ["file", "prompt", "pickscore", "aesthetic2", "error"]
    assert [(row["pickscore"], row["aesthetic2"]) for row in rows[2:]] == [("2.000000", "2.000000"), ("", ""), ("", "9.000000")]
    assert rows[3]["error"] == "the file is empty"
    assert rows[4]["error"].startswith("pickscore: no prompt")
    assert err.splitlines()[-1] == "2 of 5 images had errors, which their lines say."
    _, out, _ = run("--scorer", "pickscore,aesthetic2", images / "b")
    assert out.splitlines()[3] == f"{images / 'b' / 'empty.png'}  error: the file is empty"
    assert "mute.png  aesthetic2=9  error: pickscore: no prompt" in out.splitlines()[4]


def test_a_warning_is_said_once(run: Run, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = ScorerShelf(factories={"pickscore": lambda: Red("pickscore", warning="random weights: the scores mean nothing")})
    monkeypatch.setattr("lib_rankopt.cli.score.open_shelf", lambda *_arguments: shelf)
    _, _, err = run("--scorer", "pickscore", images)
    assert err.count("random weights") == 1
    assert err.startswith("warning: the scorer 'pickscore'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scorer", "clop", "."], "Did you mean 'clip'"),
        (["."], "--scorer"),
        (["--scorer", "clip"], "Name images or folders"),
        (["--scorer", "clip", "gone.png"], "gone.png"),
        (["--scorer", "clip+pickscore", "."], "--scorer clip,pickscore"),
        (["--scorer", "clip", ".", "--out", "."], "is a folder"),
        (["--scorer", "pickscore", "."], "PickScore_v1.safetensors"),
        (["--scorer", "clip", "."], "No images in"),
        (["--download", "clop"], "Did you mean 'clip'"),
        (["--download", ","], "--list"),
    ],
)
def test_score_refuses_in_one_sentence(
    arguments: list[str], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lib_rankopt.scorers.weights._cached", lambda *_wanted: None)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_device_that_torch_does_not_know(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "gpu", "score", "--scorer", "clip", str(images)]) == 2
    assert "--device gpu" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--csv"]])
def test_a_run_that_was_stopped_goes_on(form: list[str], run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    file = tmp_path / "scores" / "out"
    red["pickscore"].most = 20
    command = ["--scorer", "pickscore", "--out", file, *form, images]
    code, out, err = run(*command)
    assert (code, out) == (130, "")
    assert "Stopped after 16 images; what is written stays. The same command goes on from there." in err
    whole = file.read_bytes()
    assert whole.count(b"\n") == 16 + len(form)
    file.write_bytes(whole[:-3])
    red["pickscore"].most, red["pickscore"].scored = 100, 0
    code, _, err = run(*command)
    assert code == 0
    assert "15 of 23 images had their scores already." in err
    assert red["pickscore"].scored == 8
    names = [Path(row["file"]).relative_to(images) for row in (csv.DictReader(file.open()) if form else json_lines(file.read_text()))]
    assert sorted(names) == sorted(path.relative_to(images) for path in images.rglob("*.png"))
    before = file.read_bytes()
    code, out, _ = run(*command[:-1], *([] if form else ["--json"]), images)
    assert code == 0
    assert file.read_bytes() == before
    assert red["pickscore"].scored == 8
    if not form:
        (last,) = json_lines(out)
        assert (last["known"], last["summary"][-1]["mean"]) == (23, pytest.approx((190 + 3) / 23, abs=1e-6))


def test_without_a_file_ctrl_c_says_how_to_keep_scores(run: Run, images: Path, red: dict[str, Red]) -> None:
    red["pickscore"].most = 16
    code, out, err = run("--scorer", "pickscore", images)
    assert code == 130
    assert len(out.splitlines()) == 16
    assert "With --out FILE" in err


def test_errors_are_tried_again(run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    (images / "b" / "late.png").touch()
    command = ["--scorer", "pickscore", "--out", tmp_path / "out.jsonl", images / "b"]
    code, _, err = run(*command)
    assert code == 1
    assert "out.jsonl say; the same command tries them again" in err
    (images / "b" / "00.png").rename(images / "b" / "late.png")
    code, _, _ = run(*command)
    assert code == 0
    assert json_lines((tmp_path / "out.jsonl").read_text())[-1]["scores"] == {"pickscore": 0.0}


def test_a_full_disk_is_said(run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "out").symlink_to("/dev/full")
    code, _, err = run("--scorer", "pickscore", "--out", tmp_path / "out", images)
    assert code == 2
    assert "No space left on device" in err


def test_shards_share_the_files(
    run: Run, images: Path, red: dict[str, Red], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[str] = []
    for rank in range(4):
        for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", 4)):
            monkeypatch.setenv(name, str(value))
        code, out, err = run("--scorer", "pickscore", "--out", tmp_path / "out.jsonl", "--json", images)
        own = tmp_path / f"out.rank{rank}-of-4.jsonl"
        assert code == 0
        assert f"process {rank} of 4 writes {own}" in err
        assert json_lines(out)[-1]["process"] == rank
        files += [line["file"] for line in json_lines(own.read_text())]
    assert sorted(files) == sorted(map(str, images.rglob("*.png")))
    assert not (tmp_path / "out.jsonl").exists()
    (images / "b" / "empty.png").touch()
    assert run("--scorer", "pickscore", images / "b" / "empty.png")[0] == 0
    monkeypatch.setenv("RANK", "0")
    code, _, err = run("--scorer", "pickscore", images / "b" / "empty.png")
    assert "1 of 1 images had errors" in err
    assert code == 0  # or the launcher would stop the others
    monkeypatch.setenv("RANK", "3")
    assert run("--scorer", "pickscore", images / "a" / "00.png")[0] == 0  # nothing is left for the last one


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, Shard()),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, Shard()),
        ({"LOCAL_RANK": "-1"}, Shard()),
        ({"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}, Shard(5, 8, 1)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, Shard(1, 2, 1)),
    ],
)
def test_the_environment_of_accelerate(variables: dict[str, str], wanted: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert shard() == wanted


@pytest.mark.parametrize("variables", [{"RANK": "x", "WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}])
def test_an_environment_that_contradicts_itself(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError, match="RANK"):
        shard()


def test_each_process_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of(Namespace(device=None), Shard(5, 8, 1)) == "cuda:1"
    assert device_of(Namespace(device="cuda"), Shard(5, 8, 1)) == "cuda:1"
    assert device_of(Namespace(device="cpu"), Shard(5, 8, 1)) is None
    assert device_of(Namespace(device=None), Shard()) is None
    with pytest.raises(InvalidInputError, match="there are 2"):
        device_of(Namespace(device=None), Shard(2, 4, 2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(Namespace(device=None), Shard(5, 8, 1)) is None


def test_list_says_what_is_here_and_what_to_get(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_rankopt.scorers.weights._cached", lambda *_wanted: None)
    here = tmp_path / "data" / "scorers" / "PickScore_v1.safetensors"
    here.parent.mkdir(parents=True)
    here.touch()
    code, out, _ = run("--list")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line and not line.startswith(" ")}
    assert rows["clip"].split()[1:] == ["yes", "needs", "no", "file"]
    assert rows["pickscore"].split()[1:] == ["yes", str(here)]
    assert rows["hpsv2.1"].split()[1:3] == ["no", "HPS_v2.1_compressed.pt"]
    assert "https://huggingface.co/xswu/HPSv2" in rows["hpsv2.1"]
    assert str(here.parent) in out.splitlines()[-1]
    listed = {line["name"]: line for line in json_lines(run("--list", "--json")[1])}
    assert set(registry.names()) == set(listed)
    assert listed["pickscore"]["ready"]
    assert listed["pickscore"]["files"][0]["path"] == str(here)
    assert listed["hpsv2.1"]["files"][0]["path"] is None


def test_download_says_what_needs_none_and_what_is_here(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_rankopt.scorers.weights._cached", lambda *_wanted: None)
    here = tmp_path / "data" / "scorers" / "PickScore_v1.safetensors"
    here.parent.mkdir(parents=True)
    here.touch()
    code, out, _ = run("--download", "clip, pickscore")
    assert code == 0
    assert out.splitlines() == ["clip: needs no file.", f"pickscore: {here} (here already)"]
    code, _, err = run("--download", "hpsv1")
    assert code == 2
    assert "by hand only: get it from https://github.com/tgxs002/align_sd" in err


def test_a_pool_calibrates_a_scorer(run: Run, images: Path, tmp_path: Path) -> None:
    pool = images / "a"
    code, _, err = run("--scorer", "clip", "--calibrate", pool)
    assert code == 0
    assert "z:clip: mean" in err
    code, out, _ = run("--scorer", "z:clip", "--json", pool)
    row = json_lines(out)[-1]["summary"][0]
    assert (code, row["scorer"], row["n"]) == (0, "z:clip", 20)
    assert row["mean"] == pytest.approx(0, abs=1e-3)
    assert run("--scorer", "clip", "--calibrate", images / "b")[0] == 2


def test_a_name_in_no_encoding_survives(run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    name = os.fsencode(images / "b") + b"/f\xfcchse.png"
    try:
        Path(os.fsdecode(name)).write_bytes((images / "b" / "02.png").read_bytes())
    except OSError:
        pytest.skip("this system takes no such name")
    for form in ([], ["--csv"]):
        out = tmp_path / f"out{len(form)}"
        for known in (0, 4):
            code, _, err = run("--scorer", "pickscore", "--out", out, *form, images / "b")
            assert code == 0
            assert (f"{known} of 4" in err) is bool(known)
    assert run("--scorer", "pickscore", images / "b")[0] == 0
    assert run("--scorer", "pickscore", "--csv", images / "b")[0] == 0
