"""What tests of training share: a host with a folder for LoRAs, pairs of pictures, runs that are there already, stand-in trainers."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from lib_rankopt.diffusion.pocket.paths import checkpoint_path
from lib_rankopt.hosts.base import TrainerPlace
from lib_rankopt.store.records import new_id
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.training_views import TrainingRunView
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.folder import RunFolder
from tests.studies.fakes import FakeHost

SMALL = {
    "rank": 4, "targets": "attention", "batch_size": 2, "held_out": 0.25, "sample_every": 0, "validate_every": 10, "save_every": 10,
}  # fmt: skip


class TrainerHost(FakeHost):
    """Counts how often its model goes away and comes back.

    Attributes:
        entered, left: of :meth:`away`. found: calls of :meth:`find_loras`.
        stays, lost: raised where the model should go away, and where it should come back.
    """

    def __init__(self, loras: Path | None, python: str = sys.executable) -> None:
        super().__init__()
        self.loras, self.python = loras, python
        self.entered = self.left = self.found = 0
        self.stays: Exception | None = None
        self.lost: Exception | None = None

    def lora_dir(self) -> Path | None:
        return self.loras

    def trainer_place(self) -> TrainerPlace:
        return TrainerPlace(self.python, "cpu")

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        if self.stays is not None:
            raise self.stays
        self.entered += 1
        try:
            yield
        finally:
            self.left += 1
        if self.lost is not None:
            raise self.lost

    def find_loras(self) -> None:
        self.found += 1


@contextlib.contextmanager
def services(folder: Path, host: TrainerHost) -> Iterator[Callable[[], StudyService]]:
    """Lend what opens services on a folder; all are closed at the end."""
    made: list[StudyService] = []

    def make() -> StudyService:
        made.append(StudyService(folder, host))
        return made[-1]

    yield make
    for service in made:
        service.close()


def pairs(folder: Path, prompts: int = 4) -> Path:
    """A file of pairs, one under each prompt: bright pictures are better."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(prompts):
        for kind, shade in (("win", 250), ("lose", 20)):
            Image.new("RGB", (64, 64), (shade, shade - i, shade)).save(folder / f"{i}-{kind}.png")
        rows.append({"win": f"{i}-win.png", "lose": f"{i}-lose.png", "prompt": f"a {('fox', 'cat', 'dog', 'car')[i % 4]}"})
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def stub(folder: Path, ending: str = "echo the card has left >&2; exit 3") -> Path:
    """A stand-in for the trainer's Python, which waits for ``folder/go``; ``folder/calls`` has a line for each start.

    In ``ending``, ``$run`` is the run's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    path.write_text(
        f'#!/bin/sh\necho "$*" >> "{folder}/calls"\nwhile [ "$1" != --resume ]; do shift; done\nrun="$2"\n'
        f'while [ ! -e "{folder}/go" ]; do sleep 0.02; done\n{ending}\n'
    )
    path.chmod(0o755)
    return path


def calls(folder: Path) -> list[str]:
    """Ids of the runs that the stand-in was started for."""
    with contextlib.suppress(FileNotFoundError):
        words = [line.split() for line in (folder / "calls").read_text().splitlines()]
        return [Path(line[line.index("--resume") + 1]).name for line in words]
    return []


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait for something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"it did not happen within {seconds} s")


def ended(service: StudyService, run: str) -> TrainingRunView:
    """Wait until nothing works on a run."""
    until(lambda: not service.training.run(run).running)
    return service.training.run(run)


def finished_run(data_dir: Path, outputs: tuple[str, ...] = ("taste-dpo-0010", "taste-dpo-0020"), **changes: Any) -> str:
    """Lay out a run that has ended, as a trainer would have left it; return its id."""
    config = TrainingConfig(base=str(checkpoint_path().absolute()), name="taste", steps=20, **changes)
    folder = RunFolder.create(data_dir / "training" / new_id(), config)
    files = tuple(str(data_dir / "loras" / f"{name}.safetensors") for name in outputs)
    best = files[0] if files else None
    folder.say(replace(folder.status(), state="finished", step=20, outputs=files, best=best, prompts=("a fox", "a cat")))
    for step in (1, 2):
        folder.log_metrics({"step": step, "loss": 1.0 / step})
    (folder.path / "samples").mkdir()
    Image.new("RGB", (12, 8), (9, 8, 7)).save(folder.path / "samples" / "step-000020.png")
    return folder.path.name
