"""Runs one after another, each in a process of its own, while the host's model is out of the way."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lib_rankopt.errors import ConflictError, RankOptError

if TYPE_CHECKING:
    from lib_rankopt.hosts.base import Host
    from lib_rankopt.training.folder import RunFolder

log = logging.getLogger("rankopt.training")

_ROOT = Path(__file__).resolve().parents[2]
_ENDED = ("paused", "finished", "cancelled", "failed")
_LOG_LINES = 12


class TrainerProcesses:
    """A queue of runs. Thread-safe.

    The trainer's standard input stays open as long as this process lives: when it ends, however it ends, the trainer pauses its run and
    gives up the device.

    Args:
        finished: called after each run, however it ended, in the thread that waited for it.
    """

    def __init__(self, data_dir: Path, host: Host, database_url: str | None, finished: Callable[[RunFolder], None]) -> None:
        self._data_dir, self._host, self._url, self._finished = data_dir, host, database_url, finished
        self._lock = threading.Condition()
        self._waiting: deque[RunFolder] = deque()
        self._current: tuple[RunFolder, subprocess.Popen[bytes] | None] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, run: RunFolder) -> None:
        """Let a run be trained when it is its turn.

        Raises:
            ConflictError: it is being trained already, here or by another process.
        """
        with self._lock:
            if self.has(run):
                raise ConflictError("This run is being trained already.")
            run.order("run")
            run.say(replace(run.status(), state="queued", stage="waiting for its turn", error=None, pid=None))
            self._waiting.append(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="rankopt-training", daemon=True)
                self._thread.start()
            self._lock.notify_all()

    def has(self, run: RunFolder) -> bool:
        """Whether a run waits or is being trained, here or by a living trainer of another process."""
        with self._lock:
            current = [] if self._current is None else [self._current[0]]
            if any(one.path == run.path for one in (*current, *self._waiting)):
                return True
        return run.is_claimed

    def withdraw(self, run: RunFolder) -> bool:
        """Take a run out of the queue; false where it is not in it."""
        with self._lock:
            waiting = [one for one in self._waiting if one.path != run.path]
            gone = len(waiting) < len(self._waiting)
            self._waiting = deque(waiting)
            return gone

    def close(self) -> None:
        """End: the run under way pauses after its update, and keeps its checkpoint."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            process = self._current[1] if self._current else None
            self._lock.notify_all()
        if process is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return
                run = self._waiting.popleft()
                self._current = (run, None)
            try:
                self._train(run)
            except Exception as error:
                log.exception("the trainer of %s could not be run", run.path)
                _fail(run, f"The trainer could not be run: {error}")
            finally:
                with self._lock:
                    self._current = None
                try:
                    self._finished(run)
                except Exception:
                    log.exception("after the run %s", run.path)

    def _train(self, run: RunFolder) -> None:
        run.say(replace(run.status(), stage="waiting for images that are being made"))
        with self._host.away():
            if run.command() != "run":  # somebody thought better of it meanwhile
                state = "cancelled" if run.command() == "cancel" else "paused"
                run.say(replace(run.status(), state=state, stage=""))  # type: ignore[arg-type]
                return
            with (run.path / "log.txt").open("ab") as output:
                process = self._start(run, output)
                with self._lock:
                    self._current = (run, process)
                    closed = self._closed
                if closed:
                    process.stdin.close()  # type: ignore[union-attr]
                code = process.wait()
        if code and run.status().state not in _ENDED:
            _fail(run, f"The trainer ended with code {code}. {_tail(run.path / 'log.txt')}")
        elif run.status().state not in _ENDED:
            _fail(run, "The trainer ended without a word. Resume to go on from the last checkpoint.")

    def _start(self, run: RunFolder, output: IO[bytes]) -> subprocess.Popen[bytes]:
        place = self._host.trainer_place()
        folder = self._host.lora_dir()
        command = [place.python, "-m", "lib_rankopt", "--data-dir", str(self._data_dir)]
        command += ["--device", place.device] if place.device else []
        command += ["train", "--resume", str(run.path), "--pause-with-stdin", "--output", str(folder), "--json"]
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")]), *place.paths]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        if self._url:
            environment["RANKOPT_DATABASE_URL"] = self._url  # its password is nothing for a list of processes
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            environment.pop(name, None)
        apart: dict[str, Any] = {"start_new_session": True}  # a Ctrl-C in the terminal is for us; we tell the trainer
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NO_WINDOW}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=output, cwd=_ROOT, env=environment, **apart
        )


def _fail(run: RunFolder, sentence: str) -> None:
    """Say what went wrong; a run that ended before stays what it is. A folder that is gone or full must not end the queue."""
    try:
        status = run.status()
        state = status.state if status.state in _ENDED else "failed"
        run.say(replace(status, state=state, stage="", error=status.error or sentence))
    except RankOptError:
        log.exception("%s: %s", run.path, sentence)


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return " ".join(line.strip() for line in lines[-_LOG_LINES:])[-600:]
