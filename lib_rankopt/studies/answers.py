"""Checks of answers, and what undo takes back. Pure functions over the store's records.

When a round counts as answered, and by whom:

* A rater gives a round either one ranking, skip or "none is better", or any number of comparisons, which one ranking or "none is better"
  may still follow. More than that needs undo first. Other raters answer beside them.
* Likes and dislikes come at any time, to any round, and do not answer it. They are labels; starting the next round turns those of an
  otherwise unanswered round into a ranking event.
* Once the next round has been started from a round, it takes no more answers: the optimiser has been told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib_rankopt.errors import ConflictError, InvalidInputError
from lib_rankopt.optimizers import ranking
from lib_rankopt.store import derive
from lib_rankopt.store.records import EventDraft, new_id

if TYPE_CHECKING:
    from lib_rankopt.store.records import CandidateRecord, EventRecord, RoundRecord, StudyRecord
    from lib_rankopt.studies.views import Answer

_KINDS = ("ranking", "pair", "like", "dislike", "unlike", "skip", "none_better")
_MAX_TEXT = 200
_MAX_SCALE = 1000  # a scale names every scorer of an ensemble, with its version
_ANSWERABLE = ("ready", "interrupted", "failed")


def draft(
    study: StudyRecord,
    record: RoundRecord,
    candidates: Sequence[CandidateRecord],
    order: Sequence[int],
    answer: Answer,
) -> EventDraft:
    """Turn an answer into an event about positions.

    Args:
        order: positions in the order on screen, for an answer that does not say what it saw. Places without an image do not count.

    Raises:
        InvalidInputError: an unknown kind, an unknown or repeated candidate, one without an image, scores that do not fit; the message
            names it.
    """
    _check_fields(answer)
    finished = [c.position for c in candidates if c.image is not None]
    positions = {c.id: c.position for c in candidates}
    shown = tuple(i for i in _positions(answer.shown, positions, "shown") or order if i in finished)
    tiers = tuple(_positions(tier, positions, "ranked") for tier in answer.tiers)
    named = [i for tier in tiers for i in tier]
    _refuse_repeats([f"{record.id}-{i:02d}" for i in named], "named")
    _check_form(answer, tiers)
    for position in named:
        if position not in finished:
            raise InvalidInputError(f"Candidate '{record.id}-{position:02d}' has no finished image; only finished ones can be judged.")
    hidden = [i for i in named if i not in shown]
    if hidden:
        raise InvalidInputError(f"Candidate '{record.id}-{hidden[0]:02d}' is named but not among those that were shown.")
    payload: dict[str, object] = {"tiers": [list(tier) for tier in tiers if tier]} if named else {}
    if answer.scores or answer.scale:
        _check_scores(answer, tiers, shown)
        # A branch goes on with another prompt or model, and numbers of its pictures are no longer numbers of the same thing.
        payload |= {"scores": [float(v) for v in answer.scores], "scale": f"{answer.scale} {record.recipe[:16]}"}
    return EventDraft(
        study=study.id,
        kind=answer.kind,
        round=record.id,
        payload=payload,
        shown=shown,
        rater=answer.rater,
        token=answer.token or new_id(),
        latency_ms=answer.latency_ms,
    )


def check_timing(record: RoundRecord, standing: Sequence[EventRecord], draft: EventDraft, last_index: int) -> None:
    """Refuse an answer that comes too early, too late or twice.

    Args:
        standing: the round's standing events.
        last_index: index of the study's newest round.

    Raises:
        ConflictError: the message says what to do.
    """
    if draft.kind in derive.LABELS:
        return
    number = record.index + 1
    if record.index < last_index:
        raise ConflictError(
            f"Round {number} is closed: round {number + 1} was started from its answer. Undo, or branch from round {number}."
        )
    if record.state not in _ANSWERABLE:
        raise ConflictError(f"Round {number} is still being generated; wait for it, or interrupt it and rank what is there.")
    if draft.kind != "skip" and len(draft.shown) < 2:
        raise ConflictError(f"Round {number} has fewer than two finished images; start it again or skip it.")
    own = [event for event in derive.closing(standing) if event.rater == draft.rater]
    final = next((event for event in own if event.kind != "pair"), None)
    if final is not None:
        said = {"ranking": "ranked", "skip": "skipped", "none_better": "answered"}[final.kind]
        raise ConflictError(f"'{draft.rater}' has {said} round {number} already; undo that first, or start the next round.")
    if own and draft.kind == "skip":
        raise ConflictError(f"'{draft.rater}' has compared images of round {number}; undo that to skip the round.")
    if draft.kind == "pair":
        compared = sorted(i for tier in draft.payload["tiers"] for i in tier)
        if any(sorted(i for tier in event.payload["tiers"] for i in tier) == compared for event in own):
            raise ConflictError(f"'{draft.rater}' has compared these two images already; undo that first.")


def same_answer(event: EventRecord, draft: EventDraft) -> bool:
    """Whether an answer with a used token is the one that the token was used for."""
    return (event.kind, event.round, event.rater, event.payload) == (draft.kind, draft.round, draft.rater, draft.payload)


def _check_fields(answer: Answer) -> None:
    if answer.kind not in _KINDS:
        raise InvalidInputError(f"There is no answer of kind {answer.kind!r}; use one of {', '.join(_KINDS)}.")
    for name, value in (("rater", answer.rater), ("token", answer.token)):
        if value is None and name == "token":
            continue
        if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT or not value.isprintable():
            raise InvalidInputError(f"{name} is {str(value)[:80]!r}; use 1 to {_MAX_TEXT} visible characters.")
    latency = answer.latency_ms
    if latency is not None and (isinstance(latency, bool) or not isinstance(latency, int) or not 0 <= latency < 2**53):
        raise InvalidInputError(f"latency_ms is {latency!r}; use a number of milliseconds from 0.")


def _positions(ids: Sequence[str], known: dict[str, int], what: str) -> tuple[int, ...]:
    if isinstance(ids, str) or not isinstance(ids, Sequence):
        raise InvalidInputError(f"{what}: {str(ids)[:80]!r} is no list of candidates.")
    for name in ids:
        if not isinstance(name, str) or name not in known:
            raise InvalidInputError(f"Candidate {str(name)[:80]!r} is not in this round.")
    _refuse_repeats(ids, what)
    return tuple(known[name] for name in ids)


def _refuse_repeats(ids: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InvalidInputError(f"Candidate '{name}' is {what} twice; name each candidate once.")
        seen.add(name)


def _check_form(answer: Answer, tiers: tuple[tuple[int, ...], ...]) -> None:
    sizes = [len(tier) for tier in tiers]
    if answer.kind == "ranking" and not any(sizes):
        raise InvalidInputError("The ranking is empty: name at least the best candidate, or skip the round.")
    if answer.kind == "pair" and sizes != [1, 1]:
        raise InvalidInputError("A comparison names two candidates: ((better,), (worse,)).")
    if answer.kind in derive.LABELS and sizes != [1]:
        raise InvalidInputError(f"A {answer.kind} names one candidate: ((candidate,),).")
    if answer.kind in ("skip", "none_better") and any(sizes):
        raise InvalidInputError(f"'{answer.kind}' names no candidate; send a ranking instead.")


def _check_scores(answer: Answer, tiers: tuple[tuple[int, ...], ...], shown: tuple[int, ...]) -> None:
    scale = answer.scale
    if answer.kind != "ranking":
        raise InvalidInputError(f"A {answer.kind} takes no scores; send them with a ranking.")
    if not isinstance(scale, str) or not scale.strip() or len(scale) > _MAX_SCALE or not scale.isprintable():
        said = str(scale)[:80]
        raise InvalidInputError(f"scale is {said!r}; say in 1 to {_MAX_SCALE} visible characters what the scores are numbers of.")
    if len(answer.scores) != len(tiers) or not all(tiers) or {i for tier in tiers for i in tier} != set(shown):
        raise InvalidInputError("Scores need a ranking of all candidates that were shown, and one number for each of its tiers.")
    if not ranking.falling(answer.scores):
        raise InvalidInputError("Each score must be a finite number and lower than that of the tier before.")
