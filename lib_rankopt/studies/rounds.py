"""Starting rounds, answering them, undo, and taking up what a killed process left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from lib_rankopt.errors import ConflictError, NotFoundError, RankOptError
from lib_rankopt.store import StaleRevision, derive
from lib_rankopt.store.records import UNFINISHED, CandidateRecord, EventDraft, EventRecord, RoundRecord, RoundState, new_id
from lib_rankopt.studies import answers
from lib_rankopt.studies import settings as settings_module
from lib_rankopt.studies.feedback import feedback_of, tiers_from_labels
from lib_rankopt.studies.generation import run_round
from lib_rankopt.studies.present import display_order
from lib_rankopt.studies.worker import Job, Worker

if TYPE_CHECKING:
    from lib_rankopt.hosts.base import ModelIdentity
    from lib_rankopt.optimizers.base import Proposal
    from lib_rankopt.store.records import StudyRecord
    from lib_rankopt.studies.room import Room
    from lib_rankopt.studies.views import Answer, RoundView

log = logging.getLogger("rankopt.studies")

# Somebody else may be faster now and then; being slower this often in a row means a fault.
_ATTEMPTS = 20


class Rounds:
    """The life of rounds. Thread-safe.

    Args:
        finished: called in the worker's thread with the state in which a round was left.
    """

    def __init__(self, room: Room, worker: Worker, finished: Callable[[RoundRecord, RoundState], None]) -> None:
        self._room, self._worker, self._finished = room, worker, finished

    # -- starting
    def start(self, study_id: str) -> RoundView:
        """Start the next round, or the current one again if it was left without two images.

        Raises:
            ConflictError: the current round waits for its answer, or is still being generated.
        """
        with self._room.locked(study_id):
            study = self._room.store.study(study_id)
            last = self._room.store.last_round(study_id)
            if last is not None:
                again = self._ready_for_next(study, last)
                if again is not None:
                    return self._room.view(study, again)
            return self._add(study_id, 0 if last is None else last.index + 1)

    def _ready_for_next(self, study: StudyRecord, last: RoundRecord) -> RoundRecord | None:
        """Return the last round if that is to be generated (again), ``None`` if the next one may begin."""
        number = last.index + 1
        if last.state in UNFINISHED:
            if last.id in self._room.unsaved or self._is_orphan(last):
                return self._again(last)
            raise ConflictError(f"Round {number} is still being generated; wait for it, or interrupt it.")
        standing = derive.standing(self._room.store.events(study.id, [last.id]))
        if feedback_of(last.size, standing) is not None:
            return None
        candidates = self._room.store.candidates([last.id])[last.id]
        finished = [c.position for c in candidates if c.image is not None]
        if last.state == "failed" or len(finished) < 2:
            return self._again(last)
        if self._close_by_labels(study, last, standing, finished):
            return None
        raise ConflictError(f"Round {number} has not been answered; rank it or skip it first.")

    def _close_by_labels(
        self, study: StudyRecord, last: RoundRecord, standing: list[EventRecord], finished: list[int]
    ) -> bool:
        """Turn the likes and dislikes of each rater into their ranking; return whether they said anything."""
        order = tuple(i for i in display_order(study.settings["seed"], last.index, last.size) if i in finished)
        closed = False
        for rater in sorted({e.rater for e in standing if e.kind in derive.LABELS}):
            tiers = tiers_from_labels(standing, rater, finished)
            if tiers:
                payload = {"tiers": [list(tier) for tier in tiers], "from": "labels"}
                event = EventDraft(study.id, "ranking", last.id, payload, order, rater)
                self._room.store.append(event, self._room.store.study(study.id).revision)
                closed = True
        return closed

    def _again(self, record: RoundRecord) -> RoundRecord:
        """Queue a round once more; what it has already is kept, and the rest will be the same pictures."""
        store, mine = self._room.store, self._room.presence.owner
        if not store.claim_round(record.id, mine, record.owner, time.time()):
            raise ConflictError(f"Round {record.index + 1} has just been started again by another process.")
        store.set_round_state(record.id, "queued", expect=("queued", "generating", "failed", "interrupted"))
        self._room.unsaved.pop(record.id, None)
        fresh = store.round(record.study, record.index)
        self._submit(fresh)
        return fresh

    def _add(self, study_id: str, index: int) -> RoundView:
        study = self._room.store.study(study_id)
        settings = settings_module.from_dict(study.settings)
        identity = self._room.host.identity(settings.model or None)
        self._compare(study, identity)
        round_id = new_id()
        try:
            history = self._room.history(study)
            if len(history) != index:
                raise ConflictError("The study has been changed by somebody else; load it again.")
            proposals = self._room.replayer.next(study, history, round_id, settings.candidates)
            record = RoundRecord(
                round_id,
                study.id,
                index,
                len(proposals),
                settings_module.recipe(settings, identity.sha256),
                owner=self._room.presence.owner,
                touched=time.time(),
            )
            self._write(record, proposals, settings.seed, study.revision)
        except StaleRevision as stale:
            self._room.replayer.forget(study_id)
            raise ConflictError(
                f"Round {index + 1} has been started or changed elsewhere (another tab?); load the study again."
            ) from stale
        except BaseException:
            # The kept optimiser has been asked for a round that does not exist.
            self._room.replayer.forget(study_id)
            raise
        # Another process that deleted a study with the same latents may have taken the files before our rows were there.
        for proposal in proposals:
            self._room.blobs.put_latent(proposal.latent)
        self._submit(record)
        return self._room.view(study, record)

    def _write(self, record: RoundRecord, proposals: list[Proposal], seed: int, revision: int) -> None:
        with self._room.files:
            latents = [self._room.blobs.put_latent(proposal.latent) for proposal in proposals]
            candidates = [
                CandidateRecord(record.id, i, proposal.origin, latent, seed)
                for i, (proposal, latent) in enumerate(zip(proposals, latents, strict=True))
            ]
            self._room.store.add_round(record, candidates, revision)

    def _compare(self, study: StudyRecord, identity: ModelIdentity) -> None:
        """Remember whether the study goes on with another model file than it began with; the file may take long to hash."""
        if identity.sha256 == study.model["sha256"]:
            self._room.other_models.pop(study.id, None)
            return
        self._room.other_models[study.id] = (
            f"The model '{identity.name}' is another file than when the study began; from here on the same latent gives another image. "
            "Put the old file back, or start a new study."
        )

    def _submit(self, record: RoundRecord) -> None:
        self._room.board.begin(record.study, "round", round=record.index, total=record.size)
        self._worker.submit(Job(record.study, record.id, lambda job: self._run(job, record)))

    def _run(self, job: Job, record: RoundRecord) -> None:
        state = run_round(self._room, job, record)
        if state is not None:
            self._finished(record, state)

    def _is_orphan(self, record: RoundRecord) -> bool:
        """Whether nobody generates this unfinished round any more."""
        if record.owner == self._room.presence.owner:
            return not self._worker.has(record.id)
        return self._room.presence.is_dead(record.owner, self._room.silence(record))

    def resume(self) -> None:
        """Take up the unfinished rounds that nobody generates: those of processes that are gone, mostly. Never raises."""
        try:
            for record in self._room.store.unfinished_rounds():
                if self._is_orphan(record):
                    self._take_up(record)
            self._room.presence.tidy()
        except RankOptError as error:
            log.warning("unfinished rounds were not taken up: %s", error)

    def _take_up(self, seen: RoundRecord) -> None:
        """Queue a round if nobody generates it still: whoever was between writing and queueing it has let go of the lock."""
        with suppress(NotFoundError), self._room.locked(seen.study):
            record = self._room.store.round_by_id(seen.id)
            if record.state not in UNFINISHED or record.id in self._room.unsaved or not self._is_orphan(record):
                return
            if self._room.store.claim_round(record.id, self._room.presence.owner, record.owner, time.time()):
                log.info("round %d of study %s is resumed", record.index, record.study)
                self._submit(record)

    def left_unfinished(self) -> bool:
        """Whether unfinished rounds belong to this process, as far as can be told. Never raises."""
        try:
            return any(record.owner == self._room.presence.owner for record in self._room.store.unfinished_rounds())
        except RankOptError:
            return True

    def interrupt(self, study_id: str) -> None:
        """Stop generating; finished images are kept. Nothing happens where nothing runs."""
        with self._room.locked(study_id):
            self._room.store.study(study_id)
            for job in self._worker.cancel(study_id):
                self._room.store.set_round_state(job.key, "interrupted", expect=UNFINISHED)
                self._room.board.end(study_id)

    # -- answers
    def answer(self, study_id: str, index: int, answer: Answer) -> RoundView:
        """Append an answer; see :mod:`.answers` for when which one is taken.

        Raises:
            ConflictError: too early, too late, or twice. InvalidInputError: wrong candidates.
        """
        with self._room.locked(study_id):
            for _ in range(_ATTEMPTS):
                seen = self._room.store.snapshot(study_id, index)
                order = display_order(seen.study.settings["seed"], index, seen.round.size)
                draft = answers.draft(seen.study, seen.round, seen.candidates, order, answer)
                try:
                    answers.check_timing(seen.round, derive.standing(seen.events), draft, seen.last_index)
                    event = self._room.store.append(draft, seen.study.revision)
                except StaleRevision:
                    continue
                except ConflictError:
                    # Refused, unless it is an action that was taken already and is sent again.
                    if not self._taken(study_id, draft):
                        raise
                    return self._room.view(seen.study, self._room.store.round(study_id, index))
                return self._room.seen(seen, event)
        raise ConflictError("The study is being changed by others all the time; try again.")

    def _taken(self, study_id: str, draft: EventDraft) -> bool:
        earlier = self._room.store.event_by_token(study_id, draft.token)
        if earlier is None:
            return False
        if not answers.same_answer(earlier, draft):
            raise ConflictError(f"The token '{draft.token}' was used for another answer; use a new one for each action.")
        return True

    def undo(self, study_id: str, rater: str) -> RoundView:
        """Take back a rater's last standing answer; a round that was started from it is discarded.

        A retraction carries its rater, so that the rater's own events tell which of them stand.

        Raises:
            ConflictError: nothing to take back, or others have answered what was built on it.
        """
        with self._room.locked(study_id):
            for _ in range(_ATTEMPTS):
                study = self._room.store.study(study_id)
                event, record = self._last_of(study_id, rater)
                following = self._built_on(study_id, event, record)
                try:
                    draft = EventDraft(study_id, "retraction", record.id, rater=rater, retracts=event.number)
                    self._room.store.append(draft, study.revision, discard=following.id if following else None)
                except StaleRevision:
                    continue
                if following is not None:
                    self._discard(following)
                return self._room.view(study, record)
        raise ConflictError("The study is being changed by others all the time; try again.")

    def _last_of(self, study_id: str, rater: str) -> tuple[EventRecord, RoundRecord]:
        """Return a rater's last standing event about a round that is still there. A blind trial is no answer to a round."""
        gone: set[int | None] = set()
        before: int | None = None
        while events := self._room.store.events_back(study_id, rater, before):
            for event in events:
                if event.kind == "retraction":
                    gone.add(event.retracts)
                elif event.number not in gone and event.round is not None:
                    record = self._room.store.round_by_id(event.round)
                    if record.state != "discarded":
                        return event, record
            before = events[-1].number
        raise ConflictError(f"'{rater}' has no answer in this study to take back.")

    def _built_on(self, study_id: str, event: EventRecord, record: RoundRecord) -> RoundRecord | None:
        """Return the unanswered round that was started from an answer, if there is one."""
        later = [] if event.kind in derive.LABELS else self._room.store.rounds(study_id, record.index + 1)
        if not later:
            return None
        names = {r.id: r for r in later}
        closing = derive.closing(derive.standing(self._room.store.events(study_id, list(names))))
        if closing:
            number = names[closing[0].round or ""].index + 1
            raise ConflictError(
                f"Round {number}, which followed from this answer, was answered by '{closing[0].rater}'; "
                f"take that back first, or branch from round {record.index + 1}."
            )
        return later[0]

    def _discard(self, record: RoundRecord) -> None:
        self._worker.cancel(record.study, record.id)
        self._room.unsaved.pop(record.id, None)
        self._room.board.end(record.study)

    # -- reading
    def wait(self, study_id: str, timeout: float | None) -> RoundView:
        """Return the newest round once nothing generates it any more, or as it is after ``timeout`` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            study = self._room.store.study(study_id)
            last = self._room.store.last_round(study_id)
            if last is None:
                raise NotFoundError(f"Study '{study_id}' has no round yet; start one.")
            settled = last.state not in UNFINISHED or last.id in self._room.unsaved
            left = 1.0 if until is None else until - time.monotonic()
            if (settled and not self._worker.has(last.id)) or left <= 0:
                return self._room.view(study, last)
            # Woken by this process's worker; a round of another process is looked at again after a moment.
            self._room.board.pause(min(0.2, left))
            while self._worker.has(last.id) and (until is None or time.monotonic() < until):
                self._room.board.pause(0.2 if until is None else min(0.2, max(0.0, until - time.monotonic())))
