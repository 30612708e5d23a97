"""Candidates and feedback events of :class:`~lib_rankopt.store.sql.SqlStore`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, union_all, update
from sqlalchemy.exc import IntegrityError

from lib_rankopt.errors import ConflictError
from lib_rankopt.store import schema
from lib_rankopt.store._sql_rows import candidate_of, event_of, event_row
from lib_rankopt.store.base import DuplicateToken
from lib_rankopt.store.records import CandidateRecord, EventDraft, EventRecord

if TYPE_CHECKING:
    from lib_rankopt.store.database import Database

_rounds, _candidates, _events = schema.rounds, schema.candidates, schema.events
_tests, _trials = schema.blind_tests, schema.blind_trials

# SQLite before 3.32 takes 999 values in one statement.
_CHUNK = 500


def chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """Cut values into pieces that fit one statement."""
    every = list(values)
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]


class EventsPart:
    """What a round consists of and what was answered about it."""

    _db: Database

    def _advance(self, connection: Connection, study: str, revision: int) -> None:
        raise NotImplementedError

    # -- candidates
    def candidates(self, rounds: Sequence[str]) -> dict[str, list[CandidateRecord]]:
        found: dict[str, list[CandidateRecord]] = {round_id: [] for round_id in rounds}
        with self._db.read() as connection:
            for some in chunks(rounds):
                query = select(_candidates).where(_candidates.c.round.in_(some)).order_by(_candidates.c.position)
                for row in connection.execute(query):
                    found[row.round].append(candidate_of(row))
        return found

    def set_image(self, round_id: str, position: int, image: str) -> bool:
        change = (
            update(_candidates)
            .where(_candidates.c.round == round_id, _candidates.c.position == position)
            .values(image=image)
        )
        with self._db.write() as connection:
            return bool(connection.execute(change).rowcount)

    def find_image(self, study: str, recipe: str, latent: str, seed: int) -> str | None:
        query = (
            select(_candidates.c.image)
            .join(_rounds, _rounds.c.id == _candidates.c.round)
            .where(_candidates.c.latent == latent, _candidates.c.seed == seed, _candidates.c.image.is_not(None))
            .where(_rounds.c.study == study, _rounds.c.recipe == recipe)
            .limit(1)
        )
        with self._db.read() as connection:
            return connection.execute(query).scalar()

    # -- events
    def append(self, event: EventDraft, revision: int, discard: str | None = None) -> EventRecord:
        try:
            with self._db.write() as connection:
                self._refuse_token(connection, event)
                self._advance(connection, event.study, revision)
                result = connection.execute(_events.insert(), event_row(event))
                if discard is not None:
                    connection.execute(update(_rounds).where(_rounds.c.id == discard).values(state="discarded"))
                number = result.inserted_primary_key
        except IntegrityError as error:
            raise self._refusal(error) from error
        return EventRecord(**asdict(event), number=int(number[0]) if number else 0)

    @staticmethod
    def _refuse_token(connection: Connection, event: EventDraft) -> None:
        same = select(_events.c.number).where(_events.c.study == event.study, _events.c.token == event.token)
        if connection.execute(same).first() is not None:
            raise DuplicateToken(f"The token '{event.token}' has been used in this study.")

    @staticmethod
    def _refusal(error: IntegrityError) -> ConflictError:
        cause = str(error.orig)
        if "token" in cause:
            return DuplicateToken("This token has been used in this study.")
        if "retracts" in cause or "one_retraction" in cause:
            return ConflictError("This answer has been taken back already.")
        return ConflictError("The study or the round is gone; load it again.")

    def events(self, study: str, round_ids: Sequence[str] | None = None) -> list[EventRecord]:
        every = select(_events).where(_events.c.study == study)
        queries = [every] if round_ids is None else [every.where(_events.c.round.in_(c)) for c in chunks(round_ids)]
        with self._db.read() as connection:
            found = [event_of(row) for query in queries for row in connection.execute(query)]
        return sorted(found, key=lambda e: e.number)

    def events_back(self, study: str, rater: str, before: int | None = None, limit: int = 50) -> list[EventRecord]:
        query = select(_events).where(_events.c.study == study, _events.c.rater == rater)
        if before is not None:
            query = query.where(_events.c.number < before)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(_events.c.number.desc()).limit(limit))
            return [event_of(row) for row in rows]

    def event_by_token(self, study: str, token: str) -> EventRecord | None:
        query = select(_events).where(_events.c.study == study, _events.c.token == token)
        with self._db.read() as connection:
            row = connection.execute(query).first()
        return event_of(row) if row else None

    # -- what is still referred to
    @staticmethod
    def _unused(connection: Connection, images: set[str], latents: set[str]) -> tuple[set[str], set[str]]:
        with_image = (_candidates.c.image, _trials.c.start_image, _trials.c.now_image)
        with_latent = (_candidates.c.latent, _trials.c.start_latent, _trials.c.now_latent)
        used = _in_use(connection, with_image, images) | init_images(connection)
        return images - used, latents - _in_use(connection, with_latent, latents)


def init_images(connection: Connection, *where: Any) -> set[str]:
    """Hashes of the images that studies start from."""
    like = schema.studies.c.settings.like('%"init_image":"_%')
    found = connection.execute(select(schema.studies.c.settings).where(like, *where)).scalars()
    return {json.loads(settings).get("init_image", "") for settings in found} - {""}


def _in_use(connection: Connection, columns: Sequence[Any], hashes: set[str]) -> set[str]:
    used: set[str] = set()
    for some in chunks(hashes):
        query = union_all(*(select(column).where(column.in_(some)) for column in columns))
        used.update(connection.execute(query).scalars())
    return used
