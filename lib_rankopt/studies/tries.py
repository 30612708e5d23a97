"""Try a trained LoRA blindly: the same prompts and seeds with and without it, side by side, sides drawn at random and told at the end.

The comparison and its answers are files of the run's folder, ``tries/<id>/``: what somebody found out about a LoRA stays with it.
"""

from __future__ import annotations

import json
import logging
import random
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError, RankOptError, StoreError
from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.store.blobs import write_atomically
from lib_rankopt.store.records import new_id
from lib_rankopt.studies.blind import check_choice, check_trials, result_of
from lib_rankopt.studies.training import is_id
from lib_rankopt.studies.training_views import TryTrial, TryView
from lib_rankopt.studies.worker import Job, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lib_rankopt.studies.room import Room
    from lib_rankopt.studies.training import Training
    from lib_rankopt.training.folder import RunFolder
    from lib_rankopt.training.objectives import Objective

log = logging.getLogger("rankopt.studies")

MOST_WEIGHT = 2.0


@dataclass(frozen=True)
class Trial:
    """One comparison. ``left``: the LoRA's picture stands left. ``choice``: left, right or tie once answered."""

    prompt: str
    seed: int
    left: bool
    choice: str = ""


@dataclass(frozen=True)
class Try:
    """A comparison as it is kept."""

    id: str
    run: str
    lora: str
    weight: float
    negative: str
    trials: tuple[Trial, ...]


class Tries:
    """Blind comparisons of LoRAs with their base. Thread-safe."""

    def __init__(self, room: Room, worker: Worker, training: Training) -> None:
        self._room, self._worker, self._training = room, worker, training
        self._failed: dict[str, str] = {}

    def start(self, run_id: str, lora: str = "", prompts: Sequence[str] = (), trials: int = 8, weight: float = 1.0) -> TryView:
        """Begin one; its pictures are made in the background.

        Args:
            lora: one of the run's outputs; empty for the best.
            prompts: empty for those that were kept back from training.

        Raises:
            InvalidInputError: no prompts, or a number out of range. NotFoundError: no such run or LoRA. ConflictError: nothing is trained.
        """
        view = self._training.run(run_id)
        check_trials(trials)
        if not -MOST_WEIGHT <= weight <= MOST_WEIGHT:
            raise InvalidInputError(f"weight is {weight!r}; a number from -{MOST_WEIGHT:g} to {MOST_WEIGHT:g} is expected.")
        if not view.outputs:
            raise ConflictError("This run has written no LoRA yet.")
        name = lora or view.best or view.outputs[-1]
        if name not in view.outputs:
            raise NotFoundError(f"This run has no LoRA '{name[:80]}'; it has {', '.join(view.outputs)}.")
        wanted = [prompt.strip() for prompt in prompts if prompt.strip()] or list(view.prompts)
        if not wanted:
            raise InvalidInputError("No prompt was kept back from training; name at least one to try the LoRA on.")
        rng = random.Random(secrets.randbits(64))
        wanted = wanted[:trials]
        # the trials of one prompt stand together, so that they are made together
        spread = [wanted[i * len(wanted) // trials] for i in range(trials)]
        made = tuple(Trial(prompt, rng.randrange(2**32), rng.random() < 0.5) for prompt in spread)
        one = Try(new_id(), run_id, name, float(weight), self._objective(run_id).negative_text, made)
        self._write(one)
        self._submit(one)
        return self.view(one.id)

    def view(self, try_id: str) -> TryView:
        """How far it is, and the trial to show next.

        Raises:
            NotFoundError: there is none of that id.
        """
        one = self._read(try_id)
        made = [all(self._picture(one, i, side).is_file() for side in ("base", "lora")) for i in range(len(one.trials))]
        count = sum(self._picture(one, i, side).is_file() for i in range(len(one.trials)) for side in ("base", "lora"))
        answered = sum(bool(trial.choice) for trial in one.trials)
        following = next((i for i, trial in enumerate(one.trials) if not trial.choice and made[i]), None)
        error = self._failed.get(one.id)
        if not all(made) and error is None and not self._worker.has(f"try {one.id}"):
            self._submit(one)  # the process that made them has ended
        shown = None if following is None else TryTrial(following, one.trials[following].prompt)
        answers = [(trial.choice, trial.left) for trial in one.trials]
        result = result_of(one.id, answers, "the LoRA") if answered == len(one.trials) else None
        state = "failed" if error else "ready" if all(made) else "making"
        return TryView(one.id, one.lora, state, error, count, 2 * len(one.trials), shown, answered, len(one.trials), result)

    def answer(self, try_id: str, index: int, choice: str) -> TryView:
        """Take the answer to a trial.

        Raises:
            InvalidInputError: not left, right or tie. NotFoundError: no such trial. ConflictError: answered already, or not made yet.
        """
        check_choice(choice)
        with self._room.files:
            one = self._read(try_id)
            trial = self._trial(one, index)
            if trial.choice:
                raise ConflictError("This trial has been answered.")
            if not all(self._picture(one, index, side).is_file() for side in ("base", "lora")):
                raise ConflictError("The pictures of this trial are not made yet.")
            trials = [*one.trials]
            trials[index] = replace(trial, choice=choice)
            self._write(replace(one, trials=tuple(trials)))
        return self.view(try_id)

    def end(self, try_id: str) -> None:
        """Make no more pictures for it.

        Raises:
            NotFoundError: there is none of that id.
        """
        one = self._read(try_id)
        self._failed[one.id] = "This comparison was ended."
        self._worker.cancel(f"try {one.id}")

    def picture(self, try_id: str, index: int, side: str) -> Path:
        """File of a trial's left or right picture.

        Raises:
            NotFoundError: no such trial, or it is not made yet.
        """
        one = self._read(try_id)
        trial = self._trial(one, index)
        path = self._picture(one, index, "lora" if (side == "left") == trial.left else "base")
        if not path.is_file():
            raise NotFoundError(f"The pictures of trial {index + 1} are not made yet.")
        return path

    # -- generating
    def _submit(self, one: Try) -> None:
        self._worker.submit(Job(f"try {one.id}", f"try {one.id}", lambda job: self._run(job, one)))

    def _run(self, job: Job, one: Try) -> None:
        try:
            for side in self._requests(one):
                for image in self._room.host.generate(side[0], cancel=job.cancel):
                    path = self._picture(one, side[2][image.index], side[1])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, lambda file, image=image: image.image.save(file, "PNG"))  # type: ignore[misc]
        except RankOptError as error:
            self._failed[one.id] = str(error)
        except Exception as error:
            log.exception("the comparison %s failed", one.id)
            self._failed[one.id] = f"{type(error).__name__}: {error}"

    def _requests(self, one: Try) -> Iterator[tuple[GenerationRequest, str, list[int]]]:
        """What is still to be made, prompt by prompt: the request, whose side it is, and the numbers of its trials."""
        host = self._room.host
        model = self._model(one.run)
        like, objective = host.defaults(model), self._objective(one.run)
        for prompt in dict.fromkeys(trial.prompt for trial in one.trials):
            for side in ("base", "lora"):
                numbers = [i for i, t in enumerate(one.trials) if t.prompt == prompt and not self._picture(one, i, side).is_file()]
                if not numbers:
                    continue
                request = GenerationRequest(
                    prompt=f"{objective.prompt(prompt, 1)} <lora:{one.lora}:{one.weight:g}>" if side == "lora" else prompt,
                    negative_prompt=one.negative if side == "lora" else "",
                    seeds=tuple(one.trials[i].seed for i in numbers),
                    width=like.width,
                    height=like.height,
                    steps=like.steps,
                    sampler=like.sampler,
                    scheduler=like.scheduler,
                    cfg_scale=like.cfg_scale,
                    model=model,
                )
                yield request, side, numbers

    def _model(self, run_id: str) -> str | None:
        """The host's name for the run's base, ``None`` where it has another one."""
        host, base = self._room.host, Path(self._training.folder(run_id).config().base)
        return next((name for name in host.models() if host.model_path(name).absolute() == base), None)

    def _objective(self, run_id: str) -> Objective:
        from lib_rankopt.training import objectives

        config = self._training.folder(run_id).config()
        return objectives.create(config.objective, config.options)

    # -- files
    def _trial(self, one: Try, index: int) -> Trial:
        if not 0 <= index < len(one.trials):
            raise NotFoundError(f"The comparison has no trial {index!r}.")
        return one.trials[index]

    def _folder(self, one: Try) -> Path:
        run: RunFolder = self._training.folder(one.run)
        return run.path / "tries" / one.id

    def _picture(self, one: Try, index: int, side: str) -> Path:
        return self._folder(one) / f"{index}-{side}.png"

    def _write(self, one: Try) -> None:
        path = self._folder(one) / "try.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: file.write(json.dumps(asdict(one), indent=1).encode()))
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error

    def _read(self, try_id: str) -> Try:
        found = [] if not is_id(try_id) else [run.path / "tries" / try_id / "try.json" for run in self._training.folders()]
        path = next((one for one in found if one.is_file()), None)
        if path is None:
            raise NotFoundError(f"There is no comparison '{try_id[:40]}'.")
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return Try(**{**raw, "trials": tuple(Trial(**trial) for trial in raw["trials"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
