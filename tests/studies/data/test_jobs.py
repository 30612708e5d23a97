"""Work in the background, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lib_rankopt.errors import NotFoundError
from lib_rankopt.studies.data.jobs import Jobs, Step


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    opened = Jobs()
    yield opened
    opened.close()


def test_a_job_that_waits_is_stopped_at_once_and_never_begins(jobs: Jobs) -> None:
    gate, begun = threading.Event(), threading.Event()

    def first() -> Iterator[Step]:
        begun.set()
        assert gate.wait(20)
        yield Step(1, 2, "images", "half")
        yield Step(2, 2, "images", "all")

    went: list[str] = []

    def second() -> Iterator[Step]:
        went.append("second")
        yield Step(1)

    running, waiting = jobs.start("import", "one", first), jobs.start("import", "two", second)
    assert begun.wait(20)
    assert (jobs.stop(waiting.id).state, jobs.stop(running.id).state) == ("stopped", "running")
    gate.set()
    ended = jobs.wait(running.id, 20)
    assert (ended.state, ended.done, ended.outcome) == ("stopped", 1, "half")
    assert jobs.wait(jobs.start("import", "three", lambda: iter([Step(1)])).id, 20).state == "done"
    assert (went, jobs.view(waiting.id).state) == ([], "stopped")


def test_jobs_that_ended_long_ago_are_forgotten(jobs: Jobs) -> None:
    first = jobs.start("look", "first", lambda: iter([Step(1)]))
    for number in range(60):
        jobs.stop(jobs.wait(jobs.start("look", str(number), lambda: iter([Step(1)])).id, 20).id)
    assert len(jobs.views()) <= 51
    assert len(jobs._stopped) <= 51
    for call in (jobs.view, jobs.stop):
        with pytest.raises(NotFoundError):
            call(first.id)
