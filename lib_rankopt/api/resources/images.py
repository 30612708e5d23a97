"""Images by the hash of their content: finished ones out, and in those that a study is to start from."""

from __future__ import annotations

import io
import re
from dataclasses import replace

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService
from lib_rankopt.api.guard import GuardedRoute, UploadRoute
from lib_rankopt.api.schemas import REFUSALS, Selection, Uploaded, gives
from lib_rankopt.errors import NotFoundError, StoreError
from lib_rankopt.hosts import latent_text
from lib_rankopt.selection.picture import draw
from lib_rankopt.selection.record import SelectionRecord

router = APIRouter(prefix="/images", tags=["images"], route_class=GuardedRoute, responses=REFUSALS)

uploads = APIRouter(prefix="/images", tags=["images"], route_class=UploadRoute, responses=REFUSALS)

HASH = re.compile(r"[0-9a-f]{64}")


@uploads.post("", responses=gives(Uploaded, 201), status_code=201)
async def put_image(request: Request, service: StudyService = SERVICE) -> JSONResponse:
    """Keep a PNG, JPEG or WebP, the body of the request, for a study's ``init_image``."""
    data = await request.body()
    image = await run_in_threadpool(service.put_image, data)
    return JSONResponse({"image": image}, status_code=201)


@router.get("/{image}", response_class=FileResponse)
def get_image(
    image: str, request: Request, latent: str | None = None, service: StudyService = SERVICE
) -> Response:
    """The PNG with its generation parameters; with ``latent`` (a hash) the file carries that too.

    Its content never changes, so a browser may keep it for good.
    """
    _check_hash(image)
    headers = {
        "ETag": f'"{image}{latent or ""}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    path = service.image_path(image)
    if not path.is_file():
        raise NotFoundError(f"The file of image {image} is gone.")
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if latent is not None:
        whole = latent_text.into_png(path.read_bytes(), service.latent(latent))
        return Response(whole, media_type="image/png", headers=headers)
    return FileResponse(path, media_type="image/png", headers=headers)


@router.get("/{image}/selection", responses=gives(Selection))
def get_selection(image: str, service: StudyService = SERVICE) -> Response:
    """How an image was chosen among candidates while they were sampled: scores, who came from whom, model evaluations."""
    record = replace(_record(image, service), thumbnails=())
    try:
        text = record.to_json()
    except ValueError as error:
        raise StoreError(f"The record of image {image[:12]}… holds numbers that JSON has not.") from error
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


@router.get("/{image}/selection.png", response_class=Response)
def get_selection_picture(image: str, service: StudyService = SERVICE) -> Response:
    """The same as a picture: looks from left to right, candidates from top to bottom, the path of the image in gold."""
    file = io.BytesIO()
    draw(_record(image, service)).save(file, "PNG", compress_level=4)
    headers = {
        "Cache-Control": "private, max-age=600",  # the record never changes, the drawing may with a newer version
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(file.getvalue(), media_type="image/png", headers=headers)


def _check_hash(image: str) -> None:
    if not HASH.fullmatch(image):
        raise NotFoundError(f"'{image[:80]}' is not an image's hash: 64 hexadecimal digits are.")


def _record(image: str, service: StudyService) -> SelectionRecord:
    _check_hash(image)
    record: SelectionRecord = service.selection(image)
    return record
