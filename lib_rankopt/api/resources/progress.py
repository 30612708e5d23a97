"""Progress by long poll, and previews of images under way."""

from __future__ import annotations

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, context_of, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, Progress, gives
from lib_rankopt.api.waiting import in_slices
from lib_rankopt.errors import NotFoundError
from lib_rankopt.studies.views import ProgressView

router = APIRouter(prefix="/studies/{study}", tags=["progress"], route_class=GuardedRoute, responses=REFUSALS)

LONGEST = 30.0
SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"RIFF", "image/webp"))


@router.get("/progress", responses=gives(Progress))
async def progress(
    request: Request,
    study: str,
    since: int | None = Query(default=None, description="Version that the caller has; waits for another one."),
    timeout: float = Query(default=0.0, description="Seconds to wait at most; 30 is the longest."),
) -> JSONResponse:
    """How far the study's job is. Answers at once where the version differs from ``since``."""
    context = context_of(request)

    def ask(seconds: float) -> ProgressView:
        return context.service.progress(study, since if seconds > 0 else None, seconds)

    view = await in_slices(request, ask, lambda one: one.version != since, min(max(timeout, 0.0), LONGEST))
    return reply(view, headers={"Rankopt-Instance": context.instance})


@router.get("/previews/{candidate}", response_class=Response)
def preview(study: str, candidate: str, service: StudyService = SERVICE) -> Response:
    """The latest preview of an image under way."""
    data = service.preview(study, candidate)
    if data is None:
        raise NotFoundError(f"There is no preview of candidate '{candidate}'.")
    kind = next((name for start, name in SIGNATURES if data.startswith(start)), "application/octet-stream")
    return Response(data, media_type=kind, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
