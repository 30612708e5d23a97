"""Frozen records that cross the store's border. Times are ISO 8601 in UTC; hashes are sha256 in 64 hex digits."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal
from uuid import uuid4

RoundState = Literal["queued", "generating", "ready", "interrupted", "failed", "discarded"]
EventKind = Literal[
    "ranking", "pair", "like", "dislike", "unlike", "skip", "none_better", "blind", "retraction"
]

UNFINISHED: tuple[RoundState, ...] = ("queued", "generating")


def now() -> str:
    """Return the present moment as the store writes it (UTC, microseconds)."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def new_id() -> str:
    """Return a new identity: 16 random hex digits, safe in a path, a URL and a page's id attribute."""
    return uuid4().hex[:16]


@dataclass(frozen=True)
class StudyRecord:
    """A study as created; only its name ever changes.

    Attributes:
        settings: the resolved :class:`~lib_rankopt.studies.views.StudySettings` as plain values.
        optimizer_seed: seed that the history is replayed with; a branch keeps its root's.
        shape: latent shape ``(C, h, w)``.
        model: name, sha256, family and prediction type of the weights at creation.
        parent, parent_round: where the study was branched off; rounds up to ``parent_round`` are copies.
        draws: ``(round, times, size)``: where a branch began, here or in its parents. There the optimiser draws ``times`` rounds of
            ``size`` that nobody sees and skips them, so that what follows differs from that of all other studies of the same root.
        environment: versions of what computed the latents.
        revision: grows with every round and event; writers name the one they saw (see :class:`~.base.Store`).
    """

    id: str
    name: str
    settings: dict[str, Any]
    optimizer_seed: int
    shape: tuple[int, int, int]
    model: dict[str, Any]
    parent: str | None = None
    parent_round: int | None = None
    draws: tuple[tuple[int, int, int], ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    created_at: str = field(default_factory=now)
    revision: int = 0


@dataclass(frozen=True)
class RoundRecord:
    """One set of candidates. ``index`` counts from 0 within the study; a discarded round frees its index.

    Attributes:
        size: number of candidates.
        recipe: hash of everything but the latent that decides about pixels; equal recipe and latent mean equal image.
        owner: the process that generates it, while it is unfinished.
        touched: seconds since the epoch at which the owner last gave a sign of life.
    """

    id: str
    study: str
    index: int
    size: int
    recipe: str
    state: RoundState = "queued"
    error: str | None = None
    owner: str | None = None
    touched: float = 0.0
    created_at: str = field(default_factory=now)


@dataclass(frozen=True)
class CandidateRecord:
    """One candidate of a round, named by the round's id and its position in the optimiser's list."""

    round: str
    position: int
    origin: str
    latent: str
    seed: int
    image: str | None = None

    @property
    def id(self) -> str:
        """Identity for faces: round and position."""
        return f"{self.round}-{self.position:02d}"


@dataclass(frozen=True)
class EventDraft:
    """A feedback event before it is appended.

    Attributes:
        round: id of the round it is about, ``None`` for a blind trial.
        payload: what was answered; candidates are named by position in their round. A ranking with numbers behind it has one per tier
            in ``scores``, and in ``scale`` what they are numbers of; those of one scale compare.
        shown: positions in the order in which they stood on screen.
        token: the client's, unique in the study.
        retracts: number of the event that this one takes back.
        copied_from: for the history of a branch, the event's number in the parent; exports count such an event once.
    """

    study: str
    kind: EventKind
    round: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    shown: tuple[int, ...] = ()
    rater: str = "me"
    token: str = field(default_factory=new_id)
    latency_ms: int | None = None
    retracts: int | None = None
    copied_from: int | None = None
    created_at: str = field(default_factory=now)


@dataclass(frozen=True)
class EventRecord(EventDraft):
    """An appended event. ``number`` grows in the order of appending, over all studies of the store."""

    number: int = 0


@dataclass(frozen=True)
class ScoreRecord:
    """A scorer's number for one image under one prompt."""

    image: str
    prompt: str
    scorer: str
    version: str
    value: float
    created_at: str = field(default_factory=now)


@dataclass(frozen=True)
class BlindRecord:
    """A blind test: ``now`` is the latent it judges; its trials are :class:`TrialRecord`."""

    id: str
    study: str
    seed: int
    created_at: str = field(default_factory=now)


@dataclass(frozen=True)
class TrialRecord:
    """One left/right trial; the images are filled in as they are generated."""

    test: str
    index: int
    start_latent: str
    now_latent: str
    now_left: bool
    seed: int
    start_image: str | None = None
    now_image: str | None = None


@dataclass(frozen=True)
class RoundSnapshot:
    """One round with all that a decision about it needs, read at one moment.

    Attributes:
        last_index: index of the study's newest round.
        events: the round's events, taken back or not.
    """

    study: StudyRecord
    round: RoundRecord
    candidates: tuple[CandidateRecord, ...]
    events: tuple[EventRecord, ...]
    last_index: int


@dataclass(frozen=True)
class History:
    """Rounds, candidates, events and blind tests that a study starts with, already renamed to it."""

    rounds: tuple[RoundRecord, ...] = ()
    candidates: tuple[CandidateRecord, ...] = ()
    events: tuple[EventDraft, ...] = ()
    blinds: tuple[BlindRecord, ...] = ()
    trials: tuple[TrialRecord, ...] = ()
