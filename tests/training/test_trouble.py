"""What goes wrong in a run: a full disk, cut lines, and what the alarms say."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.pocket import checkpoint_path
from lib_rankopt.errors import StoreError
from lib_rankopt.training import folder as folder_module
from lib_rankopt.training.alarms import Watch
from lib_rankopt.training.config import from_dict
from lib_rankopt.training.data import files
from lib_rankopt.training.folder import RunFolder, RunStatus
from lib_rankopt.training.lora import output as output_module
from lib_rankopt.training.run import Run
from tests.studies.trained import SMALL, pairs

CPU = torch.device("cpu")


def run_of(home: Path, **changes: Any) -> RunFolder:
    values = {**SMALL, "rank": 2, "steps": 3, "save_every": 1, "validate_every": 0, "held_out": 0, "seed": 4, **changes}
    return RunFolder.create(home / "run", from_dict(values))


def train(run: RunFolder) -> RunStatus:
    home = run.path.parent
    return Run(run, checkpoint_path(), files.read(pairs(home / "pictures")), home / "loras", home / "cache").start(CPU)


def full_from(monkeypatch: pytest.MonkeyPatch, name: str, module: Any = folder_module) -> None:
    """A disk that fills up while the file of that name is written, with half of it there."""
    original = module.write_atomically

    def write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
        def cut(opened: IO[bytes]) -> None:
            opened.write(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")

        original(path, cut if path.name == name else fill)

    monkeypatch.setattr(module, "write_atomically", write)


# -- a full disk
def test_a_disk_that_fills_up_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    whole = run_of(tmp_path / "whole")
    train(whole)
    run = run_of(tmp_path / "full")
    with pytest.MonkeyPatch.context() as patch:
        full_from(patch, "step-000003.pt")
        with pytest.raises(StoreError, match=r"No space left on device\. Free some space and resume the run"):
            train(run)
    status = run.status()
    assert (status.state, status.step) == ("failed", 3)
    assert "Free some space" in str(status.error)
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {"step-000001.pt", "step-000002.pt"}
    status = train(run)
    assert (status.state, status.error) == ("finished", None)
    states = [file.read(one.path.parent / "loras" / "lora-dpo-0003.safetensors")[0] for one in (whole, run)]
    assert file.data_hash(states[0]) == file.data_hash(states[1])
    assert run.metrics() == whole.metrics()


def test_a_file_that_could_not_be_written_is_written_by_the_run_that_goes_on(tmp_path: Path) -> None:
    """No checkpoint says that an update is done whose file is not there."""
    run = run_of(tmp_path / "full")
    with pytest.MonkeyPatch.context() as patch:
        full_from(patch, "lora-dpo-0003.safetensors", output_module)
        with pytest.raises(StoreError, match="the disk is full"):
            train(run)
    assert run.status().state == "failed"
    assert [Path(path).name for path in train(run).outputs][-1] == "lora-dpo-0003.safetensors"


def test_an_alarm_is_not_raised_again_by_the_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path, steps=4)
    monkeypatch.setattr(Watch, "_update", lambda _self, line: iter([("always", f"at {line['step']}")]))
    monkeypatch.setattr(RunFolder, "command", lambda self: "pause" if self.metrics() and self.metrics()[-1]["step"] == 2 else "run")
    assert train(run).state == "paused"
    monkeypatch.setattr(RunFolder, "command", lambda _self: "run")
    assert [said for said in train(run).alarms if said.startswith("Step")] == ["Step 1: at 1"]


@pytest.mark.parametrize("name", ["step-000001.pt", "status.json"])
def test_what_was_there_before_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_bytes(b"before")
    full_from(monkeypatch, name)
    with pytest.raises(StoreError, match="No space left"):
        folder_module.write_file(tmp_path / name, lambda opened: opened.write(b"after"))
    assert (tmp_path / name).read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_line_that_was_cut_spoils_none_after_it(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.log_metrics({"step": 1, "loss": 0.5})
    with (run.path / "metrics.jsonl").open("a") as opened:
        opened.write('{"step": 2, "lo')
    assert [line["step"] for line in run.metrics()] == [1]
    run.log_metrics({"step": 2, "loss": 0.4})
    run.log_metrics({"step": 3, "loss": 0.3})
    assert [line["loss"] for line in run.metrics()] == [0.5, 0.4, 0.3]


def test_of_a_step_that_was_done_twice_the_later_line_counts(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    for step, loss in ((1, 0.5), (2, 0.4), (2, 0.3)):
        run.log_metrics({"step": step, "loss": loss})
    run.log_metrics({"step": 2, "validation": True, "implicit_accuracy": 1.0})
    assert [(line["step"], line.get("loss")) for line in run.metrics()] == [(1, 0.5), (2, 0.3), (2, None)]
    assert [line["step"] for line in run.metrics(1)] == [2, 2]


# -- alarms
def update(step: int, **values: float) -> dict[str, Any]:
    return {"step": step, "loss": 0.5, "gradient_norm": 0.5, **values}


def validation(step: int, accuracy: float = 0.8, drift: float = -1e-4) -> dict[str, Any]:
    return {"step": step, "validation": True, "implicit_accuracy": accuracy, "winner_drift": drift}


def heard(lines: list[dict[str, Any]], beta: float = 2500.0) -> list[str]:
    watch = Watch(clip=1.0, warmup=5, beta=beta)
    return [sentence for line in lines for sentence in watch.look(line)]


TROUBLE: dict[str, tuple[list[dict[str, Any]], str]] = {
    "preferred images get worse": ([validation(10 * i, drift=1e-4) for i in range(1, 9)], "Step 30: preferred images are explained worse"),
    "overfit": (
        [validation(10, 0.9), validation(20, 0.9), *(validation(10 * i, 0.7) for i in range(3, 9))],
        "Step 50: on prompts that were kept back it tells 70% of the pairs right, and did 90% before",
    ),
    "every gradient is cut": (
        [update(i, gradient_norm=12.0) for i in range(1, 120)],
        "Step 55: every gradient is cut to less than a tenth (norm 12)",
    ),
    "idle": ([update(i, active=0.0) for i in range(1, 120)], "Step 50: no image is behind the margin any more"),
    "z_ref ran away": ([update(i, level=0.001 * i) for i in range(1, 40)], "Step 21: z_ref has run away (0.021)"),
}


@pytest.mark.parametrize("name", list(TROUBLE))
def test_an_alarm_rings_once_and_says_when(name: str) -> None:
    lines, said = TROUBLE[name]
    sentences = heard(lines)
    assert len(sentences) == 1
    assert sentences[0].startswith(said)


HEALTHY: dict[str, list[dict[str, Any]]] = {
    "updates": [update(i, active=0.3, level=1e-3, logit=0.2) for i in range(1, 200)],
    "validations": [validation(10 * i, 0.6 + 0.02 * i) for i in range(1, 15)],
    "worse twice, then better": [validation(i, drift=drift) for i, drift in enumerate([1e-4, 1e-4, -1e-4] * 5)],
    "a little less accurate": [validation(1, 0.9), *(validation(i, 0.82) for i in range(2, 9))],
    "less accurate twice": [validation(i, accuracy) for i, accuracy in enumerate([0.9, 0.5, 0.5] * 5)],
    "cut during warm-up": [update(i, gradient_norm=50.0 if i <= 5 else 0.5) for i in range(1, 200)],
    "one gradient of fifty is small": [update(i, gradient_norm=5.0 if i % 50 == 0 else 50.0) for i in range(1, 200)],
    "one image of fifty is active": [update(i, active=float(i % 50 == 0)) for i in range(1, 200)],
}


@pytest.mark.parametrize("name", list(HEALTHY))
def test_healthy_runs_ring_no_alarm(name: str) -> None:
    assert heard(HEALTHY[name]) == []


def test_objectives_without_a_beta_or_a_clip_have_none_of_their_alarms() -> None:
    assert heard([update(1, level=1e9)], beta=0.0) == []
    watch = Watch(clip=0.0, warmup=0)
    assert [watch.look(update(i, gradient_norm=1e9)) for i in range(200)] == [[]] * 200


def test_a_run_keeps_its_alarms(tmp_path: Path) -> None:
    """Two steps at a small learning rate are swallowed by half precision, of which a run tells at its end."""
    run = run_of(tmp_path, steps=1, learning_rate=1e-7)
    status = train(run)
    assert len(status.alarms) == 1
    assert "In half precision only" in status.alarms[0]
    assert run.status().alarms == status.alarms
