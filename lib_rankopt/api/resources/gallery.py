"""Likes in a host's own gallery: of images by the address under which its page shows them."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, GalleryImages, GalleryLabels, GalleryNoted, NoteImage, gives
from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.hosts.gallery import Noted, Said, SaidOfAll

router = APIRouter(prefix="/gallery", tags=["gallery"], route_class=GuardedRoute, responses=REFUSALS)

MOST_FILES = 500


@router.post("/labels", responses=gives(GalleryLabels))
def labels(body: GalleryImages, service: StudyService = SERVICE) -> JSONResponse:
    """What a person has said of images; for what cannot be liked (grids, previews, files elsewhere) the reason instead."""
    if len(body.files) > MOST_FILES:
        raise InvalidInputError(f"{len(body.files)} images are named; at most {MOST_FILES} are looked up at a time.")
    found: list[Path | str] = [_file_or_reason(service, name) for name in body.files]
    files = [one for one in found if isinstance(one, Path)]
    said = iter(service.data.gallery.label_of(files, body.rater) if files else [])
    return reply(SaidOfAll(tuple(Said(next(said)) if isinstance(one, Path) else Said(refused=one) for one in found)))


@router.post("/label", responses=gives(GalleryNoted))
def label(body: NoteImage, service: StudyService = SERVICE) -> JSONResponse:
    """Say something of an image, or tell what was done with it (``source``), which is kept only where the person's settings allow it."""
    if body.source and body.kind != "like":
        raise InvalidInputError(f"An image that was {body.source} is liked; '{body.kind}' does not go with that.")
    file = service.host.gallery_file(body.file)
    noted = service.host.wants(file, body.kind, body.source)
    if noted:
        service.data.gallery.note(file, body.kind, body.source, body.rater)
    return reply(Noted(noted))


def _file_or_reason(service: StudyService, name: str) -> Path | str:
    try:
        return service.host.gallery_file(name)
    except (InvalidInputError, NotFoundError) as error:
        return str(error)
