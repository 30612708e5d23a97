"""A training run's folder: what the trainer's process and the one that watches it tell each other, in files that survive both.

::

    <data folder>/training/<run>/
      config.json        the TrainingConfig
      status.json        RunStatus, replaced as a whole
      command            pause, cancel or run: what the person wants; the trainer looks after every update
      metrics.jsonl      one line per update: {"step": 12, "loss": …, …}; validations have "validation": true
      trainer.lock       held by the trainer while it lives
      sample_prompts.json  of the rows of the sheets
      samples/           step-000400.png: the same seeds without the LoRA, with half of it and with all of it
      checkpoints/       step-000400.pt: what a resumed run needs; the two latest are kept
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any, Literal

from lib_rankopt.errors import ConflictError, NotFoundError, StoreError
from lib_rankopt.store.blobs import write_atomically
from lib_rankopt.store.locks import try_lock
from lib_rankopt.training.config import TrainingConfig, from_dict

State = Literal["queued", "preparing", "training", "paused", "finished", "cancelled", "failed"]
Command = Literal["run", "pause", "cancel"]
_SAMPLE_PROMPTS = "sample_prompts.json"


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        stage: what is done now, for people: "reading data", "encoding images 12 of 200", "training" …
        step, steps: updates done and wanted.
        eta_seconds: estimate for the rest.
        alarms: sentences, newest last.
        summary: what the data are good for, from the split.
        outputs: paths of exported LoRA files, newest last.
        best: path of the one with the best validation.
        error: why it failed, for people.
        pid: of the trainer's process.
        prompts: some that were kept back from training, to try the result on.
        updated: seconds since the epoch; the trainer renews it at least every 10 s.
    """

    state: State = "queued"
    stage: str = ""
    step: int = 0
    steps: int = 0
    eta_seconds: float | None = None
    alarms: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    best: str | None = None
    error: str | None = None
    pid: int | None = None
    updated: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: TrainingConfig) -> RunFolder:
        """Lay out a new folder."""
        folder = cls(path)
        folder._write("config.json", json.dumps(config.to_dict(), indent=1))
        folder.say(RunStatus(steps=config.steps))
        return folder

    @property
    def exists(self) -> bool:
        """Whether there is a run here."""
        return (self.path / "config.json").is_file()

    @property
    def started(self) -> float:
        """When it was made, seconds since the epoch."""
        return (self.path / "config.json").stat().st_mtime

    def config(self) -> TrainingConfig:
        """The configuration.

        Raises:
            NotFoundError: there is no run here.
        """
        return from_dict(self._read("config.json"))

    def status(self) -> RunStatus:
        """The status as last written.

        Raises:
            NotFoundError: there is no run here.
        """
        raw = self._read("status.json")
        known = {f.name for f in fields(RunStatus)}
        plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items() if name in known}
        return RunStatus(**plain)

    def say(self, status: RunStatus) -> RunStatus:
        """Write the status, with the present moment; return it."""
        written = replace(status, updated=time.time())
        self._write("status.json", json.dumps(asdict(written)))
        return written

    def command(self) -> Command:
        """What the person wants."""
        try:
            said = (self.path / "command").read_text(encoding="utf-8").strip()
        except OSError:
            return "run"
        return said if said in ("pause", "cancel") else "run"  # type: ignore[return-value]

    def note_sample_prompts(self, prompts: Sequence[str]) -> None:
        """Keep the prompts of the sample sheets' rows.

        Raises:
            StoreError: it cannot be written.
        """
        self._write(_SAMPLE_PROMPTS, json.dumps(list(prompts)))

    def sample_prompts(self) -> tuple[str, ...]:
        """The prompts of the sample sheets' rows, first one first; none before there are sheets."""
        try:
            return tuple(map(str, json.loads((self.path / _SAMPLE_PROMPTS).read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            return ()

    def order(self, command: Command) -> None:
        """Tell the trainer what the person wants."""
        self._write("command", command)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Inside, this run is this process's, until it dies.

        Raises:
            ConflictError: another trainer works on it.
        """
        with (self.path / "trainer.lock").open("a") as file:
            # who looks whether it is claimed holds the lock for a moment
            for attempt in range(5):
                if try_lock(file):
                    break
                if attempt == 4:
                    raise ConflictError(f"{self.path}: another trainer works on this run.")
                time.sleep(0.05)
            yield

    @property
    def is_claimed(self) -> bool:
        """Whether a living trainer works on it."""
        try:
            with (self.path / "trainer.lock").open("r+") as file:
                return not try_lock(file)
        except OSError:
            return False

    def log_metrics(self, line: dict[str, Any]) -> None:
        """Append one line; what is no finite number is left out of it, because JSON has none.

        Raises:
            StoreError: the disk is full or the folder is not writable.
        """
        finite = {name: value for name, value in line.items() if not isinstance(value, float) or math.isfinite(value)}
        try:
            with (self.path / "metrics.jsonl").open("ab+") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                # a full disk or a power cut leaves half a line, which must not spoil this one
                cut = b"\n" if end and file.read(1) != b"\n" else b""
                file.write(cut + json.dumps(finite).encode() + b"\n")
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror or error}. Free some space and resume the run.") from error

    def metrics(self, after: int = -1) -> list[dict[str, Any]]:
        """Lines of steps above ``after``; a half-written last line is left out, and of a step that was done twice the later line counts."""
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
        except OSError:
            return []
        found: dict[tuple[int, bool], dict[str, Any]] = {}
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if line["step"] > after:
                found[line["step"], bool(line.get("validation"))] = line
        return [found[key] for key in sorted(found)]

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.path}: there is no training run here.") from error
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path / name} cannot be read: {error}") from error

    def _write(self, name: str, text: str) -> None:
        write_file(self.path / name, lambda file: file.write(text.encode()))


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a file of a run, which is there whole or not at all.

    Raises:
        StoreError: the disk is full or the folder is not writable; what was there before is still there.
    """
    try:
        write_atomically(path, write)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}. Free some space and resume the run.") from error
