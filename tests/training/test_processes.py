"""Several processes train as one does with the batch of all of them, and write one set of files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_rankopt.cli import main
from tests.studies.trained import pairs

pytest.importorskip("accelerate", reason="several processes need accelerate")

ROOT = Path(__file__).parents[2]
LAUNCHERS = {  # dpo under torch's own launcher, kto under the documented one; without --multi_gpu accelerate starts one process on CPUs
    "dpo": ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "{port}"],
    "kto": [
        "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--main_process_port", "{port}",
    ],
}  # fmt: skip


@dataclass
class Outcome:
    """What a run left behind, and what it printed."""

    home: Path
    loras: Path
    lines: list[dict[str, Any]]

    def moments(self, step: int) -> torch.Tensor:
        """AdamW's running means of the gradients, of all matrices in a row."""
        (path,) = self.home.glob(f"training/*/checkpoints/step-{step:06d}.pt")
        state = torch.load(str(path), map_location="cpu", weights_only=True)["optimizer"]["state"]
        return torch.cat([state[number]["exp_avg"].flatten() for number in sorted(state)])


def arguments(folder: Path, name: str, batch: int) -> list[str]:
    return [
        "--data-dir", str(folder / "home"), "--device", "cpu", "train", "--objective", name, "--data", str(folder / "data" / "pairs.jsonl"),
        "--steps", "2", "--rank", "4", "--targets", "attention", "--batch-size", str(batch), "--held-out", "0.25", "--sample-every", "0",
        "--save-every", "1", "--validate-every", "1", "--output", str(folder / "loras"), "--json",
    ]  # fmt: skip


def outcome(folder: Path, printed: str) -> Outcome:
    return Outcome(folder / "home", folder / "loras", [json.loads(line) for line in printed.splitlines() if line.startswith("{")])


def together(folder: Path, name: str) -> Outcome:
    """Two processes with batches of 4."""
    pairs(folder / "data", prompts=12)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [word.format(port=port) for word in LAUNCHERS[name]]
    command = [sys.executable, "-m", *launcher, "-m", "lib_rankopt", *arguments(folder, name, 4)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return outcome(folder, done.stdout)


def alone(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> Outcome:
    """One process with batches of 8."""
    pairs(folder / "data", prompts=12)
    assert main(arguments(folder, name, 8)) == 0
    return outcome(folder, capsys.readouterr().out)


@pytest.mark.parametrize("name", list(LAUNCHERS))
def test_two_processes_do_what_one_does_with_twice_the_batch(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two, one = together(tmp_path / "two", name), alone(tmp_path / "one", name, capsys)
    found, wanted = two.moments(1), one.moments(1)
    assert wanted.norm() > 0
    assert (found - wanted).norm() / wanted.norm() < 1e-4
    # of both, z_ref of kto included, only the first process tells
    assert [line.get("step") for line in two.lines] == [line.get("step") for line in one.lines] == [1, 1, 2, 2, None]
    for mine, theirs in zip(two.lines[:-1], one.lines[:-1], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-2, abs=1e-7)
    if name == "kto":
        assert one.lines[2]["level"] > 0
    assert two.lines[-1]["state"] == "finished"
    files = {path.name for path in two.loras.iterdir()}
    assert files == {f"lora-{name}-000{step}{end}" for step in (1, 2) for end in (".safetensors", ".json")}
    assert len([path for path in two.home.glob("training/*") if (path / "config.json").is_file()]) == 1
    (metrics,) = two.home.glob("training/*/metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == 4
