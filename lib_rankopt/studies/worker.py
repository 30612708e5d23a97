"""The background worker: one thread, first come first served over all studies."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger("rankopt.studies")


@dataclass(eq=False)
class Job:
    """One piece of generating.

    Attributes:
        key: id of the round or blind test.
        run: does the work in the worker's thread and catches what can go wrong in it.
        cancel: set to stop; given to the host.
        closing: set together with ``cancel`` when the process shuts down: the work is to be resumed, not given up.
    """

    study: str
    key: str
    run: Callable[[Job], None]
    cancel: threading.Event = field(default_factory=threading.Event)
    closing: bool = False


class Worker:
    """Runs jobs one after the other. Thread-safe.

    Args:
        on_queue: told the waiting jobs, in order, whenever the queue changes.
        on_idle: called about every ``idle_seconds`` while there is nothing to do.
    """

    def __init__(
        self, on_queue: Callable[[list[Job]], None], on_idle: Callable[[], None], idle_seconds: float = 30.0
    ) -> None:
        self._on_queue, self._on_idle, self._idle_seconds = on_queue, on_idle, idle_seconds
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Add a job, unless one with its key waits already. One that runs may be past the point where it would see what is new."""
        with self._changed:
            if self._closed or any(waiting.key == job.key for waiting in self._waiting):
                return
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="rankopt-worker", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            waiting = list(self._waiting)
        self._on_queue(waiting)

    def has(self, key: str) -> bool:
        """Whether a job is waiting or running."""
        with self._changed:
            return any(job.key == key for job in self._all())

    def cancel(self, study: str, key: str | None = None) -> list[Job]:
        """Stop a study's jobs (or the one with ``key``); return those that were still waiting and will never run."""
        with self._changed:
            jobs = [job for job in self._all() if job.study == study and key in (None, job.key)]
            for job in jobs:
                job.cancel.set()
            dropped = [job for job in jobs if job in self._waiting]
            for job in dropped:
                self._waiting.remove(job)
            waiting = list(self._waiting)
            self._changed.notify_all()
        if dropped:
            self._on_queue(waiting)
        return dropped

    def start(self) -> None:
        """Start the thread, so that idle work is done even before the first job."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._loop, name="rankopt-worker", daemon=True)
                self._thread.start()

    def close(self, timeout: float = 30.0) -> None:
        """Stop; jobs under way are told that they will be resumed."""
        with self._changed:
            self._closed = True
            for job in self._all():
                job.closing = True
                job.cancel.set()
            self._waiting.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _all(self) -> list[Job]:
        return [*([self._running] if self._running else []), *self._waiting]

    def _loop(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._closed:
                    self._changed.wait(self._idle_seconds)
                if self._closed:
                    return
                job = self._waiting.popleft() if self._waiting else None
                self._running = job
                waiting = list(self._waiting)
            self._step(job, waiting)

    def _step(self, job: Job | None, waiting: list[Job]) -> None:
        # The thread is a border: whatever goes wrong in one job must not take the queue down with it.
        try:
            if job is None:
                self._on_idle()
            else:
                self._on_queue(waiting)
                job.run(job)
        except Exception:
            log.exception("a background job failed")
        finally:
            with self._changed:
                self._running = None
                self._changed.notify_all()
