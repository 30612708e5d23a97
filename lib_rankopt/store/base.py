"""The store contract: studies, rounds, candidates, feedback events, scores, blind trials.

**Records** that come out are frozen and never change; read again to see what others wrote.

**Threads and processes.** Every method may be called from any thread, and several processes may share one database. Each method is
one transaction: it happens whole or not at all, and once it has returned it survives a killed process and a power cut.

**Concurrent writers.** A study has a ``revision``. Whoever appends an event or a round names the revision that their decision was
based on; if somebody else was faster, nothing is written and :class:`StaleRevision` is raised: read again, decide again.

**Append-only feedback.** There is no method that changes or removes one event. Undo appends a ``retraction``. Events go only with
their whole study.

**Errors.** :class:`~lib_rankopt.errors.NotFoundError` for an unknown id, :class:`~lib_rankopt.errors.StoreError` for a full disk,
missing permission, a lost server, a broken or newer database; the study is then as it was before the call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lib_rankopt.errors import ConflictError

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore
    from lib_rankopt.store.records import (
        BlindRecord,
        CandidateRecord,
        EventDraft,
        EventKind,
        EventRecord,
        History,
        RoundRecord,
        RoundSnapshot,
        RoundState,
        ScoreRecord,
        StudyRecord,
        TrialRecord,
    )


class StaleRevision(ConflictError):
    """Somebody else wrote to the study first; nothing was written."""


class DuplicateToken(ConflictError):
    """An event with this token is in the study already; nothing was written."""


class Store(ABC):
    """See the module's text for what holds for every method."""

    @property
    @abstractmethod
    def collected(self) -> CollectionStore:
        """Images from elsewhere and what was said about them, in the same database."""

    # -- studies
    @abstractmethod
    def create_study(self, study: StudyRecord, history: History | None = None) -> StudyRecord:
        """Add a study, together with the history that a branch, or a study from elsewhere, starts with.

        Events that have numbers get new ones, in the order given, and so does what takes them back.

        Raises:
            ConflictError: there is a study, a round or a blind test of that id already; nothing was written.
        """

    @abstractmethod
    def studies(self) -> list[StudyRecord]:
        """Return all studies, newest first."""

    @abstractmethod
    def study(self, study: str) -> StudyRecord:
        """Return one study."""

    @abstractmethod
    def rename_study(self, study: str, name: str) -> StudyRecord:
        """Give a study another name."""

    @abstractmethod
    def delete_study(self, study: str) -> tuple[set[str], set[str]]:
        """Delete a study with all its rows; return hashes of images and of latents that no other study refers to."""

    @abstractmethod
    def counts(self, study: str, answering: Sequence[EventKind]) -> tuple[int, int, int]:
        """Return how many rounds, answered rounds and different images a study has, discarded rounds left out.

        Args:
            answering: the kinds of events of which one that stands answers a round.
        """

    @abstractmethod
    def tallies(self) -> dict[str, dict[str, int]]:
        """Return counts by study id, of all studies that have a round; discarded rounds and what branches copied are left out.

        Names: ``images`` (different ones), ``kind:<kind>`` (standing events), ``rater:<name>`` (their standing events).
        """

    @abstractmethod
    def unused(self, images: set[str], latents: set[str]) -> tuple[set[str], set[str]]:
        """Return those of the hashes that no study refers to."""

    # -- rounds
    @abstractmethod
    def add_round(self, record: RoundRecord, candidates: Sequence[CandidateRecord], revision: int) -> None:
        """Append a round.

        Raises:
            StaleRevision: the study is past ``revision``, or has a round of that index.
        """

    @abstractmethod
    def rounds(self, study: str, first: int = 0, limit: int | None = None) -> list[RoundRecord]:
        """Return the rounds from index ``first``, in order, discarded ones left out; none where ``first`` is past the end."""

    @abstractmethod
    def last_round(self, study: str) -> RoundRecord | None:
        """Return the round with the highest index."""

    @abstractmethod
    def round(self, study: str, index: int) -> RoundRecord:
        """Return the round of that index that is not discarded."""

    @abstractmethod
    def round_by_id(self, round_id: str) -> RoundRecord:
        """Return a round by its id, discarded or not."""

    @abstractmethod
    def snapshot(self, study: str, index: int) -> RoundSnapshot:
        """Return the round of that index that is not discarded, with its study, candidates and events."""

    @abstractmethod
    def unfinished_rounds(self) -> list[RoundRecord]:
        """Return queued and generating rounds of all studies, oldest first."""

    @abstractmethod
    def set_round_state(
        self, round_id: str, state: RoundState, expect: Iterable[RoundState], error: str | None = None
    ) -> bool:
        """Change a round's state if it is one of ``expect``; return whether it was."""

    @abstractmethod
    def claim_round(self, round_id: str, owner: str, previous: str | None, touched: float) -> bool:
        """Make ``owner`` the generating process if ``previous`` still is; return whether that worked."""

    @abstractmethod
    def touch_round(self, round_id: str, touched: float) -> None:
        """Note a sign of life of a round's owner."""

    # -- candidates
    @abstractmethod
    def candidates(self, rounds: Sequence[str]) -> dict[str, list[CandidateRecord]]:
        """Return the candidates of some rounds, by round id, in order of position."""

    @abstractmethod
    def set_image(self, round_id: str, position: int, image: str) -> bool:
        """Note a candidate's finished image; false when the candidate is gone (its study was deleted)."""

    @abstractmethod
    def find_image(self, study: str, recipe: str, latent: str, seed: int) -> str | None:
        """Return the image that a candidate of the study has of this latent under the same recipe, if any."""

    # -- events
    @abstractmethod
    def append(self, event: EventDraft, revision: int, discard: str | None = None) -> EventRecord:
        """Append an event and, in the same transaction, mark the round ``discard`` as discarded.

        Raises:
            StaleRevision: the study is past ``revision``.
            DuplicateToken: the study has an event with this token.
            ConflictError: the event it retracts is retracted already.
        """

    @abstractmethod
    def events(self, study: str, round_ids: Sequence[str] | None = None) -> list[EventRecord]:
        """Return a study's events in order of appending, those of some rounds only if named."""

    @abstractmethod
    def events_back(self, study: str, rater: str, before: int | None = None, limit: int = 50) -> list[EventRecord]:
        """Return a rater's latest events, newest first, those with a number below ``before`` if that is given."""

    @abstractmethod
    def event_by_token(self, study: str, token: str) -> EventRecord | None:
        """Return the study's event with this token, if there is one."""

    # -- scores
    @abstractmethod
    def put_scores(self, scores: Sequence[ScoreRecord]) -> None:
        """Add scores; one that is there already (same image, prompt, scorer and version) stays."""

    @abstractmethod
    def scores(self, images: Sequence[str], prompt: str) -> list[ScoreRecord]:
        """Return all scores of some images under a prompt, oldest first."""

    # -- blind tests
    @abstractmethod
    def add_blind(self, test: BlindRecord, trials: Sequence[TrialRecord]) -> None:
        """Add a blind test with its trials."""

    @abstractmethod
    def blind(self, test: str) -> BlindRecord:
        """Return a blind test."""

    @abstractmethod
    def blinds(self, study: str) -> list[BlindRecord]:
        """Return a study's blind tests, oldest first."""

    @abstractmethod
    def trials(self, test: str) -> list[TrialRecord]:
        """Return a test's trials in order."""

    @abstractmethod
    def set_trial_image(self, test: str, latent: str, image: str) -> bool:
        """Note the finished image of a latent in all trials of a test that show it; false when there are none (its study was deleted)."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all connections."""
