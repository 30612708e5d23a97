"""One run that is paused, killed, closed upon and orphaned, beside one that is left alone: both end with the same bits."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_rankopt.cli import main
from lib_rankopt.diffusion.lora import file
from lib_rankopt.errors import ConflictError
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.training_views import TrainingRunView
from lib_rankopt.training.config import from_dict
from lib_rankopt.training.folder import RunFolder
from tests.studies.trained import SMALL, TrainerHost, ended, pairs, until

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

STEPS, SAVED = 40, 10
ROOT = Path(__file__).parents[2]
PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(600)
"""


@dataclass
class Journey:
    """What was seen on the way. ``views``: after each station. ``counts``: entered, left and found of the host, at the same places."""

    data: Path
    loras: Path
    whole: RunFolder
    broken: RunFolder
    views: dict[str, TrainingRunView] = field(default_factory=dict)
    counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def note(self, name: str, service: StudyService, run: RunFolder) -> None:
        host: Any = service.host
        self.views[name] = ended(service, run.path.name)
        until(lambda: host.found == host.left)  # the list is renewed right after
        self.counts[name] = (host.entered, host.left, host.found)
        self.steps[name] = last(run)


def last(run: RunFolder) -> int:
    return max((line["step"] for line in run.metrics()), default=0)


def saved(run: RunFolder) -> int:
    """Step of the newest checkpoint."""
    names = [path.stem for path in (run.path / "checkpoints").glob("step-*.pt")]
    return max((int(name.rsplit("-", 1)[1]) for name in names), default=0)


def further(run: RunFolder, steps: int = 2) -> Callable[[], bool]:
    """Whether it has gone on for some steps from now."""
    begin = last(run)
    return lambda: last(run) >= begin + steps or run.status().state in ("failed", "finished")


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    home = tmp_path_factory.mktemp("journey")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        service = StudyService(home / "data", TrainerHost(home / "loras"))
        values = {**SMALL, "data": [str(pairs(home))], "steps": STEPS, "seed": 4, "ema": 0.9}
        runs = [service.training.start({**values, "name": name}).id for name in ("whole", "broken")]
        seen = Journey(home / "data", home / "loras", *(service.training.folder(run) for run in runs))
        try:
            travel(seen, service)
            yield seen
        finally:
            service.close()
            for run in (seen.whole, seen.broken):
                kill(run)


def travel(seen: Journey, service: StudyService) -> None:
    run = seen.broken.path.name
    seen.views["waiting"] = service.training.run(run)
    seen.note("whole", service, seen.whole)
    until(further(seen.broken))
    seen.views["training"] = service.training.run(run)
    seen.refused = [str(refusal(forbidden, run)) for forbidden in (service.training.resume, service.training.delete)]
    service.training.pause(run)
    seen.note("paused", service, seen.broken)
    service.training.resume(run)
    before = saved(seen.broken)
    until(lambda: saved(seen.broken) > before and last(seen.broken) > saved(seen.broken))
    kill(seen.broken)
    seen.note("killed", service, seen.broken)
    service.training.resume(run)
    until(further(seen.broken))
    service.close()
    seen.views["closed"] = service.training.run(run)
    seen.steps["closed"] = saved(seen.broken)
    orphan(seen)
    finish(seen)


def refusal(forbidden: Callable[[str], object], run: str) -> ConflictError | None:
    try:
        forbidden(run)
    except ConflictError as error:
        return error
    return None


def kill(run: RunFolder) -> None:
    pid = run.status().pid
    if run.is_claimed and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def orphan(seen: Journey) -> None:
    """Train under a parent that is killed."""
    seen.broken.order("run")
    command = [sys.executable, "-m", "lib_rankopt", "--data-dir", str(seen.data), "--device", "cpu", "train"]
    command += ["--resume", str(seen.broken.path), "--pause-with-stdin", "--output", str(seen.loras), "--json"]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *command], cwd=ROOT)
    try:
        until(further(seen.broken))
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not seen.broken.is_claimed)


def finish(seen: Journey) -> None:
    service = StudyService(seen.data, TrainerHost(seen.loras))
    try:
        seen.views["orphaned"] = service.training.run(seen.broken.path.name)
        seen.steps["orphaned"] = saved(seen.broken)
        service.training.resume(seen.broken.path.name)
        seen.note("finished", service, seen.broken)
    finally:
        service.close()


def test_a_run_writes_files_and_metrics_and_renews_the_list(journey: Journey) -> None:
    view = journey.views["whole"]
    assert (view.state, view.step, view.error) == ("finished", STEPS, None)
    assert view.outputs == tuple(f"whole-dpo-{step:04d}" for step in range(SAVED, STEPS + 1, SAVED))
    assert view.best in view.outputs
    assert view.counts["pairs"] == 4
    assert len(view.prompts) == 1
    for name in view.outputs:
        assert (journey.loras / f"{name}.safetensors").is_file()
        assert (journey.loras / f"{name}.json").is_file()
    lines = journey.whole.metrics()
    assert [line["step"] for line in lines if not line.get("validation")] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if line.get("validation")] == list(range(10, STEPS + 1, 10))


def test_the_model_is_away_once_a_run_and_comes_back_each_time(journey: Journey) -> None:
    entered, left, found = journey.counts["whole"]
    # the next one may be on its way already
    assert (entered in (1, 2), left, found) == (True, 1, 1)
    assert journey.counts["paused"] == (2, 2, 2)
    assert journey.counts["killed"] == (3, 3, 3)
    assert journey.counts["finished"] == (1, 1, 1)


def test_the_second_run_waits_for_the_first(journey: Journey) -> None:
    assert (journey.views["waiting"].state, journey.views["waiting"].stage) == ("queued", "waiting for its turn")
    assert journey.views["training"].state == "training"
    assert journey.views["training"].running
    assert min(line["step"] for line in journey.broken.metrics()) == 1


def test_a_run_under_way_is_neither_resumed_nor_deleted(journey: Journey) -> None:
    assert all("being trained" in sentence for sentence in journey.refused)
    assert journey.broken.exists


def test_a_pause_keeps_what_was_learnt(journey: Journey) -> None:
    view = journey.views["paused"]
    assert (view.state, view.running, view.error) == ("paused", False, None)
    assert 2 <= view.step == journey.steps["paused"] < STEPS


def test_a_killed_trainer_is_told_and_leaves_its_checkpoint(journey: Journey) -> None:
    view = journey.views["killed"]
    assert view.state == "failed"
    assert f"ended with code {-signal.SIGKILL}" in str(view.error)
    assert SAVED < journey.steps["killed"] < STEPS


def test_closing_the_service_pauses_the_run(journey: Journey) -> None:
    assert journey.views["closed"].state == "paused"
    assert SAVED < journey.steps["closed"] < STEPS


def test_a_trainer_whose_parent_dies_pauses_by_itself(journey: Journey) -> None:
    assert (journey.views["orphaned"].state, journey.views["orphaned"].error) == ("paused", None)
    assert journey.steps["closed"] < journey.steps["orphaned"] < STEPS


def test_the_end_is_that_of_a_run_that_was_left_alone(journey: Journey) -> None:
    assert journey.views["finished"].state == "finished"
    states = [file.read(journey.loras / f"{name}-dpo-{STEPS:04d}.safetensors")[0] for name in ("whole", "broken")]
    assert file.data_hash(states[0]) == file.data_hash(states[1])
    first, _ = file.read(journey.loras / f"whole-dpo-{SAVED:04d}.safetensors")
    assert file.data_hash(first) != file.data_hash(states[0])
    assert journey.broken.metrics() == journey.whole.metrics()


def test_a_pause_while_the_trainer_starts_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds until a trainer has read its libraries, and longer until it has its lock."""
    values = {**SMALL, "data": [str(pairs(tmp_path))], "steps": 2, "base": "pocket"}
    run = RunFolder.create(tmp_path / "home" / "training" / "r1", from_dict(values))
    run.order("pause")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as standing_open:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(standing_open.raw)))  # type: ignore[attr-defined]
        common = ["--data-dir", str(tmp_path / "home"), "train", "--resume", str(run.path), "--output", str(tmp_path / "loras"), "--json"]
        try:
            assert main([*common, "--pause-with-stdin"]) == 0
            assert (run.status().state, run.status().step) == ("paused", 0)
            # a person who resumes it by hand wants it to go on
            assert main(common) == 0
            assert (run.status().state, run.status().step) == ("finished", 2)
        finally:
            os.close(writing)
