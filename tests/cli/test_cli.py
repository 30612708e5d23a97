"""Every command as its user types it, on the embedded pocket model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_rankopt import __version__
from lib_rankopt.cli import main
from lib_rankopt.cli.context import default_data_dir

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a 3d fox on a blue background"
QUICK = ["--steps", "4"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_help_is_quick_and_names_every_command() -> None:
    """As a process of its own: help must not load torch."""
    code = "import sys; sys.argv = ['x', '--help']\ntry:\n import lib_rankopt.__main__\nfinally:\n print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("False")
    for command in ("serve", "generate", "optimize", "studies", "pocket"):
        assert command in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_data_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANKOPT_DATA", str(tmp_path))
    assert default_data_dir() == tmp_path


def test_generate_writes_reproducible_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "--prompt", PROMPT, "--count", "3", "--seed", "5", "--scorer", "clip", "--json", *QUICK]
    code, out, _ = run(capsys, *arguments, "--out", str(tmp_path / "a"))
    assert code == 0
    lines = json_lines(out)
    assert [line["seed"] for line in lines] == [5, 6, 7]
    assert all(-100 <= line["scores"]["clip"] <= 100 for line in lines)
    first = Image.open(lines[0]["file"])
    assert first.info["parameters"].startswith(PROMPT)
    assert "Seed: 5" in first.info["parameters"]
    _, again, _ = run(capsys, *arguments, "--out", str(tmp_path / "b"))
    assert [line["scores"] for line in json_lines(again)] == [line["scores"] for line in lines]
    assert Path(json_lines(again)[2]["file"]).read_bytes() == Path(lines[2]["file"]).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sampler", "Euler b"], "Euler b"),
        (["--width", "70"], "70"),
        (["--model", "nothing.safetensors"], "nothing.safetensors"),
        (["--count", "0"], "--count 0"),
        (["--scorer", "clap"], "Did you mean 'clip'"),
        (["--seed", "-7"], "--seed -7"),
    ],
)
def test_generate_refuses_in_one_sentence(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "generate", "--prompt", PROMPT, "--out", str(tmp_path), *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not out
    assert not list(tmp_path.iterdir())


def test_optimize_tells_each_round_and_keeps_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data-dir", str(tmp_path)]
    picture = tmp_path / "best.png"
    code, out, _ = run(
        capsys, *data, "optimize", "--prompt", PROMPT, "--rounds", "3", "--candidates", "4", "--seed", "2", "--control", "--json",
        "--out", str(picture), *QUICK,
    )
    assert code == 0
    *rounds, control = json_lines(out)
    assert [r["round"] for r in rounds] == [0, 1, 2] or [r["round"] for r in rounds] == [1, 2, 3]
    assert rounds[0]["images"] == 4
    assert [r["best"] for r in rounds] == sorted(r["best"] for r in rounds)
    assert control["control"] == "best-of-n"
    assert control["images"] == rounds[-1]["images"]
    assert Image.open(picture).size == (64, 64)

    code, out, _ = run(capsys, *data, "studies", "list", "--json")
    (study,) = json_lines(out)
    assert (study["answered"], study["settings"]["prompt"]) == (3, PROMPT)
    code, out, _ = run(capsys, *data, "studies", "show", study["id"][:6], "--json")
    assert [r["answered_by"] for r in json_lines(out)[0]["round_list"]] == ["auto:clip"] * 3
    code, out, _ = run(capsys, *data, "studies", "show", study["name"])
    assert code == 0
    assert "answered" in out
    code, _, err = run(capsys, *data, "studies", "delete", study["id"])
    assert code == 2
    assert "--yes" in err
    assert run(capsys, *data, "studies", "delete", study["id"], "--yes")[0] == 0
    assert "No studies yet" in run(capsys, *data, "studies", "list")[1]
    assert not [p for p in tmp_path.rglob("*.png") if p != picture]


def test_optimize_is_reproducible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["optimize", "--prompt", PROMPT, "--rounds", "2", "--candidates", "3", "--seed", "4", "--json", *QUICK]
    outputs = [run(capsys, "--data-dir", str(tmp_path / name), *arguments)[1] for name in ("a", "b")]
    assert outputs[0] == outputs[1]
    assert outputs[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--optimizer", "rank-step"], "rank_step"),
        (["--set", "radius=3"], "radius"),
        (["--set", "radius"], "name=value"),
        (["--candidates", "1"], "1"),
        (["--rounds", "0"], "--rounds 0"),
    ],
)
def test_optimize_refuses(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--data-dir", str(tmp_path), "optimize", "--prompt", PROMPT, *arguments)
    assert code == 2
    assert said in err


def test_unknown_and_ambiguous_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--data-dir", str(tmp_path), "studies", "show", "nope")
    assert code == 2
    assert "'nope'" in err


def test_unwritable_data_dir_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code, _, err = run(capsys, "--data-dir", str(blocked), "studies", "list")
    assert code == 2
    assert str(blocked) in err


def test_pocket_export_is_a_diffusers_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "pocket", "export", "--diffusers", str(tmp_path / "pocket"))
    assert code == 0
    assert str(tmp_path / "pocket") in out
    assert (tmp_path / "pocket" / "model_index.json").is_file()


def test_a_model_is_given_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder by a relative path; the pictures are those of the embedded model."""
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "pocket", "export", "--diffusers", "folder")[0] == 0
    for name, model in (("a", []), ("b", ["--model", "./folder"])):
        code, _, err = run(capsys, "generate", "--prompt", PROMPT, *model, "--cfg-scale", "2", "--seed", "3", "--out", name, *QUICK)
        assert code == 0, err
    first, second = (np.asarray(Image.open(next(Path(name).glob("*.png"))).convert("RGB")).astype(int) for name in "ab")
    assert abs(first - second).max() <= 1
