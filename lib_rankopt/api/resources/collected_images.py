"""Files of collected images by number: whole, and as thumbnails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Query, Request, Response

from lib_rankopt.api.context import SERVICE, StudyService
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS

if TYPE_CHECKING:
    from lib_rankopt.studies.data.pictures import Picture

router = APIRouter(prefix="/data/images", tags=["data"], route_class=GuardedRoute, responses=REFUSALS)

# no-cache: a browser keeps them and asks whether they are still the same; a file behind a number may change
_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/{number}/file", response_class=Response)
def get_file(number: int, request: Request, service: StudyService = SERVICE) -> Response:
    """The image's file as it is; its type is told by its first bytes, and nothing but images is given out."""
    pictures = service.data.pictures
    return _unchanged(request, lambda: pictures.etag(number)) or _answer(pictures.file(number))


@router.get("/{number}/thumb", response_class=Response)
def get_thumbnail(
    number: int,
    request: Request,
    size: int = Query(default=320, description="Pixels of the longer side, 16 to 2048."),
    service: StudyService = SERVICE,
) -> Response:
    """A smaller JPEG (WebP where the image is transparent), never larger than the image."""
    pictures = service.data.pictures
    return _unchanged(request, lambda: pictures.etag(number, size)) or _answer(pictures.thumbnail(number, size))


def _unchanged(request: Request, etag_of: Callable[[], str]) -> Response | None:
    """Nothing but that the browser's own copy is still good; the file's state is looked up only for a browser that has one."""
    known = request.headers.get("if-none-match", "")
    if not known:
        return None
    etag = f'"{etag_of()}"'
    return Response(status_code=304, headers={**_HEADERS, "ETag": etag}) if etag in known else None


def _answer(picture: Picture) -> Response:
    return Response(picture.data, media_type=picture.media_type, headers={**_HEADERS, "ETag": f'"{picture.etag}"'})
