"""From the store's records to what faces see."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_rankopt.store import derive
from lib_rankopt.studies import settings as settings_module
from lib_rankopt.studies.feedback import derived_tiers, feedback_of
from lib_rankopt.studies.views import CandidateView, RoundStatus, RoundView, StudyView

if TYPE_CHECKING:
    from lib_rankopt.store.records import CandidateRecord, EventRecord, RoundRecord, StudyRecord


def display_order(seed: int, index: int, size: int) -> list[int]:
    """Return the order on screen: shuffled, and the same whenever this round of this study is shown."""
    order = list(range(size))
    random.Random(f"rankopt display order {seed} {index}").shuffle(order)
    return order


def incumbent_position(candidates: Sequence[CandidateRecord]) -> int | None:
    """Return where the incumbent stands in a round, ``None`` in a round without one."""
    return next((c.position for c in candidates if c.origin == "incumbent"), None)


def round_view(
    study: StudyRecord,
    record: RoundRecord,
    candidates: Sequence[CandidateRecord],
    events: Sequence[EventRecord],
    scores: Mapping[str, dict[str, float]] | None = None,
    error: str | None = None,
    selected: Collection[str] = (),
) -> RoundView:
    """Return a round as a face shows it.

    Args:
        events: all events of the round, taken back or not.
        scores: by image, what each scorer said.
        error: a failure that could not be written to the store.
        selected: images whose files tell how they were chosen among candidates.
    """
    stand = derive.standing(events)
    feedback = feedback_of(record.size, stand)
    incumbent = incumbent_position(candidates)
    tiers = derived_tiers(feedback, incumbent)
    labels = derive.labels(stand)
    closing = derive.closing(stand)
    ids = [candidate.id for candidate in candidates]
    status: RoundStatus = record.state
    if feedback is not None and record.state not in ("queued", "generating"):
        status = "answered"
    elif error is not None:
        status = "failed"
    views = [
        CandidateView(
            c.id, c.position, c.origin, c.latent, c.image, (scores or {}).get(c.image or "", {}), labels.get(c.position),
            selected=c.image in selected,
        )
        for c in candidates
    ]  # fmt: skip
    return RoundView(
        study=study.id,
        index=record.index,
        status=status,
        candidates=tuple(views),
        order=tuple(ids[i] for i in display_order(study.settings["seed"], record.index, record.size)),
        incumbent=None if incumbent is None else ids[incumbent],
        best=ids[tiers[0][0]] if tiers else None,
        tiers=tuple(tuple(ids[i] for i in tier) for tier in tiers),
        answered_by=closing[-1].rater if closing else None,
        error=error or record.error,
        created_at=record.created_at,
    )


@dataclass(frozen=True)
class Summary:
    """What a study's view says about its rounds; see :class:`~.views.StudyView`."""

    rounds: int = 0
    answered: int = 0
    images: int = 0
    start_image: str | None = None
    now_image: str | None = None
    busy: bool = False


def study_view(study: StudyRecord, summary: Summary, auto: str | None, warnings: tuple[str, ...]) -> StudyView:
    """Return a study as a face shows it."""
    return StudyView(
        id=study.id,
        name=study.name,
        created_at=study.created_at,
        settings=settings_module.from_dict(study.settings),
        rounds=summary.rounds,
        answered=summary.answered,
        images=summary.images,
        start_image=summary.start_image,
        now_image=summary.now_image,
        parent=study.parent,
        parent_round=study.parent_round,
        model_sha256=study.model.get("sha256", ""),
        busy=summary.busy,
        auto=auto,
        warnings=warnings,
    )
