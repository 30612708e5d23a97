"""Records to rows and back."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lib_rankopt.store.records import (
    BlindRecord,
    CandidateRecord,
    EventDraft,
    EventRecord,
    RoundRecord,
    StudyRecord,
    TrialRecord,
)

if TYPE_CHECKING:
    from sqlalchemy import Row


def as_json(value: Any) -> str:
    """Write a value as the store keeps it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def study_row(study: StudyRecord) -> dict[str, Any]:
    """Return the columns of a study."""
    row = _plain(study)
    for name in ("settings", "shape", "model", "draws", "environment"):
        row[name] = as_json(row[name])
    return row


def study_of(row: Row[Any]) -> StudyRecord:
    """Return the study of a row."""
    values = dict(row._mapping)
    for name in ("settings", "model", "environment"):
        values[name] = json.loads(values[name])
    channels, height, width = json.loads(values.pop("shape"))
    draws = tuple((after, times, size) for after, times, size in json.loads(values.pop("draws")))
    return StudyRecord(shape=(channels, height, width), draws=draws, **values)


def round_row(record: RoundRecord) -> dict[str, Any]:
    """Return the columns of a round."""
    row = _plain(record)
    row["idx"] = row.pop("index")
    return row


def round_of(row: Row[Any]) -> RoundRecord:
    """Return the round of a row."""
    values = dict(row._mapping)
    values["index"] = values.pop("idx")
    return RoundRecord(**values)


def candidate_row(record: CandidateRecord) -> dict[str, Any]:
    """Return the columns of a candidate."""
    return _plain(record)


def candidate_of(row: Row[Any]) -> CandidateRecord:
    """Return the candidate of a row."""
    return CandidateRecord(row.round, row.position, row.origin, row.latent, row.seed, row.image)


def event_row(event: EventDraft) -> dict[str, Any]:
    """Return the columns of an event, without a number that it may have."""
    row = _plain(event)
    row.pop("number", None)
    row["payload"], row["shown"] = as_json(event.payload), as_json(list(event.shown))
    return row


def event_of(row: Row[Any]) -> EventRecord:
    """Return the event of a row."""
    values = dict(row._mapping)
    values["payload"] = json.loads(values["payload"])
    values["shown"] = tuple(json.loads(values["shown"]))
    return EventRecord(**values)


def blind_row(record: BlindRecord) -> dict[str, Any]:
    """Return the columns of a blind test."""
    return _plain(record)


def blind_of(row: Row[Any]) -> BlindRecord:
    """Return the blind test of a row."""
    return BlindRecord(**dict(row._mapping))


def trial_row(trial: TrialRecord) -> dict[str, Any]:
    """Return the columns of a trial."""
    row = _plain(trial)
    row["idx"], row["now_left"] = row.pop("index"), int(trial.now_left)
    return row


def trial_of(row: Row[Any]) -> TrialRecord:
    """Return the trial of a row."""
    values = dict(row._mapping)
    values["index"], values["now_left"] = values.pop("idx"), bool(values["now_left"])
    return TrialRecord(**values)


def _plain(record: Any) -> dict[str, Any]:
    # dataclasses.asdict copies nested values one by one, which costs more than the insert itself.
    return {f.name: getattr(record, f.name) for f in fields(record)}
