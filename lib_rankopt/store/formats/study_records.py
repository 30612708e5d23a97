"""The records of a study from JSON that anybody may have written: each value is of its type and fits its column, or nothing goes in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats.shapes import moment, plain
from lib_rankopt.store.formats.study_identity import StudyContent
from lib_rankopt.store.formats.text import clean
from lib_rankopt.store.records import (
    BlindRecord,
    CandidateRecord,
    EventKind,
    EventRecord,
    RoundRecord,
    RoundState,
    ScoreRecord,
    StudyRecord,
    TrialRecord,
)

_Check = Callable[[Any], Any]
_Record = TypeVar("_Record")
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HASH = re.compile(r"[0-9a-f]{64}")
_DEEP = 12


def content_of(value: Any) -> StudyContent:
    """Return the records of a ``study.json``.

    Raises:
        InvalidInputError: something is missing, of another type, or does not fit together; says what.
    """
    if not isinstance(value, dict):
        raise InvalidInputError("study.json holds no study")
    content = StudyContent(
        _record(StudyRecord, _STUDY, value.get("study"), "study"),
        _records(RoundRecord, _ROUND, value, "rounds"),
        _records(CandidateRecord, _CANDIDATE, value, "candidates"),
        _records(EventRecord, _EVENT, value, "events"),
        _records(ScoreRecord, _SCORE, value, "scores"),
        _records(BlindRecord, _BLIND, value, "blinds"),
        _records(TrialRecord, _TRIAL, value, "trials"),
    )
    _check_whole(content)
    return content


def _records(kind: Callable[..., _Record], checks: Mapping[str, _Check], value: Mapping[str, Any], name: str) -> tuple[_Record, ...]:
    listed = value.get(name)
    if not isinstance(listed, list):
        raise InvalidInputError(f"study.json holds no list of {name}")
    return tuple(_record(kind, checks, one, f"{name}, number {number}") for number, one in enumerate(listed, 1))


def _record(kind: Callable[..., _Record], checks: Mapping[str, _Check], value: Any, place: str) -> _Record:
    if not isinstance(value, dict) or set(value) != set(checks):
        raise InvalidInputError(f"study.json, {place}: the fields {', '.join(checks)} are expected")
    try:
        return kind(**{name: check(value[name]) for name, check in checks.items()})
    except InvalidInputError as error:
        bad = next(name for name, check in checks.items() if _is_bad(check, value[name]))
        raise InvalidInputError(f"study.json, {place}: {bad} is {str(value[bad])[:80]!r}, {error}") from error


def _is_bad(check: _Check, value: Any) -> bool:
    try:
        check(value)
    except InvalidInputError:
        return True
    return False


def _check_whole(content: StudyContent) -> None:
    """Whether the records name one another as they must.

    Raises:
        InvalidInputError: not.
    """
    rounds, tests, study = {one.id for one in content.rounds}, {one.id for one in content.blinds}, content.study.id
    numbers = [event.number for event in content.events]
    live = [one.index for one in content.rounds if one.state != "discarded"]
    back = [event.retracts for event in content.events if event.retracts is not None]
    known = set(numbers)
    sound = (
        len(rounds) == len(content.rounds) and len(tests) == len(content.blinds) and len(set(live)) == len(live),
        {one.study for part in (content.rounds, content.events, content.blinds) for one in part} <= {study},
        all(one.round in rounds for one in content.candidates),
        len({(one.round, one.position) for one in content.candidates}) == len(content.candidates),
        all(one.test in tests for one in content.trials) and len({(one.test, one.index) for one in content.trials}) == len(content.trials),
        numbers == sorted(known) and len({event.token for event in content.events}) == len(content.events),
        all(event.round is None or event.round in rounds for event in content.events),
        len(set(back)) == len(back) and all(e.retracts is None or (e.retracts in known and e.retracts < e.number) for e in content.events),
    )
    if not all(sound):
        raise InvalidInputError("study.json: rounds, candidates, answers and blind tests do not belong together")


# -- values


def _text(most: int) -> _Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most or clean(value) != value:
            raise InvalidInputError(f"no text of at most {most} signs")
        return value

    return check


def _whole(low: int, high: int) -> _Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise InvalidInputError(f"no whole number from {low} to {high}")
        return value

    return check


def _pattern(pattern: re.Pattern[str], what: str) -> _Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidInputError(f"no {what}")
        return value

    return check


def _one_of(*values: str) -> _Check:
    def check(value: Any) -> str:
        if value not in values:
            raise InvalidInputError(f"none of {', '.join(values)}")
        return str(value)

    return check


def _or_none(inner: _Check) -> _Check:
    return lambda value: None if value is None else inner(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInputError("no number")
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError("neither true nor false")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or plain(value, _DEEP) != value:
        raise InvalidInputError("no object of plain values")
    return value


def _time(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 32 or not moment(value):
        raise InvalidInputError("no ISO 8601 time")
    return value


def _tuple(inner: _Check, length: int | None = None) -> _Check:
    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise InvalidInputError("no list of the right length")
        return tuple(inner(one) for one in value)

    return check


_id, _hash = _pattern(_ID, "id"), _pattern(_HASH, "hash")
_small, _large = _whole(0, 2**31 - 1), _whole(-(2**63), 2**63 - 1)
_word = _text(200)

_STUDY: Mapping[str, _Check] = {
    "id": _id, "name": _text(1000), "settings": _object, "optimizer_seed": _large, "shape": _tuple(_whole(1, 1 << 16), 3), "model": _object,
    "parent": _or_none(_id), "parent_round": _or_none(_small), "draws": _tuple(_tuple(_small, 3)), "environment": _object,
    "created_at": _time, "revision": _small,
}  # fmt: skip
_ROUND: Mapping[str, _Check] = {
    "id": _id, "study": _id, "index": _small, "size": _whole(1, 1 << 16), "recipe": _text(64), "state": _one_of(*get_args(RoundState)),
    "error": _or_none(_text(1 << 20)), "owner": _or_none(_text(64)), "touched": _number, "created_at": _time,
}  # fmt: skip
_CANDIDATE: Mapping[str, _Check] = {
    "round": _id, "position": _small, "origin": _text(32), "latent": _hash, "seed": _large, "image": _or_none(_hash),
}  # fmt: skip
_EVENT: Mapping[str, _Check] = {
    "study": _id, "kind": _one_of(*get_args(EventKind)), "round": _or_none(_id), "payload": _object, "shown": _tuple(_small),
    "rater": _word, "token": _word, "latency_ms": _or_none(_large), "retracts": _or_none(_large), "copied_from": _or_none(_large),
    "created_at": _time, "number": _large,
}  # fmt: skip
_SCORE: Mapping[str, _Check] = {
    "image": _hash, "prompt": _text(1 << 20), "scorer": _word, "version": _word, "value": _number, "created_at": _time,
}  # fmt: skip
_BLIND: Mapping[str, _Check] = {"id": _id, "study": _id, "seed": _large, "created_at": _time}
_TRIAL: Mapping[str, _Check] = {
    "test": _id, "index": _small, "start_latent": _hash, "now_latent": _hash, "now_left": _truth, "seed": _large,
    "start_image": _or_none(_hash), "now_image": _or_none(_hash),
}  # fmt: skip
