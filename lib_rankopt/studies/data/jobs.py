"""Long work in the background, one after the other: imports, exports, looking at files. Progress with an estimate, and a stop button."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, Literal

from lib_rankopt.errors import NotFoundError, RankOptError
from lib_rankopt.store.records import new_id

log = logging.getLogger("rankopt.studies")

JobState = Literal["queued", "running", "done", "stopped", "failed"]
_KEPT = 50
_ENDED = ("done", "stopped", "failed")


@dataclass(frozen=True)
class Step:
    """A sign of life of a job: how much is done, of how much (0: not known), in what, and what it came to so far."""

    done: int
    total: int = 0
    unit: str = ""
    outcome: Any = None


@dataclass(frozen=True)
class JobView:
    """A job as faces see it.

    Attributes:
        title: in words, such as ``Importing train.csv``.
        eta: seconds until the end, ``None`` where that cannot be told.
        outcome: the last step's; plain values.
        error: why it failed, in one sentence; empty otherwise.
    """

    id: str
    kind: str
    title: str
    state: JobState = "queued"
    done: int = 0
    total: int = 0
    unit: str = ""
    seconds: float = 0.0
    eta: float | None = None
    outcome: Any = None
    error: str = ""
    collection: int | None = None


class Jobs:
    """Runs iterators of steps in one background thread, in the order in which they were started. Thread-safe.

    What a job has done up to a step stays when it is stopped: work is cut into steps that are each whole.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._views: dict[str, JobView] = {}
        self._stopped: set[str] = set()
        self._queue: SimpleQueue[tuple[str, Callable[[], Iterator[Step]]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, kind: str, title: str, work: Callable[[], Iterator[Step]], collection: int | None = None) -> JobView:
        """Queue a job. ``work`` is called and gone through in the background thread."""
        view = JobView(new_id(), kind, title, collection=collection)
        with self._lock:
            self._views[view.id] = view
            for old in [v.id for v in self._views.values() if v.state in _ENDED][: max(0, len(self._views) - _KEPT)]:
                del self._views[old]
            self._stopped &= set(self._views)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rankopt-jobs", daemon=True)
                self._thread.start()
        self._queue.put((view.id, work))
        return view

    def views(self) -> list[JobView]:
        """All jobs that are remembered, newest first."""
        with self._lock:
            return list(reversed(self._views.values()))

    def view(self, job: str) -> JobView:
        """Return one job.

        Raises:
            NotFoundError: there is none of that id.
        """
        with self._lock:
            if job not in self._views:
                raise NotFoundError(f"There is no job '{job[:40]}'.")
            return self._views[job]

    def stop(self, job: str) -> JobView:
        """Stop a job after the step under way, one that waits at once; what it has done stays."""
        with self._lock:
            if self.view(job).state == "queued":
                self._set(job, state="stopped")
            self._stopped.add(job)
            return self.view(job)

    def wait(self, job: str, timeout: float | None = None) -> JobView:
        """Return a job once it has ended, or as it is after ``timeout`` seconds."""
        with self._lock:
            self._lock.wait_for(lambda: self.view(job).state in _ENDED, timeout)
        return self.view(job)

    def close(self) -> None:
        """Stop everything, and wait for the step under way."""
        with self._lock:
            self._stopped.update(self._views)
            thread = self._thread
        self._queue.put(None)
        if thread is not None:
            thread.join(timeout=30.0)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            job, work = item
            started = time.monotonic()
            try:
                ended = self._go_through(job, work, started)
                self._set(job, state="done" if ended else "stopped", eta=None)
            except RankOptError as error:
                self._set(job, state="failed", error=str(error), eta=None)
            except Exception as error:  # a border: the thread must live on, and the person be told
                log.exception("job %s failed", job)
                self._set(job, state="failed", error=f"{type(error).__name__}: {error}", eta=None)

    def _go_through(self, job: str, work: Callable[[], Iterator[Step]], started: float) -> bool:
        with self._lock:
            if job in self._stopped or job not in self._views:  # stopped, and perhaps forgotten since
                return False
            self._set(job, state="running")
        first: Step | None = None
        begun = started
        for step in work():
            # an import that goes on where it was stopped begins far from zero, and looking at its files begins anew
            if first is None or step.unit != first.unit:
                first, begun = step, started if first is None else time.monotonic()
            seconds, passed = time.monotonic() - started, time.monotonic() - begun
            rate = (step.done - first.done) / passed if passed > 1 else 0
            eta = (step.total - step.done) / rate if rate and step.total else None
            outcome = {} if step.outcome is None else {"outcome": step.outcome}
            self._set(job, done=step.done, total=step.total, unit=step.unit, seconds=round(seconds, 1), eta=eta, **outcome)
            if job in self._stopped:
                return False
        return True

    def _set(self, job: str, **changes: Any) -> None:
        with self._lock:
            if job in self._views:
                self._views[job] = replace(self._views[job], **changes)
            self._lock.notify_all()
