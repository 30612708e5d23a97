"""Counts, scores and blind tests of :class:`~lib_rankopt.store.sql.SqlStore`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from lib_rankopt.errors import NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store._sql_events import chunks
from lib_rankopt.store._sql_rows import blind_of, blind_row, trial_of, trial_row
from lib_rankopt.store.records import BlindRecord, ScoreRecord, TrialRecord

if TYPE_CHECKING:
    from lib_rankopt.store.database import Database

_scores, _tests, _trials = schema.scores, schema.blind_tests, schema.blind_trials
_rounds, _candidates, _events = schema.rounds, schema.candidates, schema.events


class ExtrasPart:
    """Counts, scores and blind tests."""

    _db: Database

    # -- counts
    def tallies(self) -> dict[str, dict[str, int]]:
        back = _events.alias()
        said = (
            select(_events.c.study, _events.c.kind, _events.c.rater, func.count())
            .outerjoin(_rounds, _rounds.c.id == _events.c.round)
            .where(_events.c.kind != "retraction", _events.c.copied_from.is_(None))
            .where(or_(_events.c.round.is_(None), _rounds.c.state != "discarded"))
            .where(~exists(select(back.c.number).where(back.c.retracts == _events.c.number)))
            .group_by(_events.c.study, _events.c.kind, _events.c.rater)
        )
        shown = (
            select(_rounds.c.study, func.count(func.distinct(_candidates.c.image)))
            .join(_candidates, _candidates.c.round == _rounds.c.id)
            .where(_rounds.c.state != "discarded")
            .group_by(_rounds.c.study)
        )
        with self._db.read() as connection:
            found = {str(study): {"images": int(images)} for study, images in connection.execute(shown)}
            for study, kind, rater, count in connection.execute(said):
                of = found.setdefault(str(study), {"images": 0})
                for name in (f"kind:{kind}", f"rater:{rater}"):
                    of[name] = of.get(name, 0) + int(count)
        return found

    # -- scores
    def put_scores(self, scores: Sequence[ScoreRecord]) -> None:
        rows = [_score_row(score) for score in scores]
        if not rows:
            return
        insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
        with self._db.write() as connection:
            connection.execute(insert(_scores).on_conflict_do_nothing(), rows)

    def scores(self, images: Sequence[str], prompt: str) -> list[ScoreRecord]:
        found = []
        with self._db.read() as connection:
            for some in chunks(set(images)):
                query = select(_scores).where(_scores.c.image.in_(some), _scores.c.prompt_hash == _prompt_hash(prompt))
                for r in connection.execute(query):
                    found.append(ScoreRecord(r.image, prompt, r.scorer, r.version, r.value, r.created_at))
        return sorted(found, key=lambda s: s.created_at)

    @staticmethod
    def _drop_scores(connection: Connection, images: set[str]) -> None:
        for some in chunks(images):
            connection.execute(_scores.delete().where(_scores.c.image.in_(some)))

    # -- blind tests
    def add_blind(self, test: BlindRecord, trials: Sequence[TrialRecord]) -> None:
        with self._db.write() as connection:
            self._add_blinds(connection, (test,), trials)

    @staticmethod
    def _add_blinds(connection: Connection, tests: Sequence[BlindRecord], trials: Sequence[TrialRecord]) -> None:
        if tests:
            connection.execute(_tests.insert(), [blind_row(test) for test in tests])
        if trials:
            connection.execute(_trials.insert(), [trial_row(trial) for trial in trials])

    def blind(self, test: str) -> BlindRecord:
        with self._db.read() as connection:
            row = connection.execute(select(_tests).where(_tests.c.id == test)).first()
        if row is None:
            raise NotFoundError(f"There is no blind test '{test}'.")
        return blind_of(row)

    def blinds(self, study: str) -> list[BlindRecord]:
        query = select(_tests).where(_tests.c.study == study).order_by(_tests.c.created_at, _tests.c.id)
        with self._db.read() as connection:
            return [blind_of(row) for row in connection.execute(query)]

    def trials(self, test: str) -> list[TrialRecord]:
        query = select(_trials).where(_trials.c.test == test).order_by(_trials.c.idx)
        with self._db.read() as connection:
            return [trial_of(row) for row in connection.execute(query)]

    def set_trial_image(self, test: str, latent: str, image: str) -> bool:
        changed = 0
        with self._db.write() as connection:
            for which, column in ((_trials.c.start_latent, "start_image"), (_trials.c.now_latent, "now_image")):
                change = update(_trials).where(_trials.c.test == test, which == latent).values({column: image})
                changed += connection.execute(change).rowcount
        return changed > 0


def _score_row(score: ScoreRecord) -> dict[str, Any]:
    return {
        "image": score.image,
        "prompt_hash": _prompt_hash(score.prompt),
        "scorer": score.scorer,
        "version": score.version,
        "value": score.value,
        "created_at": score.created_at,
    }


def _prompt_hash(prompt: str) -> str:
    return sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
