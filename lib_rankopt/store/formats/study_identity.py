"""Whether a study is in a store already, and under which ids it goes in where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from lib_rankopt.errors import NotFoundError, StoreError
from lib_rankopt.store.base import Store
from lib_rankopt.store.records import (
    UNFINISHED,
    BlindRecord,
    CandidateRecord,
    EventRecord,
    RoundRecord,
    ScoreRecord,
    StudyRecord,
    TrialRecord,
)

_MOST_COPIES = 100


@dataclass(frozen=True)
class StudyContent:
    """All records of one study."""

    study: StudyRecord
    rounds: tuple[RoundRecord, ...]
    candidates: tuple[CandidateRecord, ...]
    events: tuple[EventRecord, ...]
    scores: tuple[ScoreRecord, ...]
    blinds: tuple[BlindRecord, ...]
    trials: tuple[TrialRecord, ...]

    def images(self) -> set[str]:
        """Hashes of all images that it names."""
        shown = [one.image for one in self.candidates] + [name for one in self.trials for name in (one.start_image, one.now_image)]
        start = self.study.settings.get("init_image")
        return {name for name in (*shown, start if isinstance(start, str) else None) if name}

    def latents(self) -> set[str]:
        """Hashes of all latents that it names."""
        return {one.latent for one in self.candidates} | {name for one in self.trials for name in (one.start_latent, one.now_latent)}

    def with_scores(self, scores: Iterable[ScoreRecord]) -> StudyContent:
        """The same with these scores."""
        return replace(self, scores=tuple(scores))


def place_for(store: Store, content: StudyContent) -> tuple[StudyContent, bool]:
    """Return a study under the ids that it has, or would have, in a store, and whether it is there.

    It keeps its own unless the store has another study under them, or one that lacks something; then it gets ids that follow from its own
    and from what it holds, and so are the same each time.
    """
    placed = content
    for copy in range(_MOST_COPIES):
        if copy:
            placed = _renamed(content, copy)
        if not _is_taken(store, placed):
            return _as_new(placed), False
        if _is_there(store, placed):
            return placed, True
    raise StoreError(f"{_MOST_COPIES} other versions of the study '{content.study.id}' are here already; delete some of them.")


def _is_taken(store: Store, content: StudyContent) -> bool:
    return any(
        _exists(get, name)
        for get, names in (
            (store.study, [content.study.id]),
            (store.round_by_id, [one.id for one in content.rounds]),
            (store.blind, [one.id for one in content.blinds]),
        )
        for name in names
    )


def _exists(get: object, name: str) -> bool:
    try:
        get(name)  # type: ignore[operator]
    except NotFoundError:
        return False
    return True


def _is_there(store: Store, content: StudyContent) -> bool:
    """Whether a study of the store has all that the content has; it may have gone on, and may have another name."""
    try:
        study = store.study(content.study.id)
        if (study.created_at, study.settings, study.optimizer_seed) != (
            content.study.created_at,
            content.study.settings,
            content.study.optimizer_seed,
        ):
            return False
        rounds = {one.id for one in store.rounds(study.id)}
        missing = [one for one in content.rounds if one.id not in rounds]
        if any(store.round_by_id(one.id).study != study.id for one in missing):
            return False
        tokens = {event.token for event in store.events(study.id)}
        tests = {one.id for one in store.blinds(study.id)}
    except NotFoundError:
        return False
    return {event.token for event in content.events} <= tokens and {one.id for one in content.blinds} <= tests


def _as_new(content: StudyContent) -> StudyContent:
    """Nobody is at work on rounds that come from elsewhere."""
    rounds = (replace(one, owner=None, touched=0.0) for one in content.rounds)
    return replace(
        content, rounds=tuple(replace(one, state="interrupted") if one.state in UNFINISHED else one for one in rounds)
    )  # fmt: skip


def _renamed(content: StudyContent, copy: int) -> StudyContent:
    told = "\n".join((content.study.id, content.study.created_at, str(copy), *(event.token for event in content.events)))
    salt = sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
    own = _new(salt, content.study.id)
    rounds: Mapping[str | None, str] = {one.id: _new(salt, one.id) for one in content.rounds}
    tests = {one.id: _new(salt, one.id) for one in content.blinds}
    return replace(
        content,
        study=replace(content.study, id=own),
        rounds=tuple(replace(one, id=rounds[one.id], study=own) for one in content.rounds),
        candidates=tuple(replace(one, round=rounds[one.round]) for one in content.candidates),
        events=tuple(_event(event, own, rounds, tests) for event in content.events),
        blinds=tuple(replace(one, id=tests[one.id], study=own) for one in content.blinds),
        trials=tuple(replace(one, test=tests[one.test]) for one in content.trials),
    )


def _event(event: EventRecord, study: str, rounds: Mapping[str | None, str], tests: Mapping[str, str]) -> EventRecord:
    payload, token = event.payload, event.token
    test = payload.get("test")
    if event.kind == "blind" and isinstance(test, str) and test in tests:
        payload, token = {**payload, "test": tests[test]}, token.replace(test, tests[test])
    return replace(event, study=study, round=rounds[event.round] if event.round else None, payload=payload, token=token)


def _new(salt: str, old: str) -> str:
    return sha256(f"{salt}\n{old}".encode()).hexdigest()[:16]
