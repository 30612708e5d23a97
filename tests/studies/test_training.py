"""Runs as a service: one after another, in processes of their own, while the host's model is away."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.store.records import new_id
from lib_rankopt.studies.service import StudyService
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.folder import RunFolder
from tests.studies.trained import SMALL, TrainerHost, calls, ended, finished_run, pairs, services, stub, until

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the stand-in for the trainer is a shell script")


@pytest.fixture
def host(tmp_path: Path) -> TrainerHost:
    return TrainerHost(tmp_path / "loras")


@pytest.fixture
def opener(tmp_path: Path, host: TrainerHost) -> Iterator[Callable[[], StudyService]]:
    with services(tmp_path / "data", host) as make:
        yield make
        (tmp_path / "stub").mkdir(exist_ok=True)
        (tmp_path / "stub" / "go").touch()


@pytest.fixture
def service(opener: Callable[[], StudyService]) -> StudyService:
    return opener()


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    return {**SMALL, "data": [str(pairs(tmp_path / "pictures"))], "steps": 3, "name": "taste"}


# -- before a run
def test_a_check_counts_what_there_is(service: StudyService, values: dict[str, Any]) -> None:
    reach = service.training.check(values)
    assert {name: reach.counts[name] for name in ("pairs", "images", "prompts", "held_out_prompts")} == {
        "pairs": 4, "images": 8, "prompts": 4, "held_out_prompts": 1,
    }  # fmt: skip
    assert any("8 images under 4 prompts" in sentence for sentence in reach.sentences)
    assert service.training.runs() == []


def test_data_without_anything_to_learn_from_are_refused(service: StudyService, tmp_path: Path, values: dict[str, Any]) -> None:
    likes = tmp_path / "pictures" / "likes.jsonl"
    likes.write_text('{"image": "0-win.png", "prompt": "a fox", "label": true}')
    with pytest.raises(InvalidInputError, match="nothing that dpo learns from"):
        service.training.start({**values, "data": [str(likes)]})
    with pytest.raises(InvalidInputError, match="no feedback"):
        service.training.start({**values, "data": []})
    with pytest.raises(NotFoundError, match="no study 'gone'"):
        service.training.check({**values, "data": ["gone"]})
    assert service.training.runs() == []


def test_another_python_that_is_not_there_is_refused(service: StudyService, host: TrainerHost, values: dict[str, Any]) -> None:
    host.python = "/nope"
    with pytest.raises(InvalidInputError, match="--rankopt-trainer-python /nope: there is no such file"):
        service.training.start(values)
    assert service.training.runs() == []
    assert host.entered == 0


def test_a_host_without_a_folder_for_loras_trains_nothing(service: StudyService, host: TrainerHost, values: dict[str, Any]) -> None:
    host.loras = None
    with pytest.raises(InvalidInputError, match="no folder for LoRAs"):
        service.training.start(values)


# -- the queue
@posix
def test_runs_wait_for_each_other_and_can_be_called_off_meanwhile(
    service: StudyService, host: TrainerHost, values: dict[str, Any], tmp_path: Path
) -> None:
    host.python = str(stub(tmp_path / "stub"))
    training = service.training
    first, second, third = (training.start(values).id for _ in range(3))
    until(lambda: calls(tmp_path / "stub") == [first])
    assert [training.run(run).state for run in (first, second, third)] == ["queued"] * 3
    assert training.run(second).stage == "waiting for its turn"
    paused, cancelled = training.pause(second), training.cancel(third)
    assert (paused.state, paused.running, cancelled.state, cancelled.running) == ("paused", False, "cancelled", False)
    assert training.resume(second).state == "queued"
    for forbidden in (training.resume, training.delete):
        with pytest.raises(ConflictError, match="being trained"):
            forbidden(first)
        with pytest.raises(ConflictError, match="being trained"):
            forbidden(second)
    (tmp_path / "stub" / "go").touch()
    states = [ended(service, run) for run in (first, second)]
    assert all("ended with code 3. the card has left" in str(one.error) for one in states)
    assert calls(tmp_path / "stub") == [first, second]
    assert training.run(third).state == "cancelled"
    until(lambda: host.found == 2)  # the list is renewed right after
    assert host.entered == host.left == 2


@posix
def test_a_run_that_is_called_off_while_the_model_goes_away_is_not_begun(
    service: StudyService, host: TrainerHost, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.python = str(stub(tmp_path / "stub"))
    going, may_go = threading.Event(), threading.Event()
    original = host.away

    def slowly() -> Any:
        going.set()
        may_go.wait(60)
        return original()

    monkeypatch.setattr(host, "away", slowly)
    run = service.training.start(values).id
    assert going.wait(60)
    service.training.pause(run)
    may_go.set()
    assert ended(service, run).state == "paused"
    assert calls(tmp_path / "stub") == []


@posix
def test_a_model_that_cannot_go_away_fails_the_run_and_holds_up_nothing(
    service: StudyService, host: TrainerHost, values: dict[str, Any], tmp_path: Path
) -> None:
    host.python = str(stub(tmp_path / "stub"))
    (tmp_path / "stub" / "go").touch()
    host.stays = RuntimeError("the card is held by another")
    failed = ended(service, service.training.start(values).id)
    assert failed.state == "failed"
    assert failed.error == "The trainer could not be run: the card is held by another"
    host.stays = None
    following = service.training.start(values).id
    ended(service, following)
    assert calls(tmp_path / "stub") == [following]


@posix
def test_a_model_that_does_not_come_back_leaves_the_run_finished(
    service: StudyService, host: TrainerHost, values: dict[str, Any], tmp_path: Path
) -> None:
    host.python = str(stub(tmp_path / "stub", 'echo \'{"state": "finished", "step": 3}\' > "$run/status.json"'))
    (tmp_path / "stub" / "go").touch()
    host.lost = RuntimeError("CUDA out of memory")
    run = ended(service, service.training.start(values).id)
    assert (run.state, run.step) == ("finished", 3)
    assert "CUDA out of memory" in str(run.error)


@posix
def test_a_folder_that_is_removed_by_hand_holds_up_nothing(
    service: StudyService, host: TrainerHost, values: dict[str, Any], tmp_path: Path
) -> None:
    host.python = str(stub(tmp_path / "stub"))
    first = service.training.start(values).id
    until(lambda: calls(tmp_path / "stub") == [first])
    shutil.rmtree(tmp_path / "data" / "training" / first)
    (tmp_path / "stub" / "go").touch()
    second = service.training.start(values).id
    assert "ended with code 3" in str(ended(service, second).error)
    assert [one.id for one in service.training.runs()] == [second]


@posix
def test_a_trainer_that_ends_without_a_word_has_failed(
    service: StudyService, host: TrainerHost, values: dict[str, Any], tmp_path: Path
) -> None:
    host.python = str(stub(tmp_path / "stub", "exit 0"))
    (tmp_path / "stub" / "go").touch()
    run = ended(service, service.training.start(values).id)
    assert (run.state, run.error) == ("failed", "The trainer ended without a word. Resume to go on from the last checkpoint.")


@posix
def test_what_waits_at_the_end_is_paused_for_the_next_service(
    opener: Callable[[], StudyService], host: TrainerHost, values: dict[str, Any], tmp_path: Path
) -> None:
    host.python = str(stub(tmp_path / "stub", "cat > /dev/null"))
    service = opener()
    first, second = (service.training.start(values).id for _ in range(2))
    until(lambda: calls(tmp_path / "stub") == [first])
    (tmp_path / "stub" / "go").touch()
    service.close()
    again = opener().training
    assert (again.run(second).state, again.run(second).running) == ("paused", False)
    assert calls(tmp_path / "stub") == [first]


# -- runs that are there
def test_a_run_of_a_machine_that_died_is_paused(service: StudyService, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "data" / "training" / new_id(), TrainingConfig(steps=9))
    folder.say(replace(folder.status(), state="training", stage="training", step=4, eta_seconds=77.0, pid=1))
    view = service.training.run(folder.path.name)
    assert (view.state, view.running, view.stage, view.step, view.eta_seconds) == ("paused", False, "", 4, None)
    assert service.training.cancel(view.id).state == "cancelled"
    service.training.delete(view.id)
    assert service.training.runs() == []


def test_a_trainer_of_another_process_is_seen(service: StudyService, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "data" / "training" / new_id(), TrainingConfig(steps=9))
    folder.say(replace(folder.status(), state="training", stage="training", step=4))
    with folder.claimed():
        view = service.training.run(folder.path.name)
        assert (view.state, view.running) == ("training", True)
        with pytest.raises(ConflictError):
            service.training.delete(view.id)
        service.training.pause(view.id)
        assert folder.command() == "pause"
        assert folder.status().state == "training"  # which the other one says itself


def test_a_finished_run_is_over(service: StudyService, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "data")
    for forbidden in (service.training.pause, service.training.cancel, service.training.resume):
        with pytest.raises(ConflictError, match="finished"):
            forbidden(run)
    view = service.training.run(run)
    assert (view.outputs, view.best) == (("taste-dpo-0010", "taste-dpo-0020"), "taste-dpo-0010")
    assert view.samples == (20,)
    assert [line["step"] for line in service.training.metrics(run, 1)] == [2]
    service.training.delete(run)
    with pytest.raises(NotFoundError):
        service.training.run(run)
