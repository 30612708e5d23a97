"""Choices that a person is asked for while an image is made. Nothing here waits for what makes images: it waits for the answer."""

from __future__ import annotations

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, context_of
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, Picked, PickState, gives
from lib_rankopt.api.waiting import in_slices
from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.hosts.picks import PickBoard, PickView
from lib_rankopt.studies.views import to_json

router = APIRouter(prefix="/picks", tags=["picks"], route_class=GuardedRoute, responses=REFUSALS)

LONGEST = 30.0


@router.get("", responses=gives(PickState))
async def open_picks(
    request: Request,
    since: int | None = Query(default=None, description="Version that the caller has; waits for another one."),
    timeout: float = Query(default=0.0, description="Seconds to wait at most; 30 is the longest."),
) -> JSONResponse:
    """The choices that are open. Answers at once where the version differs from ``since``."""
    context = context_of(request)

    def ask(seconds: float) -> tuple[int, list[PickView]]:
        board = _board(context.service)
        return (0, []) if board is None else board.wait(since if seconds > 0 else None, seconds)

    # A host that asks nobody never has another version: its callers wait, as they would for the others.
    version, questions = await in_slices(request, ask, lambda one: one[0] != since, min(max(timeout, 0.0), LONGEST))
    headers = {"Cache-Control": "no-store", "Rankopt-Instance": context.instance}
    return JSONResponse({"version": version, "questions": to_json(questions)}, headers=headers)


@router.get("/{pick}/{row}.jpg", response_class=Response)
def pick_picture(pick: str, row: int, service: StudyService = SERVICE) -> Response:
    """A candidate as it looks at this step."""
    headers = {
        "Cache-Control": "private, max-age=3600",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(_wanted(service).picture(pick, row), media_type="image/jpeg", headers=headers)


@router.post("/{pick}", status_code=204)
def answer_pick(pick: str, body: Picked, service: StudyService = SERVICE) -> Response:
    """Say which candidates go on, none at all for all of them; of finished images exactly one. The first answer counts."""
    board = _wanted(service)
    question = next((one for one in board.wait(None, 0.0)[1] if one.id == pick), None)
    if question is not None and question.step == question.steps and len(body.rows) != 1:
        raise InvalidInputError(f"{len(body.rows)} images are named; of the finished ones exactly one is taken.")
    board.answer(pick, tuple(body.rows))
    return Response(status_code=204)


def _board(service: StudyService) -> PickBoard | None:
    """Where the host asks; ``None`` for a host that asks nobody."""
    found: PickBoard | None = getattr(service.host, "picks", None)
    return found


def _wanted(service: StudyService) -> PickBoard:
    board = _board(service)
    if board is None:
        raise NotFoundError("This host asks nobody to choose.")
    return board
