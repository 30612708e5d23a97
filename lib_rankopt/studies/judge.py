"""Scorers at work: numbers for a round's images, and the automatic mode in which a scorer ranks while the person watches."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError, ModelError, NotFoundError, RankOptError
from lib_rankopt.optimizers import ranking
from lib_rankopt.store.records import UNFINISHED, RoundRecord, ScoreRecord
from lib_rankopt.studies.views import Answer
from lib_rankopt.studies.worker import Job, Worker

if TYPE_CHECKING:
    from lib_rankopt.scorers.base import Scorer
    from lib_rankopt.studies.room import Room
    from lib_rankopt.studies.rounds import Rounds

log = logging.getLogger("rankopt.studies")

_MAX_ROUNDS = 1000
AUTO = "auto:"


class Judge:
    """Loads scorers once and keeps what they say. Thread-safe; one scorer scores one batch at a time."""

    def __init__(self, room: Room, factories: Mapping[str, Callable[[], Scorer]] | None) -> None:
        self._room, self._factories = room, factories
        self._scorers: dict[str, Scorer] = {}
        self._lock = threading.Lock()

    def load(self, name: str) -> None:
        """Load a scorer.

        Raises:
            NotFoundError: there is none of that name. ModelError, MissingDependencyError: it cannot be loaded.
        """
        with self._lock:
            self._get(name)

    def score(self, record: RoundRecord, scorer: str) -> dict[int, float]:
        """Score the finished images of a round, those without a score of this scorer's version; return all by position.

        Raises:
            NotFoundError: no such scorer. ModelError: it gave a value that is not finite. StoreError: an image is damaged.
        """
        prompt = self._room.store.study(record.study).settings["prompt"]
        candidates = self._room.store.candidates([record.id])[record.id]
        names = {c.position: c.image for c in candidates if c.image is not None}
        with self._lock:
            judge = self._get(scorer)
            info = judge.info
            known = {
                s.image: s.value
                for s in self._room.store.scores(list(names.values()), prompt)
                if (s.scorer, s.version) == (scorer, info.version)
            }
            missing = sorted(set(names.values()) - set(known))
            if missing:
                values = judge.score([self._room.blobs.load_image(name) for name in missing], prompt)
                fresh = {name: float(value) for name, value in zip(missing, values, strict=True)}
                if bad := next((v for v in fresh.values() if not math.isfinite(v)), None):
                    raise ModelError(f"The scorer '{scorer}' gave {bad}; every score must be a finite number.")
                self._room.store.put_scores([ScoreRecord(n, prompt, scorer, info.version, v) for n, v in fresh.items()])
                known.update(fresh)
        return {position: known[name] for position, name in names.items()}

    def _get(self, name: str) -> Scorer:
        if name not in self._scorers:
            self._scorers[name] = self._make(name)
        return self._scorers[name]

    def _make(self, name: str) -> Scorer:
        if self._factories is None:
            from lib_rankopt import scorers

            return scorers.create(name)
        if name not in self._factories:
            raise NotFoundError(f"There is no scorer '{name}'. Known: {', '.join(self._factories)}.")
        return self._factories[name]()


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
        positions = list(scores)
        tiers = ranking.tiers_from_scores([scores[i] for i in positions], positions)
        named = tuple(tuple(f"{record.id}-{i:02d}" for i in tier) for tier in tiers)
        with self._room.locked(study):
            # The person may have answered while the scorer was looking.
            if self._runs.get(study) is run:
                self._rounds.answer(study, record.index, Answer("ranking", named, rater=f"{AUTO}{run.scorer}"))
                run.left -= 1
