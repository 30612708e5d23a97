"""Scorers at work: numbers for a round's images, and the automatic mode in which a scorer ranks while the person watches."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError, ModelError, NotFoundError, RankOptError
from lib_rankopt.optimizers import ranking
from lib_rankopt.store.records import UNFINISHED, RoundRecord, ScoreRecord
from lib_rankopt.studies.views import Answer, ScorerView, ScoresView, WeightsView
from lib_rankopt.studies.worker import Job, Worker

if TYPE_CHECKING:
    from lib_rankopt.scorers.base import Scorer, ScorerInfo
    from lib_rankopt.scorers.shelf import ScorerShelf
    from lib_rankopt.studies.room import Room
    from lib_rankopt.studies.rounds import Rounds

log = logging.getLogger("rankopt.studies")

_MAX_ROUNDS = 1000
_MAX_IMAGES = 256
_AT_ONCE = 16  # pictures that are held in memory together
AUTO = "auto:"


class Judge:
    """Loads scorers once and keeps what they say. Thread-safe; one scorer scores one batch at a time."""

    def __init__(self, room: Room, shelf: ScorerShelf | None) -> None:
        self._room, self._given = room, shelf
        self._lock = threading.Lock()

    @property
    def _shelf(self) -> ScorerShelf:
        return self._given or self._room.host.scorers

    def load(self, name: str) -> None:
        """Load a scorer.

        Raises:
            NotFoundError: there is none of that name. ModelError, MissingDependencyError: it cannot be loaded.
        """
        with self._lock:
            self._shelf.get(name)

    def scorers(self) -> list[ScorerView]:
        """Return what is known of every scorer; reads no weights, and waits for none that are being read."""
        shelf = self._shelf
        infos = shelf.infos()
        return [_view(shelf, name, infos.get(name)) for name in dict.fromkeys((*shelf.names(), *infos))]

    def scale(self, scorer: str) -> str | None:
        """Return what the numbers of a scorer are numbers of, ``None`` where those of two rounds do not compare.

        Raises:
            As :meth:`load`.
        """
        with self._lock:
            info = self._shelf.get(scorer).info
        return None if info.is_relative else f"{scorer} {info.version}"

    def score(self, record: RoundRecord, scorer: str) -> dict[int, float]:
        """Score the finished images of a round, those without a score of this scorer's version; return all by position.

        Of a scorer that ranks the images of a call among each other no score is kept: in another round it would be another.

        Raises:
            NotFoundError: no such scorer. ModelError: it gave a value that is not finite. StoreError: an image is damaged.
        """
        prompt = self._room.store.study(record.study).settings["prompt"]
        candidates = self._room.store.candidates([record.id])[record.id]
        names = {c.position: c.image for c in candidates if c.image is not None}
        values, _ = self._values(list(names.values()), prompt, scorer)
        return {position: values[name] for position, name in names.items()}

    def score_images(self, images: Sequence[str], prompt: str, scorer: str) -> ScoresView:
        """Score images of the data folder under a prompt; what is scored already is not scored again.

        Raises:
            InvalidInputError: no image or too many, no hash, or a prompt that matters is empty. NotFoundError: no such image or scorer.
            Otherwise as :meth:`score`.
        """
        wanted = list(dict.fromkeys(images))
        if not 1 <= len(wanted) <= _MAX_IMAGES:
            raise InvalidInputError(f"{len(wanted)} images are named; 1 to {_MAX_IMAGES} can be scored at a time.")
        for image in wanted:
            if not self._room.blobs.exists(self._room.blobs.image_path(image)):
                raise NotFoundError(f"There is no image '{image}'.")
        values, info = self._values(wanted, prompt, scorer)
        scores = {image: values[image] for image in wanted}
        return ScoresView(scorer, info.version, info.scale, info.is_relative, info.warning, scores)

    def _values(self, images: Sequence[str], prompt: str, scorer: str) -> tuple[dict[str, float], ScorerInfo]:
        """Numbers by image, and what they mean."""
        with self._lock:
            info = self._shelf.get(scorer).info
            known = {} if info.is_relative else {
                s.image: s.value
                for s in self._room.store.scores(images, prompt)
                if (s.scorer, s.version) == (scorer, info.version)
            }
            missing = sorted(set(images) - set(known))
            step = len(missing) if info.is_relative else _AT_ONCE
            if missing:
                with self._shelf.lent(scorer) as judge:
                    for start in range(0, len(missing), step):
                        known.update(self._fresh(judge, missing[start : start + step], prompt, scorer))
        return known, info

    def _fresh(self, judge: Scorer, images: Sequence[str], prompt: str, scorer: str) -> dict[str, float]:
        """Score images, and keep what holds beyond this call."""
        values = judge.score([self._room.blobs.load_image(name) for name in images], prompt)
        fresh = {name: float(value) for name, value in zip(images, values, strict=True)}
        if bad := next((v for v in fresh.values() if not math.isfinite(v)), None):
            raise ModelError(f"The scorer '{scorer}' gave {bad}; every score must be a finite number.")
        if not judge.info.is_relative:
            self._room.store.put_scores([ScoreRecord(n, prompt, scorer, judge.info.version, v) for n, v in fresh.items()])
        return fresh


def _view(shelf: ScorerShelf, name: str, info: ScorerInfo | None) -> ScorerView:
    from lib_rankopt.scorers import registry
    from lib_rankopt.scorers.weights import SUBFOLDER

    if info is not None:
        return ScorerView(name, True, version=info.version, scale=info.scale, relative=info.is_relative, warning=info.warning)
    try:
        shelf.check(name)
        return ScorerView(name, True)
    except ModelError as error:
        folder = str(shelf.weights.folders[0] / SUBFOLDER) if shelf.weights.folders else SUBFOLDER
        files = [file for file in registry.files(name) if shelf.weights.find(file) is None]
        missing = tuple(WeightsView(one.published or one.names[-1], one.megabytes, one.source, folder) for one in files)
        return ScorerView(name, False, str(error), missing)
    except (RankOptError, ImportError) as error:  # a scorer of another package may not even be found
        return ScorerView(name, False, str(error))


@dataclass(eq=False)
class _Run:
    scorer: str
    left: int


class Auto:
    """The automatic mode: ranks a finished round by scores, starts the next, so many times. Thread-safe.

    It lives in memory: after a restart the person goes on by hand or starts it again.
    """

    def __init__(self, room: Room, worker: Worker, rounds: Rounds, judge: Judge) -> None:
        self._room, self._worker, self._rounds, self._judge = room, worker, rounds, judge
        self._runs: dict[str, _Run] = {}
        self._why: dict[str, str] = {}

    def scorer(self, study: str) -> str | None:
        """Return the scorer that ranks a study now."""
        run = self._runs.get(study)
        return run.scorer if run else None

    def why_stopped(self, study: str) -> str | None:
        """Return what went wrong when the automatic mode last ran, if anything did."""
        return self._why.get(study)

    def start(self, study: str, scorer: str, rounds: int) -> None:
        """Let a scorer answer the next ``rounds`` rounds, beginning with an unanswered one. Loads the scorer first.

        Raises:
            NotFoundError: no such study or scorer. InvalidInputError: not 1 to 1000 rounds.
        """
        if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= _MAX_ROUNDS:
            raise InvalidInputError(f"{rounds!r} rounds: use a whole number from 1 to {_MAX_ROUNDS}.")
        self._room.store.study(study)
        self._judge.load(scorer)
        with self._room.locked(study):
            self._why.pop(study, None)
            self._runs[study] = _Run(scorer, rounds)
        self._worker.submit(Job(study, f"auto {study}", lambda _job: self.step(study)))

    def stop(self, study: str, why: str | None = None) -> None:
        """Leave the study to the person; a round that is being generated is finished."""
        with self._room.locked(study):
            if self._runs.pop(study, None) is not None:
                if why is not None:
                    self._why[study] = why
                self._room.board.update(study, message=why or "")

    def step(self, study: str) -> None:
        """Do what comes next, in the worker's thread; called again whenever a round of the study is finished. Never raises."""
        run = self._runs.get(study)
        if run is None:
            return
        try:
            self._step(study, run)
        except RankOptError as error:
            log.warning("automatic mode of study %s stopped: %s", study, error)
            self.stop(study, f"The automatic mode stopped: {error}")
        except Exception as error:
            log.exception("automatic mode of study %s stopped", study)
            self.stop(study, f"The automatic mode stopped: {type(error).__name__}: {error}")

    def _step(self, study: str, run: _Run) -> None:
        last = self._room.store.last_round(study)
        if last is not None and last.state in UNFINISHED and self._worker.has(last.id):
            return
        view = None if last is None else self._room.view(self._room.store.study(study), last)
        if last is not None and view is not None and view.status in ("ready", "interrupted"):
            scores = self._judge.score(last, run.scorer)
            if len(scores) >= 2:
                self._answer(study, run, last, scores)
        with self._room.locked(study):
            if self._runs.get(study) is not run:
                return
            if run.left == 0:
                self.stop(study)
            else:
                self._rounds.start(study)

    def _answer(self, study: str, run: _Run, record: RoundRecord, scores: dict[int, float]) -> None:
        positions, values = list(scores), list(scores.values())
        tiers = ranking.tiers_from_scores(values, positions)
        named = tuple(tuple(f"{record.id}-{i:02d}" for i in tier) for tier in tiers)
        answer = Answer("ranking", named, rater=f"{AUTO}{run.scorer}")
        if (scale := self._judge.scale(run.scorer)) is not None:
            answer = replace(answer, scores=ranking.scores_of(values, scale).values, scale=scale)
        with self._room.locked(study):
            # The person may have answered while the scorer was looking.
            if self._runs.get(study) is run:
                self._rounds.answer(study, record.index, answer)
                run.left -= 1
