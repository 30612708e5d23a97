"""Images by the hash of their content: finished ones out, and in those that a study is to start from."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService
from lib_rankopt.api.guard import GuardedRoute, UploadRoute
from lib_rankopt.api.schemas import REFUSALS, Uploaded, gives
from lib_rankopt.errors import NotFoundError
from lib_rankopt.hosts import latent_text

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
    if not HASH.fullmatch(image):
        raise NotFoundError(f"'{image[:80]}' is not an image's hash: 64 hexadecimal digits are.")
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
