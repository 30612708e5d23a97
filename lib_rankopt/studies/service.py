"""The one service that user interface, API and command line call: studies, rounds, answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt import __version__
from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.store import BlobStore, open_store
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from lib_rankopt.store.records import StudyRecord, new_id
from lib_rankopt.studies import init_image
from lib_rankopt.studies import settings as settings_module
from lib_rankopt.studies.blind import Blind
from lib_rankopt.studies.branch import branch as branch_off
from lib_rankopt.studies.data.service import Data
from lib_rankopt.studies.judge import AUTO, Auto, Judge
from lib_rankopt.studies.presence import Presence
from lib_rankopt.studies.present import study_view
from lib_rankopt.studies.progress import ProgressBoard
from lib_rankopt.studies.replay import OptimizerFactory, Replayer
from lib_rankopt.studies.room import Room, summarise
from lib_rankopt.studies.rounds import Rounds
from lib_rankopt.studies.training import Training
from lib_rankopt.studies.tries import Tries
from lib_rankopt.studies.worker import Job, Worker

if TYPE_CHECKING:
    import builtins

    from torch import Tensor

    from lib_rankopt.hosts.base import GenerationRequest, Host
    from lib_rankopt.scorers.base import Scorer
    from lib_rankopt.selection.record import SelectionRecord
    from lib_rankopt.store.records import RoundRecord, RoundState
    from lib_rankopt.studies.views import (
        Answer,
        BlindResult,
        BlindTrial,
        ProgressView,
        RoundView,
        ScorerView,
        ScoresView,
        StudySettings,
        StudyView,
    )

log = logging.getLogger("rankopt.studies")


class StudyService:
    """Thread-safe. Generation runs in one background worker; every other call returns at once.

    Several services, also of several processes, may work on one data folder and database.

    Args:
        data_dir: folder of images, latents and, by default, of the database.
        host: makes the images; its ``generate`` is called from the worker's thread only.
        database_url: another database, for example ``postgresql://user:password@host/name``.
        scorers: by name, what makes a scorer; the host's where ``None``.
        optimizers: makes optimisers, as :func:`lib_rankopt.optimizers.create` does (the default).
        resume: take up rounds that a killed process left unfinished; ``False`` for a short look that should not begin to generate.

    Attributes:
        data_dir: as given.
        training: LoRAs from the feedback. tries: their blind comparisons. data: images from elsewhere and what was said about them.

    Raises:
        StoreError: the folder or database cannot be used, or is of a newer version.
    """

    def __init__(
        self,
        data_dir: Path,
        host: Host,
        database_url: str | None = None,
        *,
        scorers: Mapping[str, Callable[[], Scorer]] | None = None,
        optimizers: OptimizerFactory | None = None,
        resume: bool = True,
    ) -> None:
        from lib_rankopt.optimizers import create
        from lib_rankopt.scorers.shelf import ScorerShelf

        self.data_dir = data_dir
        store = open_store(data_dir, database_url)
        blobs = BlobStore(data_dir)
        self._room = Room(store, blobs, host, ProgressBoard(), Presence(data_dir), Replayer(optimizers or create, blobs))
        self._resume = resume
        self._worker = Worker(self._queue_changed, self._idle, idle_seconds=30.0)
        self._rounds = Rounds(self._room, self._worker, self._round_finished)
        self._judge = Judge(self._room, None if scorers is None else ScorerShelf(factories=scorers))
        self._auto = Auto(self._room, self._worker, self._rounds, self._judge)
        self._blind = Blind(self._room, self._worker)
        self.training = Training(data_dir, database_url, self._room)
        self.tries = Tries(self._room, self._worker, self.training)
        self.data = Data(data_dir, store, blobs, lambda: {**IMPLICIT_WEIGHTS, **host.implicit_weights()})
        if resume:
            self._rounds.resume()
            self._worker.start()
            self.data.browsing.resume_deletions()

    @property
    def host(self) -> Host:
        """What makes the images."""
        return self._room.host

    # -- studies
    def create(self, settings: StudySettings, name: str | None = None) -> StudyView:
        """Create a study. Nothing is generated yet.

        Raises:
            InvalidInputError, NotFoundError, ModelError: which setting is wrong, and what is allowed.
        """
        host = self._room.host
        resolved = settings_module.resolve(settings, host, self._room.blobs)
        picture = self._room.blobs.load_image(resolved.init_image) if resolved.init_image else None
        identity = host.identity(resolved.model or None)
        shape = host.latent_shape(resolved.width, resolved.height, resolved.model or None)
        self._room.replayer.build(resolved.optimizer, shape, resolved.seed, resolved.optimizer_settings)
        record = StudyRecord(
            id=new_id(),
            name=settings_module.clean_name(name, resolved.prompt),
            settings=asdict(resolved),
            optimizer_seed=resolved.seed,
            shape=shape,
            model=asdict(identity),
            environment=_environment(),
        )
        made = self._room.store.create_study(record)
        if picture is not None:
            # Whoever deleted another study with the same picture before our row was there has taken its file.
            self._room.blobs.put_image(picture, "")
        return self._study_view(made)

    def list(self) -> builtins.list[StudyView]:
        """Return all studies, newest first."""
        return [self._study_view(study) for study in self._room.store.studies()]

    def get(self, study: str) -> StudyView:
        """Return one study.

        Raises:
            NotFoundError: there is none of that id.
        """
        return self._study_view(self._room.store.study(study))

    def rename(self, study: str, name: str) -> StudyView:
        """Give a study another name.

        Raises:
            InvalidInputError: an empty or too long name.
        """
        record = self._room.store.study(study)
        clean = settings_module.clean_name(name, record.settings["prompt"])
        return self._study_view(self._room.store.rename_study(study, clean))

    def delete(self, study: str) -> None:
        """Delete a study with the files that no other study needs; running generation is stopped first."""
        self._room.store.study(study)
        with self._room.locked(study):
            self._auto.stop(study)
            self._worker.cancel(study)
            with self._room.files:
                images, latents = self._room.store.delete_study(study)
                self._room.replayer.forget(study)
                self._room.board.forget(study)
                self._room.other_models.pop(study, None)
                self._room.drop_files(images, latents)

    def branch(
        self, study: str, after_round: int, name: str | None = None, changes: dict[str, Any] | None = None
    ) -> StudyView:
        """Create a study that shares the rounds up to ``after_round`` and goes another way from there.

        Args:
            changes: settings that differ, for example ``{"prompt": …}``; the shared rounds keep the images they have, and what
                follows starts from the latents that were preferred.

        Raises:
            ConflictError: that round has no answer. NotFoundError: there is no such study or round.
            InvalidInputError: a change of the optimiser, or of the latent's shape.
        """
        with self._room.locked(study):
            return self._study_view(branch_off(self._room, study, after_round, name, changes or {}))

    # -- rounds
    def start_round(self, study: str) -> RoundView:
        """Start the next round and return at once; follow it with :meth:`progress` or :meth:`wait`.

        A round that failed, or was interrupted before it had two images, is generated again instead. Where the current round has
        likes or dislikes and no answer, these become its ranking.

        Raises:
            ConflictError: the current round is unanswered or still being generated, here or in another tab.
        """
        return self._rounds.start(study)

    def rounds(self, study: str, first: int = 0, limit: int | None = None) -> builtins.list[RoundView]:
        """Return a study's rounds in order, or ``limit`` of them from index ``first``."""
        record = self._room.store.study(study)
        return self._room.views(record, self._room.store.rounds(study, first, limit))

    def round(self, study: str, index: int) -> RoundView:
        """Return one round; indices count from 0.

        Raises:
            NotFoundError: there is no such round.
        """
        record = self._room.store.study(study)
        return self._room.view(record, self._room.store.round(study, index))

    def interrupt(self, study: str) -> None:
        """Stop what is being generated for a study; finished images stay and can be ranked."""
        self._auto.stop(study)
        self._rounds.interrupt(study)

    def progress(self, study: str, since: int | None = None, timeout: float = 0.0) -> ProgressView:
        """Return the progress; with ``since``, wait up to ``timeout`` seconds for another version than that."""
        self._room.store.study(study)
        return self._room.board.wait(study, since, timeout)

    def preview(self, study: str, candidate: str) -> bytes | None:
        """Return the newest preview of a candidate that is being generated, as JPEG; ``None`` when there is none."""
        return self._room.board.preview(study, candidate)

    def template(self, study: str) -> GenerationRequest:
        """Return what the host is asked for in a study's rounds, with one seed and no latents: what a control changes nothing of."""
        settings = self.get(study).settings
        start = settings_module.start_of(settings, self._room.blobs)
        return settings_module.request(settings, seeds=(settings.seed,), init_image=start)

    def wait(self, study: str, timeout: float | None = None) -> RoundView:
        """Return the newest round once it is no longer being generated, or as it is after ``timeout`` seconds.

        Raises:
            NotFoundError: the study has no round.
        """
        return self._rounds.wait(study, timeout)

    # -- answers
    def answer(self, study: str, round_index: int, answer: Answer) -> RoundView:
        """Take an answer. When this returns it is on disk.

        Raises:
            InvalidInputError: unknown, repeated or unfinished candidates. ConflictError: too early, too late or twice; see
                :mod:`lib_rankopt.studies.answers`.
        """
        with self._room.locked(study):
            view = self._rounds.answer(study, round_index, answer)
            if answer.kind not in ("like", "dislike", "unlike") and not answer.rater.startswith(AUTO):
                self._auto.stop(study)
        return view

    def undo(self, study: str, rater: str = "me") -> RoundView:
        """Take back the rater's last standing answer and return its round; a round started from it is discarded.

        Raises:
            ConflictError: there is nothing to take back, or another rater has answered the round after.
        """
        with self._room.locked(study):
            view = self._rounds.undo(study, rater)
            self._auto.stop(study)
        return view

    def score(self, study: str, round_index: int, scorer: str) -> RoundView:
        """Score the finished images of a round in the caller's thread; what is scored already is not scored again.

        Of a scorer that only ranks the images of one call the numbers are in this answer alone, and in no later view of the round.

        Raises:
            NotFoundError: no such study, round or scorer. MissingDependencyError, ModelError: the scorer cannot be loaded.
        """
        values = self._judge.score(self._room.store.round(study, round_index), scorer)
        view = self.round(study, round_index)
        scored = [replace(c, scores={**c.scores, scorer: values[c.index]}) if c.index in values else c for c in view.candidates]
        return replace(view, candidates=tuple(scored))

    def scorers(self) -> builtins.list[ScorerView]:
        """Return the scorers that there are, and what is known of each without reading its weights."""
        return self._judge.scorers()

    def score_images(self, images: Sequence[str], prompt: str, scorer: str) -> ScoresView:
        """Score images of the data folder by their hashes, 256 at most, under one prompt, in the caller's thread.

        Raises:
            InvalidInputError: no image or too many, no hash, or the scorer needs a prompt. NotFoundError: no such image or scorer.
            MissingDependencyError, ModelError: the scorer cannot be loaded.
        """
        return self._judge.score_images(images, prompt, scorer)

    def start_auto(self, study: str, scorer: str, rounds: int) -> StudyView:
        """Let a scorer answer the next ``rounds`` rounds as rater ``auto:<scorer>``; it is loaded before this returns.

        An unanswered round is answered first. A person's answer, undo or interrupt takes over at once.

        Raises:
            NotFoundError: no such study or scorer. InvalidInputError: not 1 to 1000 rounds.
        """
        self._auto.start(study, scorer, rounds)
        return self.get(study)

    def stop_auto(self, study: str) -> StudyView:
        """End the automatic mode; a round that is being generated is finished and left to the person."""
        self._room.store.study(study)
        self._auto.stop(study)
        return self.get(study)

    # -- blind test: start versus now
    def start_blind(self, study: str, trials: int = 8) -> str:
        """Start a blind test and return its id at once; :meth:`next_trial` has the first trial when its images are made.

        Raises:
            ConflictError: nothing has been preferred yet. InvalidInputError: not 1 to 200 trials.
        """
        return self._blind.start(study, trials)

    def next_trial(self, test: str, timeout: float = 600.0) -> BlindTrial | None:
        """Return the trial to answer next once its images exist, ``None`` when all are answered.

        Raises:
            NotReadyError: the images are still being made after ``timeout`` seconds. GenerationError: they could not be made.
        """
        return self._blind.next(test, timeout)

    def answer_trial(self, test: str, index: int, choice: str) -> BlindResult:
        """Take ``left``, ``right`` or ``tie``.

        Raises:
            InvalidInputError: another choice. NotFoundError: no such test or trial. ConflictError: answered already.
        """
        return self._blind.answer(test, index, choice)

    def blind_result(self, test: str) -> BlindResult:
        """Return the result; before the last answer it tells only how many trials are answered."""
        return self._blind.result(test)

    # -- images
    def put_image(self, data: bytes) -> str:
        """Keep an uploaded picture for :attr:`StudySettings.init_image`; return its hash.

        Raises:
            InvalidInputError: no PNG, JPEG or WebP, damaged or too large. StoreError: the disk is full.
        """
        return self._room.blobs.put_image(init_image.read(data), "")

    def image_path(self, image: str) -> Path:
        """Return the file of an image.

        Raises:
            InvalidInputError: no hash. NotFoundError: there is no such image.
        """
        path = self._room.blobs.image_path(image)
        if not self._room.blobs.exists(path):
            raise NotFoundError(f"There is no image '{image}'.")
        return path

    def selection(self, image: str) -> SelectionRecord:
        """Return how an image was chosen among candidates while they were sampled.

        Raises:
            InvalidInputError: no hash. NotFoundError: there is no such image, or it was not chosen so. StoreError: it cannot be read.
        """
        record = self._room.blobs.load_selection(image)
        if record is None:
            raise NotFoundError(f"Image {image[:12]}… was not chosen among candidates, or its file does not say how.")
        return record

    def latent(self, latent: str) -> Tensor:
        """Return a latent by its hash: float32 ``[C, h, w]``.

        Raises:
            InvalidInputError: no hash. NotFoundError: there is no such latent.
        """
        return self._room.blobs.load_latent(latent)

    def has_latent(self, latent: str) -> bool:
        """Whether there is a latent of that hash; of what is no hash there is none."""
        try:
            return self._room.blobs.exists(self._room.blobs.latent_path(latent))
        except InvalidInputError:
            return False

    def close(self) -> None:
        """Stop the worker and let go of the store. Unfinished rounds are taken up by the next service on this store."""
        self.training.close()
        self.data.close()
        self._worker.close()
        self._room.presence.close(unfinished=self._rounds.left_unfinished())
        self._room.store.close()

    # -- inside
    def _study_view(self, study: StudyRecord) -> StudyView:
        said = (self._auto.why_stopped(study.id), self._room.other_models.get(study.id))
        warnings = tuple(warning for warning in said if warning)
        return study_view(study, summarise(self._room, study), auto=self._auto.scorer(study.id), warnings=warnings)

    def _idle(self) -> None:
        if self._resume:
            self._rounds.resume()

    def _queue_changed(self, waiting: builtins.list[Job]) -> None:
        for place, job in enumerate(waiting, 1):
            self._room.board.update(job.study, queue_position=place)

    def _round_finished(self, record: RoundRecord, state: RoundState) -> None:
        if state == "ready":
            self._auto.step(record.study)
        else:
            failed = self.round(record.study, record.index).error if state == "failed" else None
            self._auto.stop(record.study, f"The automatic mode stopped: {failed}" if failed else None)


def _environment() -> dict[str, str]:
    import torch

    return {"rankopt": __version__, "torch": torch.__version__}
