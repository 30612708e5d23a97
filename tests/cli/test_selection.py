"""``--select``: candidates on the command line, on the embedded pocket model."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_cli import PROMPT, json_lines, run

SHORT = ["--prompt", PROMPT, "--steps", "8", "--sampler", "Euler a", "--seed", "5"]


@pytest.mark.parametrize("policy", ["halving", "greedy", "resample", "best-of-n"])
def test_an_image_tells_cost_score_and_lineage(policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--select", policy, "--pool", "2", "--scorer", "clip", "--tree", "--out", str(tmp_path), "--json"]
    code, out, _ = run(capsys, "generate", *SHORT, *options)
    (line,) = json_lines(out)
    how = line["selection"]
    assert code == 0
    assert how["evaluations"] == 2 * 8  # the same for every policy, the control among them
    assert how["score"] == pytest.approx(line["scores"]["clip"], abs=0.01)
    assert how["path"].split()[0] == str(line["seed"])
    assert [len(look["scores"]) for look in how["looks"]] == [len(how["seeds"])] * len(how["looks"])
    path = Path(line["file"])
    assert f"Selection: {policy}, Selection pool: 2" in Image.open(path).info["parameters"]
    assert Image.open(path.with_name(f"{path.stem}-tree.png")).width >= 100


def test_a_path_is_taken_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "generate", *SHORT, "--select", "greedy", "--pool", "3", "--out", str(tmp_path / "a"), "--json")
    (first,) = json_lines(out)
    again = [*SHORT[:-1], str(first["seed"]), "--select", "greedy", "--select-path", first["selection"]["path"]]
    _, out, _ = run(capsys, "generate", *again, "--out", str(tmp_path / "b"), "--json")
    (second,) = json_lines(out)
    assert second["selection"]["evaluations"] == 8
    assert second["selection"]["path"] == first["selection"]["path"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--select", "magic"], "policy is 'magic'; use halving"),
        (["--select", "human"], "somebody at the board"),
        (["--select", "halving", "--pool", "1"], "pool is 1"),
        (["--select", "greedy", "--sampler", "DPM++ 2M"], "DPM++ 2M"),
        (["--select", "greedy", "--select-at", "half"], "25% 50%"),
        (["--select", "greedy", "--select-at", "50% 25%"], "increase"),
        (["--select", "greedy", "--select-set", "speed=9"], "knows no speed"),
        (["--tree"], "--select as well"),
    ],
)
def test_refused_in_one_sentence(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "generate", *SHORT, "--out", str(tmp_path), *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_study_chooses_inside_its_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = ["--rounds", "1", "--candidates", "2", "--select", "greedy", "--pool", "2"]
    code, out, _ = run(capsys, "--data-dir", str(tmp_path), "optimize", *SHORT, *rounds, "--out", str(tmp_path / "best.png"), "--json")
    assert code == 0
    assert json_lines(out)[0]["images"] == 2
    assert "Selection: greedy, Selection pool: 2" in Image.open(tmp_path / "best.png").info["parameters"]
