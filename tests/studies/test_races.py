"""Two things at the same moment, each brought about on purpose: nothing is lost, nothing counts twice, no file is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.errors import GenerationError
from lib_rankopt.studies.generation import run_round
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.worker import Job, Worker
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, Brightness, FakeHost, next_round, play, ranking
from tests.studies.test_worker import until


def in_between(
    patch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    *,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Let something happen once, just before or just after a method of ``owner`` does its work."""
    real, done = getattr(owner, name), []

    def wrapped(*given: Any, **options: Any) -> Any:
        first = not done
        done.append(1)
        if first:
            before()
        result = real(*given, **options)
        if first:
            after()
        return result

    patch.setattr(owner, name, wrapped)


class Beside:
    """Something done in another thread, which may have to wait for us.

    :meth:`begin` goes on when it is done, or after so many seconds.
    """

    def __init__(self, action: Callable[[], object], seconds: float = 0.5) -> None:
        self._thread, self._seconds = threading.Thread(target=action), seconds

    def begin(self) -> None:
        self._thread.start()
        self._thread.join(self._seconds)

    def end(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


# -- the worker
def test_a_job_is_taken_while_one_of_its_name_is_ending() -> None:
    queues: list[int] = []
    worker = Worker(lambda jobs: queues.append(len(jobs)), lambda: None)
    running, gate, ran = threading.Event(), threading.Event(), []

    def slow(_job: Job) -> None:
        running.set()
        gate.wait(20)
        ran.append("first")

    worker.submit(Job("s", "same", slow))
    assert running.wait(20)
    for name in ("second", "third"):
        worker.submit(Job("s", "same", lambda _job, name=name: ran.append(name)))  # type: ignore[misc]
    gate.set()
    until(lambda: not worker.has("same"))
    worker.close()
    assert ran == ["first", "second"]


def test_a_round_started_again_before_its_job_has_returned_is_made(
    service: StudyService, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = service.create(SETTINGS)
    told, gate = threading.Event(), threading.Event()

    def finished(*_: Any) -> None:
        told.set()
        gate.wait(20)

    with monkeypatch.context() as patch:
        patch.setattr(service._rounds, "_finished", finished)
        host.fail = {0: GenerationError("once")}
        service.start_round(study.id)
        assert told.wait(20)
        host.fail = {}
        assert service.start_round(study.id).status == "queued"
        gate.set()
        assert service.wait(study.id, 5).status == "ready"


def test_progress_of_a_round_started_again_is_not_ended_by_its_old_job(
    service: StudyService, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = service.create(SETTINGS)
    told, gate = threading.Event(), threading.Event()
    again = Beside(lambda: service.start_round(study.id))
    with monkeypatch.context() as patch:
        patch.setattr(service._rounds, "_finished", lambda *_: (told.set(), gate.wait(20)))
        in_between(patch, service._room.board, "end", before=again.begin)
        host.fail = {0: GenerationError("once")}
        service.start_round(study.id)
        assert told.wait(20)
        again.end()
        assert service.progress(study.id).job == "round"
        gate.set()
        service.wait(study.id, 30)


def test_a_round_of_ours_that_nobody_makes_is_taken_up(service: StudyService, host: FakeHost) -> None:
    first, second = service.create(SETTINGS), service.create(SETTINGS)
    host.gate.clear()
    service.start_round(first.id)
    service.start_round(second.id)
    assert service._worker.cancel(second.id)
    host.gate.set()
    service.wait(first.id, 30)
    service._rounds.resume()
    assert service.wait(second.id, 5).status == "ready"


def test_a_round_that_is_being_started_is_not_taken_up_as_well(
    service: StudyService, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = service.create(SETTINGS)
    resume = Beside(service._rounds.resume)
    with monkeypatch.context() as patch:
        in_between(patch, service._rounds, "_submit", before=resume.begin)
        service.start_round(study.id)
    resume.end()
    assert service.wait(study.id, 30).status == "ready"
    until(lambda: service.progress(study.id).job == "idle")
    assert len(host.calls) == 1


@pytest.mark.parametrize("state", ["ready", "failed", "interrupted", "discarded"])
def test_running_a_round_twice_does_no_harm(service: StudyService, host: FakeHost, state: str) -> None:
    study = service.create(SETTINGS)
    next_round(service, study.id)
    store = service._room.store
    record = store.round(study.id, 0)
    store.set_round_state(record.id, state, expect=("ready",), error="said")  # type: ignore[arg-type]
    before = store.round_by_id(record.id)
    assert run_round(service._room, Job(study.id, record.id, lambda _job: None), record) is None
    assert store.round_by_id(record.id) == before
    assert len(host.calls) == 1


# -- a person and a scorer
@pytest.mark.parametrize("action", ["answer", "undo"])
def test_what_a_person_does_and_the_scorers_answer_never_both_count(
    open_service: Opener, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    judge = Brightness()
    service = open_service(scorers={"brightness": lambda: judge})
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    view = next_round(service, study.id)
    judge.gate.clear()
    service.start_auto(study.id, "brightness", 5)

    def let_the_scorer_answer() -> None:
        judge.gate.set()
        until(lambda: judge.batches)
        time.sleep(0.2)

    in_between(monkeypatch, service._auto, "stop", before=let_the_scorer_answer)
    if action == "answer":
        service.answer(study.id, 1, ranking(view, 1))
    else:
        service.undo(study.id)
    time.sleep(0.2)
    after = service.get(study.id)
    assert (after.auto, after.warnings) == (None, ())
    assert after.rounds == (2 if action == "answer" else 1)
    assert {event.rater for event in service._room.store.events(study.id)} == {"me"}


# -- files that studies share
def pair_of_studies(service: StudyService) -> tuple[str, str]:
    """Return a study with one round, and one without that will have the same latents and images."""
    old, new = service.create(SETTINGS), service.create(SETTINGS)
    next_round(service, old.id)
    return old.id, new.id


def check_whole(service: StudyService, study: str) -> None:
    view = service.wait(study, 30)
    assert view.status == "ready", view.error
    for candidate in view.candidates:
        service._room.blobs.load_latent(candidate.latent)
        service._room.blobs.load_image(candidate.image or "")


@pytest.mark.parametrize("where", ["same process", "another process"])
def test_deleting_a_study_while_a_round_with_its_latents_is_added(
    open_service: Opener, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    service = open_service()
    deleter = service if where == "same process" else open_service()
    old, new = pair_of_studies(service)
    delete = Beside(lambda: deleter.delete(old), 0.5 if deleter is service else 20.0)
    in_between(monkeypatch, service._room.store, "add_round", before=delete.begin)
    service.start_round(new)
    delete.end()
    check_whole(service, new)
    assert [study.id for study in service.list()] == [new]


def test_adding_a_round_when_the_files_are_about_to_be_deleted(service: StudyService, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair_of_studies(service)
    start = Beside(lambda: service.start_round(new))
    in_between(monkeypatch, service._room.store, "unused", after=start.begin)
    service.delete(old)
    start.end()
    check_whole(service, new)


@pytest.mark.parametrize("step", ["delete_study", "unused"])
def test_making_images_while_a_study_with_the_same_ones_is_deleted(
    service: StudyService, host: FakeHost, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old, new = pair_of_studies(service)
    host.gate.clear()
    service.start_round(new)
    until(lambda: len(host.calls) == 2)

    def make() -> None:
        host.gate.set()
        service.wait(new, 0.5)

    in_between(monkeypatch, service._room.store, step, after=make)
    service.delete(old)
    check_whole(service, new)


def test_another_process_is_asked_before_files_are_deleted(open_service: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    service, other = open_service(), open_service()
    old, new = pair_of_studies(service)

    def make() -> None:
        other.start_round(new)
        check_whole(other, new)

    in_between(monkeypatch, service._room.store, "delete_study", after=make)
    service.delete(old)
    check_whole(other, new)


def test_a_blind_test_begun_while_a_study_with_its_latents_is_deleted(
    service: StudyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = service.create(SETTINGS), service.create(SETTINGS)
    play(service, old.id, 1)
    play(service, new.id, 1)
    service.start_blind(old.id, 1)
    delete = Beside(lambda: service.delete(old.id))
    in_between(monkeypatch, service._room.store, "add_blind", before=delete.begin)
    test = service.start_blind(new.id, 1)
    delete.end()
    trial = service.next_trial(test)
    assert trial is not None
    assert all(service.image_path(name).is_file() for name in (trial.left, trial.right))


def test_a_blind_test_whose_study_is_deleted_leaves_no_image(
    service: StudyService, host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    before = set(tmp_path.rglob("*.png"))
    store = service._room.store
    in_between(monkeypatch, store, "set_trial_image", before=lambda: store.delete_study(study.id))
    host.gate.clear()
    test = service.start_blind(study.id, 8)
    until(lambda: len(host.calls) == 2)
    host.gate.set()
    until(lambda: not service._worker.has(f"blind {test}"))
    assert service.list() == []
    assert set(tmp_path.rglob("*.png")) <= before
