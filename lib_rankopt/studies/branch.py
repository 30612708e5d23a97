"""Branching: a new study that shares a parent's first rounds and goes another way from there."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import ConflictError, InvalidInputError
from lib_rankopt.store import derive
from lib_rankopt.store.records import EventDraft, History, StudyRecord, new_id, now
from lib_rankopt.studies import settings as settings_module
from lib_rankopt.studies.feedback import feedback_of

if TYPE_CHECKING:
    from lib_rankopt.store.records import EventRecord, RoundRecord
    from lib_rankopt.studies.room import Room

# The parent's rounds can only be replayed by the optimiser that made them.
_FIXED = ("optimizer", "optimizer_settings")


def branch(room: Room, study_id: str, after_round: int, name: str | None, changes: dict[str, Any]) -> StudyRecord:
    """Create a study that begins with a copy of the parent's rounds up to ``after_round`` and their standing answers.

    The copy makes it whole by itself: the parent may be deleted. Images and latents are shared files. What follows is drawn
    differently from the parent and from its other branches, yet the same whenever it is replayed.

    Raises:
        ConflictError: that round has no answer. NotFoundError: there is no such round.
        InvalidInputError: a change of the optimiser or of the latent's shape.
    """
    parent = room.store.study(study_id)
    cut = room.store.round(study_id, after_round)
    records = [record for record in room.store.rounds(study_id) if record.index <= after_round]
    stand = derive.standing(room.store.events(study_id, [record.id for record in records]))
    if feedback_of(cut.size, [event for event in stand if event.round == cut.id]) is None:
        raise ConflictError(f"Round {after_round + 1} has no answer to go on from; answer it, or branch from an earlier round.")
    settings = _changed_settings(room, parent, changes)
    identity = room.host.identity(settings["model"] or None)
    child = replace(
        parent,
        id=new_id(),
        name=settings_module.clean_name(name or f"{parent.name[: settings_module.MAX_NAME - 9]} (branch)", settings["prompt"]),
        settings=settings,
        model=asdict(identity),
        parent=parent.id,
        parent_round=after_round,
        draws=(*(d for d in parent.draws if d[0] <= after_round), (after_round, _times(room, parent, after_round), cut.size)),
        created_at=now(),
        revision=0,
    )
    return room.store.create_study(child, _copied(room, child, records, stand))


def _times(room: Room, parent: StudyRecord, after_round: int) -> int:
    """Return how many rounds a branch draws unseen, such that no relative has drawn as many in all after that round.

    Relatives are the studies with the seed that a root gives to all its branches, whether or not the studies between them still exist.
    All rounds drawn unseen after one round have the size of that round, so their number alone tells where the draws go on. What a
    relative drew that was deleted since, and whose branches were too, may be drawn again.
    """
    family = [parent, *(study for study in room.store.studies() if study.optimizer_seed == parent.optimizer_seed)]
    return 1 + max(_drawn(study, after_round) for study in family) - _drawn(parent, after_round)


def _drawn(study: StudyRecord, after_round: int) -> int:
    return sum(times for after, times, _ in study.draws if after == after_round)


def _changed_settings(room: Room, parent: StudyRecord, changes: dict[str, Any]) -> dict[str, Any]:
    for name in _FIXED:
        if name in changes and changes[name] != parent.settings[name]:
            raise InvalidInputError(
                f"A branch keeps its parent's {name}: the shared rounds can only be replayed by the optimiser that made them. "
                "Start a new study to use another one."
            )
    settings = settings_module.resolve(settings_module.from_dict({**parent.settings, **changes}), room.host, room.blobs)
    shape = room.host.latent_shape(settings.width, settings.height, settings.model or None)
    if shape != parent.shape:
        raise InvalidInputError(
            f"{settings.width}x{settings.height} under this model needs latents of shape {shape}, but the shared rounds have "
            f"{parent.shape}. A branch keeps the size; start a new study to change it."
        )
    return asdict(settings)


def _copied(room: Room, child: StudyRecord, records: list[RoundRecord], stand: list[EventRecord]) -> History:
    names = {record.id: new_id() for record in records}
    candidates = room.store.candidates([record.id for record in records])
    return History(
        rounds=tuple(replace(r, id=names[r.id], study=child.id, owner=None) for r in records),
        candidates=tuple(replace(c, round=names[c.round]) for some in candidates.values() for c in some),
        events=tuple(_copied_event(event, child, names) for event in stand if event.round in names),
    )


def _copied_event(event: EventRecord, child: StudyRecord, names: dict[str, str]) -> EventDraft:
    return EventDraft(
        study=child.id,
        kind=event.kind,
        round=names[event.round or ""],
        payload=event.payload,
        shown=event.shown,
        rater=event.rater,
        token=event.token,
        latency_ms=event.latency_ms,
        copied_from=event.copied_from or event.number,
        created_at=event.created_at,
    )
