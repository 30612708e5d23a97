"""Generation in the background: progress, previews, interrupts, failures, full disks, what a dead process left."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.errors import ConflictError, GenerationError, StoreError
from lib_rankopt.store import open_store
from lib_rankopt.store.records import UNFINISHED
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import Answer
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, FakeHost, images, latents, next_round, play, ranking


def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def finished(service: StudyService, study: str, index: int = 0) -> int:
    return sum(c.image is not None for c in service.round(study, index).candidates)


def test_images_are_there_as_they_finish(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.seconds = 0.05
    service.start_round(study.id)
    until(lambda: 0 < finished(service, study.id) < 5)
    view = service.round(study.id, 0)
    assert view.status == "generating"
    image = next(c for c in view.candidates if c.image)
    assert service.image_path(image.image or "").is_file()
    assert service.get(study.id).busy
    liked = service.answer(study.id, 0, Answer("like", ((image.id,),)))
    assert liked.candidates[image.index].liked is True
    assert service.wait(study.id, 30).status == "ready"


def test_progress_by_long_poll(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    assert service.progress(study.id).job == "idle"
    host.seconds = 0.02
    service.start_round(study.id)
    seen, version = [], None
    while not seen or seen[-1].job != "idle":
        seen.append(service.progress(study.id, version, 10.0))
        version = seen[-1].version
    assert [p.version for p in seen] == sorted({p.version for p in seen})
    assert {p.job for p in seen} == {"round", "idle"}
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].fraction) == (5, 5, 1.0)
    assert any(p.eta_seconds for p in seen)


def test_quick_steps_do_not_wake_whoever_watches_each_time(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.steps = 2000
    host.gate.clear()
    service.start_round(study.id)
    before = service.progress(study.id).version
    host.gate.set()
    service.wait(study.id, 60)
    until(lambda: service.progress(study.id).job == "idle")
    assert service.progress(study.id).version - before < 1000  # of 10,000 steps


def test_a_long_poll_waits_no_longer_than_asked(service: StudyService) -> None:
    study = service.create(SETTINGS)
    version = service.progress(study.id).version
    start = time.monotonic()
    assert service.progress(study.id, version, 0.2).version == version
    assert 0.15 < time.monotonic() - start < 5.0


def test_versions_grow_over_restarts(open_service: Opener) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    next_round(service, study.id)
    before = service.progress(study.id).version
    service.close()
    time.sleep(0.1)
    assert open_service().progress(study.id, before, 5.0).version > before


def test_previews_while_generating(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.seconds = 0.05
    service.start_round(study.id)
    until(lambda: service.progress(study.id).previews)
    candidate = next(iter(service.progress(study.id).previews))
    assert (service.preview(study.id, candidate) or b"").startswith(b"\xff\xd8")
    assert service.preview(study.id, "nobody") is None
    service.wait(study.id, 30)
    until(lambda: service.progress(study.id).job == "idle")
    assert service.preview(study.id, candidate) is None


def test_studies_wait_in_line(service: StudyService, host: FakeHost) -> None:
    studies = [service.create(SETTINGS) for _ in range(3)]
    host.gate.clear()
    for study in studies:
        service.start_round(study.id)
    until(lambda: host.calls)
    until(lambda: service.progress(studies[1].id).queue_position == 1)
    assert [service.progress(s.id).queue_position for s in studies] == [0, 1, 2]
    host.gate.set()
    assert [service.wait(s.id, 30).status for s in studies] == ["ready"] * 3


# -- interrupts
def test_an_interrupted_round_counts_its_finished_images(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.seconds = 0.03
    service.start_round(study.id)
    until(lambda: finished(service, study.id) >= 2)
    service.interrupt(study.id)
    view = service.wait(study.id, 30)
    assert view.status == "interrupted"
    done = [c for c in view.candidates if c.image]
    assert 2 <= len(done) < 5
    with pytest.raises(ConflictError, match="has not been answered"):
        service.start_round(study.id)
    with pytest.raises(ValueError, match="no finished image"):
        service.answer(study.id, 0, ranking(view, view.candidates[-1].index))
    answered = service.answer(study.id, 0, Answer("ranking", ((done[1].id,),)))
    assert {i for tier in answered.tiers for i in tier} == {c.id for c in done}
    host.seconds = 0.0
    following = next_round(service, study.id)
    assert following.status == "ready"
    assert next(c for c in following.candidates if c.id == following.incumbent).latent == done[1].latent


def test_a_round_without_two_images_is_started_again_and_is_the_same(service: StudyService, host: FakeHost) -> None:
    study, same = service.create(SETTINGS), service.create(SETTINGS)
    host.gate.clear()
    service.start_round(study.id)
    until(lambda: host.calls)
    service.interrupt(study.id)
    view = service.wait(study.id, 30)
    assert view.status == "interrupted"
    with pytest.raises(ValueError, match="no finished image"):
        service.answer(study.id, 0, ranking(view))
    with pytest.raises(ConflictError, match="fewer than two"):
        service.answer(study.id, 0, Answer("none_better"))
    host.gate.set()
    assert next_round(service, study.id).status == "ready"
    next_round(service, same.id)
    assert service.get(study.id).rounds == 1
    assert images(service, study.id) == images(service, same.id)


def test_a_waiting_round_is_taken_out_of_the_line(service: StudyService, host: FakeHost) -> None:
    first, second = service.create(SETTINGS), service.create(SETTINGS)
    host.gate.clear()
    service.start_round(first.id)
    service.start_round(second.id)
    service.interrupt(second.id)
    assert service.round(second.id, 0).status == "interrupted"
    host.gate.set()
    assert service.wait(first.id, 30).status == "ready"
    assert len(host.calls) == 1
    service.interrupt(first.id)
    assert service.round(first.id, 0).status == "ready"


# -- failures
@pytest.mark.parametrize("failure", [GenerationError("latents are not a number"), RuntimeError("CUDA out of memory"), OSError(5, "I/O")])
def test_a_failure_is_told_and_can_be_repeated(service: StudyService, host: FakeHost, failure: Exception) -> None:
    study = service.create(SETTINGS)
    host.fail = {3: failure}
    view = next_round(service, study.id)
    assert view.status == "failed"
    assert str(failure) in (view.error or "")
    assert "\n" not in (view.error or "")
    assert [c.image is not None for c in view.candidates] == [True, True, True, False, False]
    assert service.progress(study.id).message == view.error
    host.fail = {}
    again = next_round(service, study.id)
    assert (again.status, again.error, again.index) == ("ready", None, 0)
    assert len(host.calls[-1].seeds) == 2
    assert [c.latent for c in again.candidates] == [c.latent for c in view.candidates]


def test_a_failed_round_can_be_ranked_as_far_as_it_came(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.fail = {3: GenerationError("broken")}
    view = next_round(service, study.id)
    assert service.answer(study.id, 0, ranking(view, 2)).status == "answered"
    host.fail = {}
    assert next_round(service, study.id).index == 1


def test_the_line_goes_on_after_a_failure(service: StudyService, host: FakeHost) -> None:
    first, second = service.create(SETTINGS), service.create(SETTINGS)
    host.gate.clear()
    host.fail = {0: RuntimeError("once")}
    service.start_round(first.id)
    service.start_round(second.id)
    host.gate.set()
    assert service.wait(first.id, 30).status == "failed"
    host.fail = {}
    assert service.wait(second.id, 30).status in ("ready", "failed")


def test_a_full_disk_fails_the_round_and_keeps_the_study(service: StudyService, monkeypatch: pytest.MonkeyPatch) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(StoreError, match="disk is full"):
            service.start_round(study.id)
    assert service.get(study.id).rounds == 1
    service.start_round(study.id)
    assert service.wait(study.id, 30).status == "ready"
    service.answer(study.id, 1, Answer("skip"))
    real = Path.replace

    def full_for_images(self: Path, target: Path) -> Path:
        return full() if "images" in str(target) else real(self, target)  # type: ignore[func-returns-value]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_for_images)
        view = next_round(service, study.id)
    assert view.status == "failed"
    assert "disk is full" in (view.error or "")
    assert next_round(service, study.id).status == "ready"


def test_a_full_database_fails_the_round_and_keeps_the_study(open_service: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    store = service._room.store

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("The database failed: the disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "set_image", full)
        patch.setattr(store, "set_round_state", _full_after_first(store.set_round_state, full))
        view = next_round(service, study.id)
    assert view.status == "failed"
    assert "disk is full" in (view.error or "")
    assert not service.get(study.id).busy
    assert next_round(service, study.id).status == "ready"


def _full_after_first(real: Any, full: Any) -> Any:
    calls: list[int] = []

    def limited(*given: Any, **options: Any) -> Any:
        calls.append(1)
        return real(*given, **options) if len(calls) == 1 else full()

    return limited


def left_in_the_middle(open_service: Opener, host: FakeHost) -> str:
    """Close a service while it generates; return the study."""
    service = open_service()
    study = service.create(SETTINGS)
    host.gate.clear()
    service.start_round(study.id)
    until(lambda: host.calls)
    service.close()
    return study.id


def test_another_model_file_is_noticed_when_a_round_is_resumed(open_service: Opener, host: FakeHost) -> None:
    study = left_in_the_middle(open_service, host)
    host.gate.set()
    host.model_bytes = b"another"
    view = open_service().wait(study, 30)
    assert view.status == "failed"
    assert "another file" in (view.error or "")


# -- taking up
def test_a_closed_service_leaves_its_rounds_to_the_next(open_service: Opener, host: FakeHost) -> None:
    service = open_service()
    study, waiting, same = (service.create(SETTINGS) for _ in range(3))
    host.seconds = 0.05
    service.start_round(study.id)
    service.start_round(waiting.id)
    until(lambda: finished(service, study.id) >= 1)
    service.close()
    host.seconds = 0.0
    again = open_service()
    assert again.wait(study.id, 30).status == "ready"
    assert again.wait(waiting.id, 30).status == "ready"
    next_round(again, same.id)
    assert images(again, study.id) == images(again, waiting.id) == images(again, same.id)


def test_only_who_leaves_something_leaves_a_lock_file(open_service: Opener, host: FakeHost, tmp_path: Path) -> None:
    def files() -> set[str]:
        return {path.stem for path in (tmp_path / "data" / "run").iterdir()}

    service = open_service()
    study = service.create(SETTINGS)
    owner = service._room.presence.owner
    for _ in range(2):
        open_service(resume=False).close()
    assert files() == {owner}
    host.gate.clear()
    service.start_round(study.id)
    until(lambda: host.calls)
    service.close()
    open_service(resume=False).close()
    assert files() == {owner}
    host.gate.set()
    again = open_service()
    assert again.wait(study.id, 30).status == "ready"
    again.close()
    assert files() == set()


def test_a_look_stays_a_look_while_it_is_idle(open_service: Opener, host: FakeHost) -> None:
    left_in_the_middle(open_service, host)
    look = open_service(resume=False)
    look._worker._on_idle()
    assert not look._worker._all()


def test_a_look_does_not_begin_to_generate(open_service: Opener, host: FakeHost, tmp_path: Path) -> None:
    study = left_in_the_middle(open_service, host)
    look = open_service(resume=False)
    assert look.get(study).busy
    assert look.round(study, 0).status in UNFINISHED
    look.close()
    assert len(host.calls) == 1
    store = open_store(tmp_path / "data")
    assert store.unfinished_rounds()[0].owner is not None
    store.close()


def test_another_living_process_is_left_alone(open_service: Opener, host: FakeHost) -> None:
    first = open_service()
    study = first.create(SETTINGS)
    host.seconds = 0.05
    first.start_round(study.id)
    second = open_service()
    with pytest.raises(ConflictError, match="still being generated"):
        second.start_round(study.id)
    assert second.wait(study.id, 30).status == "ready"
    assert len(host.calls) == 1


def test_two_services_on_one_database(open_service: Opener, url: str | None) -> None:
    services = [open_service(database_url=url) for _ in range(2)]
    study = services[0].create(SETTINGS)
    for index in range(4):
        started: list[str] = []

        def start(service: StudyService, started: list[str] = started) -> None:
            try:
                service.start_round(study.id)
                started.append("started")
            except ConflictError:
                started.append("refused")

        threads = [threading.Thread(target=start, args=(s,)) for s in services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(started) == ["refused", "started"]
        view = services[index % 2].wait(study.id, 30)
        assert (view.index, view.status) == (index, "ready")
        services[index % 2].answer(study.id, index, ranking(view, index))
        with pytest.raises(ConflictError):
            services[1 - index % 2].answer(study.id, index, ranking(view, 0))
    alone = services[0].create(SETTINGS)
    play(services[0], alone.id, 4, choose=lambda index: index)
    assert latents(services[1], alone.id) == latents(services[1], study.id)
    services[0].undo(study.id)
    view = services[1].round(study.id, 3)
    services[1].answer(study.id, 3, ranking(view, 3))
    next_round(services[1], study.id)
    next_round(services[0], alone.id)
    assert latents(services[1], alone.id) == latents(services[1], study.id)
