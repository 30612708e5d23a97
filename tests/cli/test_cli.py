"""Every command as its user types it, on the embedded pocket model."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt import __version__
from lib_rankopt.cli import main
from lib_rankopt.cli.context import check_writable, default_data_dir, open_service
from lib_rankopt.cli.parser import build_parser
from lib_rankopt.errors import StoreError
from lib_rankopt.scorers import registry
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.store import blobs
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import StudySettings

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


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG is for other systems")
def test_an_empty_xdg_data_home_counts_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RANKOPT_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "")
    assert default_data_dir() == tmp_path / ".local" / "share" / "rank-optimize"


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
        (["--prompt", ""], "prompt is empty"),
        (["--prompt", "fox " * 2000], "2000 words"),
        (["--negative-prompt", "fox " * 2000], "negative_prompt has 2000 words"),
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
        (["--prompt", ""], "prompt is empty"),
        (["--optimizer", "zo_ranksgd", "--set", "line_search=no"], "line_search must be true or false, not 'no'"),
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
    code, out, _ = run(capsys, "pocket", "export", "--webui", str(tmp_path / "webui"), "--json")
    assert code == 0
    (line,) = json_lines(out)
    assert line == {"path": str(tmp_path / "webui" / "pocket.safetensors")}


def test_a_model_is_given_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder by a relative path; the pictures are those of the embedded model."""
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "pocket", "export", "--diffusers", "folder")[0] == 0
    for name, model in (("a", []), ("b", ["--model", "./folder"])):
        code, _, err = run(capsys, "generate", "--prompt", PROMPT, *model, "--cfg-scale", "2", "--seed", "3", "--out", name, *QUICK)
        assert code == 0, err
    first, second = (np.asarray(Image.open(next(Path(name).glob("*.png"))).convert("RGB")).astype(int) for name in "ab")
    assert abs(first - second).max() <= 1


# -- optimize, with scorers made for the purpose
class Listed(Scorer):
    """Gives the scores of a list, one call after the other; raises where the list ends."""

    info = ScorerInfo("listed", "1", "any", "none")

    def __init__(self, *rounds: list[float]) -> None:
        self._rounds = list(rounds)
        self.seen: list[Image.Image] = []

    def score(self, images: Any, prompts: Any) -> torch.Tensor:
        self.seen += list(images)
        if not self._rounds:
            raise RuntimeError("the weights are upside down")
        values = self._rounds.pop(0)
        return torch.tensor(values[: len(images)])

    def to(self, device: str) -> None:
        pass


def optimize(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    options = ["--prompt", PROMPT, "--candidates", "3", "--seed", "2", "--set", "incumbent_every=0", "--steps", "2"]
    return run(capsys, "--data-dir", str(folder), "optimize", *options, *arguments)


@pytest.mark.timeout(60)
def test_optimize_ends_when_the_scorer_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "factory", lambda _name: lambda *_: Listed([1.0, 2.0, 3.0]))
    code, out, err = optimize(capsys, tmp_path, "--rounds", "3", "--json")
    assert code == 2
    assert "upside down" in err
    assert len(json_lines(out)) == 1


@pytest.mark.timeout(60)
def test_optimize_ends_when_the_automatic_mode_gives_no_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_and_stop(service: StudyService, study: str, _scorer: str, _rounds: int) -> None:
        service.start_round(study)
        service.wait(study, 30)

    monkeypatch.setattr(StudyService, "start_auto", start_and_stop)
    code, _, err = optimize(capsys, tmp_path, "--rounds", "2")
    assert code == 2
    assert "stopped after 0 of 2 rounds" in err


def test_optimize_tells_the_winner_and_writes_the_best_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Listed([1.0, 2.0, 9.0], [4.0, 6.0, 5.0])
    monkeypatch.setattr(registry, "factory", lambda _name: lambda *_: judge)
    picture = tmp_path / "new" / "best.png"
    code, out, _ = optimize(capsys, tmp_path / "data", "--rounds", "2", "--json", "--out", str(picture))
    assert code == 0
    assert [(r["best"], r["incumbent"]) for r in json_lines(out)] == [(9.0, 9.0), (9.0, 6.0)]
    assert np.array_equal(np.asarray(Image.open(picture)), np.asarray(judge.seen[2]))


def test_optimize_counts_a_round_that_somebody_else_has_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not scored."""
    from lib_rankopt.studies.views import Answer

    def answer(service: StudyService, study: str, _scorer: str, _rounds: int) -> None:
        service.start_round(study)
        view = service.wait(study, 30)
        service.answer(study, view.index, Answer("ranking", ((view.candidates[0].id,),), view.order))

    monkeypatch.setattr(StudyService, "start_auto", answer)
    code, out, err = optimize(capsys, tmp_path / "a", "--rounds", "1", "--json")
    assert code == 0, err
    assert json_lines(out) == [{"round": 0, "images": 3, "best": None, "incumbent": None}]
    code, out, err = optimize(capsys, tmp_path / "b", "--rounds", "1", "--out", str(tmp_path / "best.png"))
    assert code == 2
    assert "—" in out
    assert "No image has a score of 'clip'" in err


def test_optimize_looks_at_out_before_it_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for out, said in ((tmp_path, "is a folder"), (blocked / "best.png", "Cannot write to")):
        code, _, err = optimize(capsys, tmp_path / "data", "--out", str(out))
        assert code == 2
        assert said in err
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        check_writable(tmp_path / "new" / "newer")


def test_a_full_disk_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """Only the result is written to a full disk."""

        def __call__(self, path: Path, _write: object) -> NoReturn:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    kept = blobs.write_atomically
    monkeypatch.setattr(blobs, "write_atomically", lambda path, write: (kept if "data" in path.parts else Full())(path, write))
    monkeypatch.setattr(registry, "factory", lambda _name: lambda *_: Listed([1.0, 2.0, 3.0]))
    for code, _, err in (
        optimize(capsys, tmp_path / "data", "--rounds", "1", "--out", str(tmp_path / "best.png")),
        run(capsys, "generate", "--prompt", PROMPT, "--out", str(tmp_path), "--steps", "2"),
    ):
        assert code == 2
        assert "No space left on device" in err


def test_optimize_takes_the_models_own_schedule_and_words_for_booleans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "factory", lambda _name: lambda *_: Listed([1.0, 2.0, 3.0]))
    options = ["--optimizer", "zo_ranksgd", "--set", "line_search=False", "--set", "renormalize=true", "--set", "mu=0.5"]
    code, _, err = run(capsys, "--data-dir", str(tmp_path), "optimize", "--prompt", PROMPT, "--rounds", "1", "--candidates", "3", *options)
    assert code == 0, err
    (study,) = json_lines(run(capsys, "--data-dir", str(tmp_path), "studies", "list", "--json")[1])
    settings = study["settings"]
    assert settings["optimizer_settings"] == {"line_search": False, "renormalize": True, "mu": 0.5}
    assert (settings["sampler"], settings["scheduler"]) == ("DPM++ 2M", "Karras")


def test_the_last_line_is_the_command_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a model that only its path names, in folders with spaces."""
    model, data, models, loras = (tmp_path / name for name in ("my model", "my data", "my models", "my loras"))
    models.mkdir()
    assert run(capsys, "pocket", "export", "--diffusers", str(model))[0] == 0
    monkeypatch.setattr(registry, "factory", lambda _name: lambda *_: Listed([1.0, 2.0, 3.0]))
    code, out, err = run(
        capsys, "--data-dir", str(data), "--models-dir", str(models), "--lora-dir", str(loras), "optimize", "--prompt", PROMPT,
        "--rounds", "1", "--candidates", "3", "--model", str(model), "--steps", "2",
    )
    assert code == 0, err
    command = shlex.split(out.splitlines()[-1].partition("with: ")[2])
    assert command[:3] == ["python", "-m", "lib_rankopt"]
    arguments = build_parser().parse_args(command[3:])
    assert (arguments.data_dir, arguments.models_dir, arguments.lora_dir, arguments.model) == (data, models, loras, str(model))

    def serve(service: StudyService, **_options: object) -> None:
        (study,) = service.list()
        service.start_round(study.id)
        assert service.wait(study.id, 60).status == "ready"
        assert service.host.models()[0] == str(model)
        assert service.host.lora_dir() == loras

    monkeypatch.setitem(sys.modules, "lib_rankopt.ui.standalone", SimpleNamespace(serve=serve))  # type: ignore[arg-type]
    code, _, err = run(capsys, *command[3:])
    assert code == 0, err


def test_a_password_is_not_repeated() -> None:
    from lib_rankopt.cli.optimize import _serve_command

    url = "postgresql://me:secret@server/db"
    arguments = build_parser().parse_args(["--database-url", url, "optimize", "--prompt", PROMPT])
    assert shlex.split(_serve_command(arguments))[3:] == ["--database-url", "URL", "serve"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_prompt_in_any_script_reaches_any_terminal(options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_service(build_parser().parse_args(["--data-dir", str(tmp_path), "studies", "list"])) as service:
        service.create(StudySettings(prompt="红色的狐狸"))
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert main(["--data-dir", str(tmp_path), "studies", "list", *options]) == 0
    assert main(["--data-dir", str(tmp_path), "studies", "show", "狐狸"]) == 2
    written = [(stream.flush(), stream.buffer.getvalue().decode("ascii"))[1] for stream in streams.values()]  # type: ignore[attr-defined]
    assert all(r"\u72d0\u72f8" in text for text in written)


def test_images_start_from_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "start.png"
    Image.new("RGB", (90, 70), (250, 240, 20)).save(picture)
    common = ["generate", "--prompt", PROMPT, "--seed", "5", *QUICK]
    code, out, _ = run(capsys, *common, "--init-image", str(picture), "--denoising-strength", "0.2", "--out", str(tmp_path))
    assert code == 0
    with Image.open(out.split()[0]) as image:
        assert "Denoising strength: 0.2" in image.info["parameters"]
        assert np.abs(np.asarray(image, dtype=int).mean((0, 1)) - (250, 240, 20)).max() < 60
    code, _, err = run(capsys, *common, "--init-image", str(tmp_path / "gone.png"), "--out", str(tmp_path))
    assert code != 0
    assert "gone.png" in err
    assert "Traceback" not in err


def test_a_trained_lora_loads_into_the_next_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the data folder without more ado, or from --lora-dir."""
    loras, data = tmp_path / "data" / "loras", tmp_path / "pairs.jsonl"
    colours = ("red", "green", "blue", "white")
    for colour in colours:
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
    data.write_text("\n".join(json.dumps({"image": f"{name}.png", "prompt": f"a {name} fox", "label": True}) for name in colours))
    common = ["--data-dir", str(tmp_path / "data")]
    trained = [*common, "train", "--objective", "sft", "--data", str(data), "--steps", "2", "--rank", "2", "--batch-size", "2"]
    code, out, err = run(capsys, *trained, "--output", str(tmp_path / "elsewhere"))
    assert code == 0, err
    assert f"Put it into {loras}, or into the webui's models/Lora, and write <lora:lora-sft-0002:1> into the prompt." in out
    code, out, err = run(capsys, *trained, "--output", str(loras))
    assert code == 0, err
    assert "\nWrite <lora:lora-sft-0002:1> into the prompt." in out

    def made(*options: str, prompt: str = PROMPT) -> tuple[int, list[np.ndarray], str]:
        target = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        code, _, err = run(capsys, *options, "generate", "--prompt", prompt, "--seed", "1", "--out", str(target), *QUICK)
        return code, [np.asarray(Image.open(path)).astype(int) for path in target.glob("*.png")], err

    (plain,), (none,) = made(*common)[1], made(*common, prompt=f"{PROMPT} <lora:lora-sft-0002:0>")[1]
    (styled,) = made(*common, prompt=f"{PROMPT} <lora:lora-sft-0002:50>")[1]
    (same,) = made(*common, "--lora-dir", str(tmp_path / "elsewhere"), prompt=f"{PROMPT} <lora:lora-sft-0002:50>")[1]
    assert np.array_equal(plain, none)
    assert np.abs(plain - styled).max() > 3
    assert np.array_equal(styled, same)
    code, images, err = made(*common, prompt=f"{PROMPT} <lora:lora-sft-0003:1>")
    assert (code, images) == (2, [])
    assert f"names a LoRA that is not in {loras}; did you mean 'lora-sft-0002'?" in err
