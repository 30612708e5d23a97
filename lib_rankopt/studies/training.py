"""Training as a face sees it: how far data reach, runs one after another, what came out of them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.store.records import new_id
from lib_rankopt.studies.trainer_process import TrainerProcesses
from lib_rankopt.studies.training_views import Reach, TrainingRunView
from lib_rankopt.training.folder import RunFolder

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.studies.room import Room
    from lib_rankopt.training.config import TrainingConfig

_LIVE = ("queued", "preparing", "training")


class Training:
    """Runs below ``<data>/training``. Thread-safe.

    Args:
        data_dir, database_url: where studies are, for the trainer's process.
        room: its store and host are used.
    """

    def __init__(self, data_dir: Path, database_url: str | None, room: Room) -> None:
        self._folder, self._room = data_dir / "training", room
        self._processes = TrainerProcesses(data_dir, room.host, database_url, self._finished)

    # -- before a run
    def config(self, values: dict[str, Any]) -> TrainingConfig:
        """A configuration from what a face sends, with the base as a path.

        Raises:
            InvalidInputError, NotFoundError: what cannot be used.
        """
        from lib_rankopt.training.config import from_dict
        from lib_rankopt.training.run import check_objective

        config = from_dict(values)
        check_objective(config)
        path = self._room.host.model_path(_base(values))
        weights = config.label_weights or self._room.host.implicit_weights()
        return replace(config, base=str(path.absolute()), name=config.name or "lora", label_weights=weights)

    def check(self, values: dict[str, Any]) -> Reach:
        """Say how far the data of a configuration reach.

        Raises:
            InvalidInputError: there is nothing to learn from. NotFoundError: no such study, model or objective.
        """
        from lib_rankopt.training import objectives
        from lib_rankopt.training.data.examples import split
        from lib_rankopt.training.data.gather import gather

        config = self.config(values)
        objective = objectives.create(config.objective, config.options)
        identity = self._room.host.identity(_base(values)).sha256
        parts = split(gather(config.data, self._open_store, config.label_weights), objective, config.held_out, config.seed, identity)
        return Reach(parts.summary, parts.counts)

    @contextmanager
    def _open_store(self) -> Iterator[tuple[Store, BlobStore]]:
        yield self._room.store, self._room.blobs

    def missing(self) -> str:
        """Why no run can be started, empty where one can."""
        if self._room.host.lora_dir() is None:
            return "This host has no folder for LoRAs; train from the command line and give --output."
        place = self._room.host.trainer_place()
        if place.python == sys.executable:
            lacking = [name for name in ("diffusers", "peft", "safetensors") if importlib.util.find_spec(name) is None]
            if lacking:
                return f"Training needs {' and '.join(lacking)}: restart, so that the extension can install it, or install it by hand."
        elif not Path(place.python).is_file():
            return f"--rankopt-trainer-python {place.python}: there is no such file."
        return ""

    # -- runs
    def start(self, values: dict[str, Any]) -> TrainingRunView:
        """Make a run and let it be trained when it is its turn.

        Raises:
            InvalidInputError, NotFoundError: as :meth:`check`, before anything is written.
        """
        if self.missing():
            raise InvalidInputError(self.missing())
        self.check(values)
        run = RunFolder.create(self._folder / new_id(), self.config(values))
        self._processes.submit(run)
        return self._view(run)

    def runs(self) -> list[TrainingRunView]:
        """All runs, newest first."""
        return [self._view(run) for run in sorted(self.folders(), key=lambda run: -run.started)]

    def run(self, run_id: str) -> TrainingRunView:
        """One run.

        Raises:
            NotFoundError: there is none of that id.
        """
        return self._view(self.folder(run_id))

    def metrics(self, run_id: str, after: int = -1) -> list[dict[str, Any]]:
        """Lines of its metrics, of steps above ``after``."""
        return self.folder(run_id).metrics(after)

    def sheet(self, run_id: str, step: int) -> Path:
        """File of the sample sheet drawn at a step.

        Raises:
            NotFoundError: there is none.
        """
        path = self.folder(run_id).path / "samples" / f"step-{step:06d}.png"
        if not path.is_file():
            raise NotFoundError(f"There is no sample sheet of step {step}.")
        return path

    def pause(self, run_id: str) -> TrainingRunView:
        """Stop after the update under way; what is learnt so far is kept, and the host's model comes back."""
        return self._stop(run_id, "pause")

    def cancel(self, run_id: str) -> TrainingRunView:
        """Stop for good; files that were written stay."""
        return self._stop(run_id, "cancel")

    def _stop(self, run_id: str, command: str) -> TrainingRunView:
        run = self.folder(run_id)
        state = "paused" if command == "pause" else "cancelled"
        if self._view(run).state not in (*_LIVE, "paused"):
            raise ConflictError(f"This run is {run.status().state}; there is nothing to stop.")
        run.order(command)  # type: ignore[arg-type]
        if self._processes.withdraw(run) or not self._processes.has(run):
            run.say(replace(run.status(), state=state, stage=""))  # type: ignore[arg-type]
        return self._view(run)

    def resume(self, run_id: str) -> TrainingRunView:
        """Go on from the last checkpoint.

        Raises:
            ConflictError: it is being trained, or is finished.
        """
        run = self.folder(run_id)
        if run.status().state == "finished":
            raise ConflictError("This run is finished.")
        self._processes.submit(run)
        return self._view(run)

    def delete(self, run_id: str) -> None:
        """Delete a run's folder; the LoRA files that it wrote stay.

        Raises:
            ConflictError: it is being trained.
        """
        run = self.folder(run_id)
        if self._processes.has(run):
            raise ConflictError("This run is being trained; cancel it first.")
        shutil.rmtree(run.path, ignore_errors=True)

    def folders(self) -> list[RunFolder]:
        """The folders of all runs, in no order."""
        return [RunFolder(path) for path in self._folder.glob("*") if RunFolder(path).exists]

    def folder(self, run_id: str) -> RunFolder:
        """A run's folder.

        Raises:
            NotFoundError: there is none of that id.
        """
        run = RunFolder(self._folder / run_id)
        if not is_id(run_id) or not run.exists:
            raise NotFoundError(f"There is no training run '{run_id[:40]}'.")
        return run

    def close(self) -> None:
        """Pause what is under way, and wait for its checkpoint."""
        self._processes.close()

    def _finished(self, _run: RunFolder) -> None:
        self._room.host.find_loras()

    def _view(self, run: RunFolder) -> TrainingRunView:
        config, status = run.config(), run.status()
        running = self._processes.has(run)
        # a trainer that died with its machine could not say so
        state = "paused" if status.state in _LIVE and not running else status.state
        named: Callable[[str], str] = lambda path: Path(path).stem  # noqa: E731
        return TrainingRunView(
            id=run.path.name,
            name=config.name or "lora",
            objective=config.objective,
            base=Path(config.base).name,
            state=state,
            running=running,
            stage=status.stage if running else "",
            step=status.step,
            steps=status.steps,
            eta_seconds=status.eta_seconds if running else None,
            alarms=status.alarms,
            summary=status.summary,
            counts=status.counts,
            outputs=tuple(map(named, status.outputs)),
            best=named(status.best) if status.best else None,
            error=status.error,
            updated=status.updated,
            samples=tuple(sorted(int(path.stem.rsplit("-", 1)[1]) for path in (run.path / "samples").glob("step-*.png"))),
            sample_prompts=run.sample_prompts(),
            prompts=status.prompts,
            config=config.to_dict(),
        )


def is_id(name: str) -> bool:
    """Whether a name can be an id of ours, before it becomes part of a path."""
    return name.isalnum() and len(name) <= 64


def _base(values: dict[str, Any]) -> str | None:
    """The host's name of the model to train on, ``None`` for its own choice."""
    return str(values["base"]) if values.get("base") else None
