"""The blind test: is what the study arrived at really preferred to where it started?

Every trial shows the image of the current incumbent latent beside that of another unoptimised latent: first the candidates of the first
round in random order, then, where more trials are wanted, fresh seeds. Prompt, settings and sampler noise are the same on both sides, and
which side is which is drawn at random and told only at the end. One honest limit: the incumbent's image comes back in every trial, so an
attentive person can recognise it; the left/right order protects against habit, not against wanting.

In a study in which a person picks among candidates while an image is made, nobody is asked for the test, which would show them what they
are to judge blindly. Both sides are made anew alike: the study's scorer picks among the finished candidates, or, without a scorer, runs are
plain. So such a test says whether the latent is better, not whether the picks were.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from lib_rankopt.errors import (
    ConflictError,
    GenerationError,
    GenerationInterrupted,
    InvalidInputError,
    NotFoundError,
    NotReadyError,
    RankOptError,
)
from lib_rankopt.evaluation import wilson_interval
from lib_rankopt.store import DuplicateToken, StaleRevision
from lib_rankopt.store.records import BlindRecord, EventDraft, TrialRecord, new_id
from lib_rankopt.studies import settings as settings_module
from lib_rankopt.studies.generation import keep_image
from lib_rankopt.studies.views import BlindResult, BlindTrial, StudySettings
from lib_rankopt.studies.worker import Job, Worker

if TYPE_CHECKING:
    from torch import Tensor

    from lib_rankopt.hosts.base import Progress
    from lib_rankopt.store.records import StudyRecord
    from lib_rankopt.studies.room import Room

log = logging.getLogger("rankopt.studies")

MAX_TRIALS = 200
CHOICES = ("left", "right", "tie")


class Blind:
    """Blind tests. Thread-safe."""

    def __init__(self, room: Room, worker: Worker) -> None:
        self._room, self._worker = room, worker
        self._failed: dict[str, str] = {}
        self._jobs: dict[str, Job] = {}  # by test, the last one submitted

    def start(self, study_id: str, trials: int) -> str:
        """Start a test and return its id at once.

        Raises:
            ConflictError: nothing has been preferred yet. InvalidInputError: not 1 to 200 trials.
        """
        check_trials(trials)
        with self._room.locked(study_id):
            study = self._room.store.study(study_id)
            history = self._room.history(study)
            incumbent = self._room.replayer.incumbent(study, history) if history else None
            if incumbent is None:
                raise ConflictError("There is nothing to compare the start with yet; rank at least one round first.")
            test = BlindRecord(new_id(), study_id, secrets.randbelow(2**31))
            with self._room.files:
                now = self._room.blobs.put_latent(incumbent)
                self._room.store.add_blind(test, self._trials(study, test, now, trials))
        self._submit(test)
        return test.id

    def _trials(self, study: StudyRecord, test: BlindRecord, now: str, count: int) -> list[TrialRecord]:
        rng = random.Random(test.seed)
        first = self._room.store.round(study.id, 0)
        starts = [c.latent for c in self._room.store.candidates([first.id])[first.id] if c.latent != now]
        rng.shuffle(starts)
        starts = starts[:count]
        while len(starts) < count:
            starts.append(self._room.blobs.put_latent(self._fresh(study, rng.randrange(2**32))))
        seed = study.settings["seed"]
        return [TrialRecord(test.id, i, latent, now, rng.random() < 0.5, seed) for i, latent in enumerate(starts)]

    def _fresh(self, study: StudyRecord, seed: int) -> Tensor:
        """Return start noise as the host makes it for a seed, on the shell like every latent that is shown."""
        noise = self._room.host.initial_noise((seed,), study.shape)[0].double().cpu()
        return (noise * (noise.numel() ** 0.5 / noise.norm())).float()

    def next(self, test_id: str, timeout: float) -> BlindTrial | None:
        """Return the first trial without an answer once its images exist, ``None`` when all are answered.

        Raises:
            NotReadyError: they are still being made after ``timeout`` seconds. GenerationInterrupted: making them was stopped.
            GenerationError: they could not be made.
        """
        test = self._room.store.blind(test_id)
        answered = self._choices(test)
        until = time.monotonic() + timeout
        while True:
            trials = self._room.store.trials(test_id)
            trial = next((t for t in trials if t.index not in answered), None)
            if trial is None:
                return None
            if trial.start_image is not None and trial.now_image is not None:
                if any(t.start_image is None for t in trials):
                    self._submit(test)
                sides = (trial.now_image, trial.start_image) if trial.now_left else (trial.start_image, trial.now_image)
                return BlindTrial(test_id, trial.index, *sides)
            self._check_failure(test)
            if time.monotonic() >= until:
                raise NotReadyError("The images of the blind test are still waiting for other work; ask again later.")
            self._submit(test)
            self._room.board.pause(min(0.2, max(0.0, until - time.monotonic())))

    def _check_failure(self, test: BlindRecord) -> None:
        """Say once why the images are not coming; whoever asks again has them made again."""
        failure, job = self._failed.pop(test.id, None), self._jobs.get(test.id)
        if job is not None and job.cancel.is_set():
            self._jobs.pop(test.id, None)
            raise GenerationInterrupted("Making the images of the blind test was interrupted; ask again to go on.")
        if failure is not None:
            raise GenerationError(f"The images of the blind test could not be made: {failure}")

    def answer(self, test_id: str, index: int, choice: str) -> BlindResult:
        """Take the answer to a trial.

        Raises:
            InvalidInputError: not left, right or tie. NotFoundError: no such trial. ConflictError: answered already.
        """
        check_choice(choice)
        test = self._room.store.blind(test_id)
        trial = next((t for t in self._room.store.trials(test_id) if t.index == index), None)
        if trial is None:
            raise NotFoundError(f"The blind test has no trial {index!r}.")
        if trial.start_image is None or trial.now_image is None:
            raise ConflictError(f"The images of trial {index + 1} are not ready; ask for the next trial first.")
        payload = {
            "test": test_id,
            "trial": index,
            "choice": choice,
            "left": trial.now_image if trial.now_left else trial.start_image,
            "right": trial.start_image if trial.now_left else trial.now_image,
            "now": "left" if trial.now_left else "right",
        }
        self._append(EventDraft(test.study, "blind", payload=payload, token=f"blind-{test_id}-{index}"))
        return self.result(test_id)

    def _append(self, draft: EventDraft) -> None:
        with self._room.locked(draft.study):
            for _ in range(20):
                try:
                    self._room.store.append(draft, self._room.store.study(draft.study).revision)
                    return
                except DuplicateToken as twice:
                    raise ConflictError("This trial has been answered; ask for the next one.") from twice
                except StaleRevision:
                    continue
        raise ConflictError("The study is being changed by others all the time; try again.")

    def result(self, test_id: str) -> BlindResult:
        """Return the result; until the last trial is answered it tells only how many are, so that it gives no side away."""
        test = self._room.store.blind(test_id)
        choices = self._choices(test)
        trials = self._room.store.trials(test_id)
        n = len(choices)
        if n < len(trials):
            said = f"{n} of {len(trials)} trials answered; the result is told at the end."
            return BlindResult(test_id, len(trials), n, 0.0, 0.0, 0.0, 1.0, False, said)
        return result_of(test_id, [(choices[t.index], t.now_left) for t in trials])

    def _choices(self, test: BlindRecord) -> dict[int, str]:
        events = self._room.store.events(test.study)
        return {e.payload["trial"]: e.payload["choice"] for e in events if e.kind == "blind" and e.payload["test"] == test.id}

    # -- generating
    def _submit(self, test: BlindRecord) -> None:
        key = f"blind {test.id}"
        if not self._worker.has(key):
            self._jobs[test.id] = Job(test.study, key, lambda job: self._run(job, test))
            self._worker.submit(self._jobs[test.id])

    def _run(self, job: Job, test: BlindRecord) -> None:
        try:
            self._generate(job, test)
        except RankOptError as error:
            self._failed[test.id] = str(error)
        except Exception as error:
            log.exception("blind test %s failed", test.id)
            self._failed[test.id] = f"{type(error).__name__}: {error}"
        finally:
            self._room.board.end(test.study, self._failed.get(test.id, ""))

    def _generate(self, job: Job, test: BlindRecord) -> None:
        study = self._room.store.study(test.study)
        settings = _settings(study)
        recipe = settings_module.recipe(settings, self._room.host.identity(settings.model or None).sha256)
        trials = self._room.store.trials(test.id)
        wanted = dict.fromkeys(t.now_latent for t in trials if t.now_image is None)
        wanted.update(dict.fromkeys(t.start_latent for t in trials if t.start_image is None))
        missing = []
        for latent in wanted:
            image = self._room.store.find_image(study.id, recipe, latent, settings.seed)
            if image is not None and self._room.blobs.exists(self._room.blobs.image_path(image)):
                self._room.store.set_trial_image(test.id, latent, image)
            else:
                missing.append(latent)
        self._room.board.begin(study.id, "blind", total=len(wanted), done=len(wanted) - len(missing))
        if missing:
            self._call_host(job, test, study, missing, len(wanted) - len(missing))

    def _call_host(
        self, job: Job, test: BlindRecord, study: StudyRecord, missing: list[str], done: int
    ) -> None:
        import torch

        settings = _settings(study)
        latents = torch.stack([self._room.blobs.load_latent(latent) for latent in missing])
        notes = tuple(settings_module.note(study, settings, "blind test", latent) for latent in missing)
        seeds = (settings.seed,) * len(missing)
        start = settings_module.start_of(settings, self._room.blobs)
        request = settings_module.request(settings, seeds, latents, notes=notes, init_image=start)
        report: Callable[[Progress], None] = lambda progress: self._room.board.report(test.study, progress, done, len(missing))  # noqa: E731
        for finished, image in enumerate(self._room.host.generate(request, progress=report, cancel=job.cancel), 1):
            keep_image(self._room, image, partial(self._room.store.set_trial_image, test.id, missing[image.index]))
            self._room.board.update(test.study, done=done + finished)


def _settings(study: StudyRecord) -> StudySettings:
    return settings_module.unattended(settings_module.from_dict(study.settings))


def check_trials(trials: int) -> None:
    """Refuse a number of trials that no test has.

    Raises:
        InvalidInputError: not a whole number from 1 to :data:`MAX_TRIALS`.
    """
    if isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= MAX_TRIALS:
        raise InvalidInputError(f"{trials!r} trials: use a whole number from 1 to {MAX_TRIALS}.")


def check_choice(choice: str) -> None:
    """Refuse an answer that no trial has.

    Raises:
        InvalidInputError: not left, right or tie.
    """
    if choice not in CHOICES:
        raise InvalidInputError(f"{choice!r} is no choice; use left, right or tie.")


def result_of(test: str, answers: Sequence[tuple[str, bool]], what: str = "it") -> BlindResult:
    """Return the result of a test whose trials are all answered.

    Args:
        answers: choice, and whether what is tested stood left, of each trial.
        what: is tested, for the sentence.
    """
    n = len(answers)
    ties = sum(choice == "tie" for choice, _ in answers)
    wins = sum(choice == ("left" if left else "right") for choice, left in answers) + 0.5 * ties
    low, high = wilson_interval(wins, n)
    tied = f", {ties} {'tie' if ties == 1 else 'ties'} counted half" if ties else ""
    said = f"You preferred {what} {wins:g} of {n} times (95 % interval {100 * low:.0f}–{100 * high:.0f} %{tied})."
    return BlindResult(test, n, n, wins, wins / n, low, high, True, said)
