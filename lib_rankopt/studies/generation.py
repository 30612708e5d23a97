"""Generating a round in the worker's thread: image after image, each kept as soon as it is finished."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from lib_rankopt.errors import (
    ConflictError,
    GenerationError,
    GenerationInterrupted,
    NotFoundError,
    RankOptError,
    StoreError,
)
from lib_rankopt.hosts.base import GeneratedImage, Progress
from lib_rankopt.store.records import UNFINISHED, CandidateRecord, RoundRecord, RoundState, StudyRecord
from lib_rankopt.studies import settings as settings_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from lib_rankopt.studies.room import Room
    from lib_rankopt.studies.worker import Job

log = logging.getLogger("rankopt.studies")

_PREVIEW_EVERY = 5
_SIGN_OF_LIFE_SECONDS = 20.0


def run_round(room: Room, job: Job, record: RoundRecord) -> RoundState | None:
    """Generate what a round lacks; return the state that it was left in, ``None`` if it is to be resumed or is gone.

    Never raises: a failure is written to the round in one sentence.
    """
    try:
        if not room.store.set_round_state(record.id, "generating", expect=UNFINISHED):
            return None
        _generate(room, job, record)
        room.board.update(record.study, fraction=1.0)
        state: RoundState = "ready"
        error: str | None = None
    except GenerationInterrupted:
        if job.closing:
            return None
        state, error = "interrupted", None
    except NotFoundError as gone:
        state, error = "failed", str(gone)
    except RankOptError as failure:
        log.warning("round %d of study %s failed: %s", record.index, record.study, failure)
        state, error = "failed", str(failure)
    except Exception as failure:
        log.exception("round %d of study %s failed", record.index, record.study)
        state, error = "failed", f"Generating failed: {type(failure).__name__}: {failure}"
    return _settle(room, record, state, error)


def _settle(room: Room, record: RoundRecord, state: RoundState, error: str | None) -> RoundState | None:
    """Write how it ended; where even that fails (a full disk), remember it until the process ends, and resume after that."""
    # Whoever starts the round again does so before this or after it: the board must not end what they have begun.
    with room.locked(record.study):
        try:
            known = room.store.set_round_state(record.id, state, expect=UNFINISHED, error=error)
        except StoreError as failure:
            room.unsaved[record.id] = error or str(failure)
            known, state, error = True, "failed", error or str(failure)
        room.board.end(record.study, message=error or "")
    return state if known else None


def _generate(room: Room, job: Job, record: RoundRecord) -> None:
    study = room.store.study(record.study)
    settings = settings_module.from_dict(study.settings)
    identity = room.host.identity(settings.model or None)
    if settings_module.recipe(settings, identity.sha256) != record.recipe:
        raise ConflictError(
            f"The model '{settings.model}' is another file than when this round was started; put the old one back, or skip the round."
        )
    candidates = room.store.candidates([record.id])[record.id]
    room.board.begin(study.id, "round", round=record.index, total=len(candidates))
    missing = [c for c in candidates if c.image is None and not _reuse(room, record, c)]
    done = len(candidates) - len(missing)
    room.board.update(study.id, done=done, fraction=done / len(candidates))
    if missing:
        _call_host(room, job, study, record, missing, done)


def _reuse(room: Room, record: RoundRecord, candidate: CandidateRecord) -> bool:
    """Take over the image that the study has of the same latent: the incumbent, mostly."""
    image = room.store.find_image(record.study, record.recipe, candidate.latent, candidate.seed)
    if image is None or not room.blobs.exists(room.blobs.image_path(image)):
        return False
    return room.store.set_image(record.id, candidate.position, image)


def _call_host(
    room: Room, job: Job, study: StudyRecord, record: RoundRecord, missing: list[CandidateRecord], done: int
) -> None:
    import torch

    settings = settings_module.from_dict(study.settings)
    latents = torch.stack([room.blobs.load_latent(c.latent) for c in missing])
    request = settings_module.request(
        settings,
        seeds=tuple(c.seed for c in missing),
        latents=latents,
        preview_every=_PREVIEW_EVERY,
        init_image=settings_module.start_of(settings, room.blobs),
        notes=tuple(settings_module.note(study, settings, str(record.index + 1), c.latent) for c in missing),
    )
    report = _reporter(room, record, missing, done)
    finished = 0
    for image in room.host.generate(request, progress=report, cancel=job.cancel):
        keep_image(room, image, partial(room.store.set_image, record.id, missing[image.index].position))
        finished += 1
        room.board.update(record.study, done=done + finished)
    if finished != len(missing):
        raise GenerationError(f"The host made {finished} of {len(missing)} images and gave no reason.")


def keep_image(room: Room, image: GeneratedImage, note: Callable[[str], bool]) -> None:
    """Keep one finished image: the file first, then the row that refers to it.

    Args:
        note: writes the row, given the image's hash; false where there is none any more.

    Raises:
        NotFoundError: the study was deleted meanwhile. StoreError: the disk is full.
    """
    with room.files:
        name = room.blobs.put_image(image.image, image.parameters, image.selection)
        if not note(name):
            room.drop_files({name}, set())
            raise NotFoundError("The study was deleted while its images were made.")
    # Another process that deleted a study with the same picture may have taken the file between our two steps.
    room.blobs.put_image(image.image, image.parameters, image.selection)


def _reporter(
    room: Room, record: RoundRecord, missing: list[CandidateRecord], done: int
) -> Callable[[Progress], None]:
    names = [candidate.id for candidate in missing]
    last_sign = time.time()

    def report(progress: Progress) -> None:
        nonlocal last_sign
        room.board.report(record.study, progress, done, len(missing), names)
        if time.time() - last_sign > _SIGN_OF_LIFE_SECONDS:
            last_sign = time.time()
            room.store.touch_round(record.id, last_sign)

    return report
