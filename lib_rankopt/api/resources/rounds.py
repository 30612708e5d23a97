"""Rounds: start, look back, interrupt, score."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, Empty, Judge, Round, Study, gives

router = APIRouter(prefix="/studies/{study}", tags=["rounds"], route_class=GuardedRoute, responses=REFUSALS)


@router.get("/rounds", responses=gives(list[Round]))  # type: ignore[valid-type]
def list_rounds(study: str, service: StudyService = SERVICE) -> JSONResponse:
    """All rounds, first one first."""
    return reply(service.rounds(study))


@router.post("/rounds", responses=gives(Round, 201), status_code=201)
def start_round(study: str, body: Empty, service: StudyService = SERVICE) -> JSONResponse:
    """Queue the next round; answers at once, images follow (see ``progress``)."""
    return reply(service.start_round(study), 201)


@router.get("/rounds/{index}", responses=gives(Round))
def get_round(study: str, index: int, service: StudyService = SERVICE) -> JSONResponse:
    """One round with the images that are finished."""
    return reply(service.round(study, index))


@router.post("/rounds/{index}/scores", responses=gives(Round))
def score_round(study: str, index: int, body: Judge, service: StudyService = SERVICE) -> JSONResponse:
    """Let a scorer look at a round's images; ranks nothing. Numbers that only hold among these images are in this answer alone."""
    return reply(service.score(study, index, body.scorer))


@router.post("/interrupt", responses=gives(Study))
def interrupt(study: str, body: Empty, service: StudyService = SERVICE) -> JSONResponse:
    """Stop making images; finished ones stay and can be ranked."""
    service.interrupt(study)
    return reply(service.get(study))
