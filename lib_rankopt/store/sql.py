"""The store over SQLAlchemy: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.exc import IntegrityError

from lib_rankopt.errors import ConflictError, NotFoundError
from lib_rankopt.store import schema
from lib_rankopt.store._sql_events import EventsPart, init_images
from lib_rankopt.store._sql_extras import ExtrasPart
from lib_rankopt.store._sql_rows import candidate_of, candidate_row, event_of, event_row, round_of, round_row, study_of, study_row
from lib_rankopt.store.base import StaleRevision, Store
from lib_rankopt.store.collected.sql import SqlCollections
from lib_rankopt.store.database import Database
from lib_rankopt.store.records import (
    UNFINISHED,
    CandidateRecord,
    EventDraft,
    EventKind,
    EventRecord,
    History,
    RoundRecord,
    RoundSnapshot,
    RoundState,
    StudyRecord,
)

_studies, _rounds, _candidates, _events = schema.studies, schema.rounds, schema.candidates, schema.events

_INDICES = 2**31


class SqlStore(EventsPart, ExtrasPart, Store):
    """See :class:`~lib_rankopt.store.base.Store`; ``url`` as for :class:`~lib_rankopt.store.database.Database`."""

    def __init__(self, url: str) -> None:
        self._db = Database(url)
        self._collected = SqlCollections(self._db)

    @property
    def name(self) -> str:
        """The database's URL without its password."""
        return self._db.name

    @property
    def collected(self) -> SqlCollections:
        return self._collected

    def close(self) -> None:
        self._db.close()

    # -- studies
    def create_study(self, study: StudyRecord, history: History | None = None) -> StudyRecord:
        try:
            with self._db.write() as connection:
                connection.execute(_studies.insert(), study_row(study))
                for record in history.rounds if history else ():
                    connection.execute(_rounds.insert(), round_row(record))
                for candidate in history.candidates if history else ():
                    connection.execute(_candidates.insert(), candidate_row(candidate))
                _add_events(connection, history.events if history else ())
                if history:
                    self._add_blinds(connection, history.blinds, history.trials)
        except IntegrityError as error:
            raise ConflictError(f"The study '{study.id}' is here already, or something that it brings.") from error
        return study

    def studies(self) -> list[StudyRecord]:
        with self._db.read() as connection:
            rows = connection.execute(select(_studies).order_by(_studies.c.created_at.desc(), _studies.c.id))
            return [study_of(row) for row in rows]

    def study(self, study: str) -> StudyRecord:
        with self._db.read() as connection:
            return study_of(_study_row(connection, study))

    def rename_study(self, study: str, name: str) -> StudyRecord:
        with self._db.write() as connection:
            connection.execute(update(_studies).where(_studies.c.id == study).values(name=name))
            return study_of(_study_row(connection, study))

    def delete_study(self, study: str) -> tuple[set[str], set[str]]:
        with self._db.write() as connection:
            _study_row(connection, study)
            images, latents = _hashes_of(connection, study)
            connection.execute(_studies.delete().where(_studies.c.id == study))
            images, latents = self._unused(connection, images, latents)
            self._drop_scores(connection, images)
        return images, latents

    def unused(self, images: set[str], latents: set[str]) -> tuple[set[str], set[str]]:
        with self._db.read() as connection:
            return self._unused(connection, images, latents)

    def counts(self, study: str, answering: Sequence[EventKind]) -> tuple[int, int, int]:
        live = (_rounds.c.study == study, _rounds.c.state != "discarded")
        back = _events.alias()
        rounds = select(func.count()).select_from(_rounds).where(*live)
        answered = (
            select(func.count(_events.c.round.distinct()))
            .join(_rounds, _rounds.c.id == _events.c.round)
            .where(*live, _events.c.kind.in_(list(answering)))
            .where(~select(back.c.number).where(back.c.retracts == _events.c.number).exists())
        )
        images = (
            select(func.count(_candidates.c.image.distinct()))
            .join(_rounds, _rounds.c.id == _candidates.c.round)
            .where(*live)
        )
        with self._db.read() as connection:
            one, two, three = (int(connection.execute(query).scalar_one()) for query in (rounds, answered, images))
        return one, two, three

    # -- rounds
    def add_round(self, record: RoundRecord, candidates: Sequence[CandidateRecord], revision: int) -> None:
        try:
            with self._db.write() as connection:
                self._advance(connection, record.study, revision)
                connection.execute(_rounds.insert(), round_row(record))
                connection.execute(_candidates.insert(), [candidate_row(c) for c in candidates])
        except IntegrityError as error:
            raise StaleRevision(f"round {record.index + 1} has been started by somebody else") from error

    def rounds(self, study: str, first: int = 0, limit: int | None = None) -> list[RoundRecord]:
        if first >= _INDICES:
            return []
        query = _live_rounds(study).where(_rounds.c.idx >= max(first, 0)).order_by(_rounds.c.idx)
        if limit is not None:
            query = query.limit(min(max(limit, 0), _INDICES))
        with self._db.read() as connection:
            return [round_of(row) for row in connection.execute(query)]

    def last_round(self, study: str) -> RoundRecord | None:
        with self._db.read() as connection:
            row = connection.execute(_live_rounds(study).order_by(_rounds.c.idx.desc()).limit(1)).first()
        return round_of(row) if row else None

    def round(self, study: str, index: int) -> RoundRecord:
        with self._db.read() as connection:
            row = _round_row(connection, study, index)
        return round_of(row)

    def round_by_id(self, round_id: str) -> RoundRecord:
        with self._db.read() as connection:
            row = connection.execute(select(_rounds).where(_rounds.c.id == round_id)).first()
        if row is None:
            raise NotFoundError(f"There is no round '{round_id}'.")
        return round_of(row)

    def snapshot(self, study: str, index: int) -> RoundSnapshot:
        newest = select(func.max(_rounds.c.idx)).where(_rounds.c.study == study, _rounds.c.state != "discarded")
        with self._db.read() as connection:
            found = study_of(_study_row(connection, study))
            row = _round_row(connection, study, index)
            of_round = (_candidates.c.round == row.id, _events.c.round == row.id)
            candidates = connection.execute(select(_candidates).where(of_round[0]).order_by(_candidates.c.position)).all()
            events = connection.execute(select(_events).where(of_round[1]).order_by(_events.c.number)).all()
            last = connection.execute(newest).scalar_one()
        return RoundSnapshot(
            found, round_of(row), tuple(map(candidate_of, candidates)), tuple(map(event_of, events)), int(last)
        )

    def unfinished_rounds(self) -> list[RoundRecord]:
        query = select(_rounds).where(_rounds.c.state.in_(UNFINISHED)).order_by(_rounds.c.created_at)
        with self._db.read() as connection:
            return [round_of(row) for row in connection.execute(query)]

    def set_round_state(
        self, round_id: str, state: RoundState, expect: Iterable[RoundState], error: str | None = None
    ) -> bool:
        change = (
            update(_rounds)
            .where(_rounds.c.id == round_id, _rounds.c.state.in_(list(expect)))
            .values(state=state, error=error)
        )
        with self._db.write() as connection:
            return bool(connection.execute(change).rowcount)

    def claim_round(self, round_id: str, owner: str, previous: str | None, touched: float) -> bool:
        holder = _rounds.c.owner.is_(None) if previous is None else _rounds.c.owner == previous
        change = update(_rounds).where(_rounds.c.id == round_id, holder).values(owner=owner, touched=touched)
        with self._db.write() as connection:
            return bool(connection.execute(change).rowcount)

    def touch_round(self, round_id: str, touched: float) -> None:
        with self._db.write() as connection:
            connection.execute(update(_rounds).where(_rounds.c.id == round_id).values(touched=touched))

    def _advance(self, connection: Connection, study: str, revision: int) -> None:
        """Take the next revision: also what makes two writers of one study wait for each other."""
        change = (
            update(_studies)
            .where(_studies.c.id == study, _studies.c.revision == revision)
            .values(revision=revision + 1)
        )
        if not connection.execute(change).rowcount:
            _study_row(connection, study)
            raise StaleRevision("The study has been changed by somebody else in the meantime.")


def _add_events(connection: Connection, events: Iterable[EventDraft]) -> None:
    numbers: dict[int, int] = {}
    for event in events:
        row = event_row(event)
        row["retracts"] = numbers.get(event.retracts, event.retracts) if event.retracts is not None else None
        made = connection.execute(_events.insert(), row).inserted_primary_key
        if isinstance(event, EventRecord) and made:
            numbers[event.number] = int(made[0])


def _live_rounds(study: str) -> Any:
    return select(_rounds).where(_rounds.c.study == study, _rounds.c.state != "discarded")


def _round_row(connection: Connection, study: str, index: int) -> Row[Any]:
    # What the column cannot hold is not asked for: drivers raise what they like.
    row = connection.execute(_live_rounds(study).where(_rounds.c.idx == index)).first() if 0 <= index < _INDICES else None
    if row is None:
        _study_row(connection, study)
        raise NotFoundError(f"Study '{study}' has no round {index}.")
    return row


def _study_row(connection: Connection, study: str) -> Row[Any]:
    row = connection.execute(select(_studies).where(_studies.c.id == study)).first()
    if row is None:
        raise NotFoundError(f"There is no study '{study}'.")
    return row


def _hashes_of(connection: Connection, study: str) -> tuple[set[str], set[str]]:
    tests, trials = schema.blind_tests, schema.blind_trials
    own = connection.execute(
        select(_candidates.c.image, _candidates.c.latent)
        .join(_rounds, _rounds.c.id == _candidates.c.round)
        .where(_rounds.c.study == study)
    ).all()
    tried = connection.execute(
        select(trials.c.start_image, trials.c.now_image, trials.c.start_latent, trials.c.now_latent)
        .join(tests, tests.c.id == trials.c.test)
        .where(tests.c.study == study)
    ).all()
    images = {r.image for r in own} | {r.start_image for r in tried} | {r.now_image for r in tried}
    latents = {r.latent for r in own} | {r.start_latent for r in tried} | {r.now_latent for r in tried}
    return (images | init_images(connection, _studies.c.id == study)) - {None}, latents
