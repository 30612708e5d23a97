"""Automatic mode: a scorer ranks while the person watches."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, Auto, Study, gives

router = APIRouter(prefix="/studies/{study}/auto", tags=["automatic"], route_class=GuardedRoute, responses=REFUSALS)


@router.post("", responses=gives(Study))
def start_auto(study: str, body: Auto, service: StudyService = SERVICE) -> JSONResponse:
    """Let a scorer rank this many rounds."""
    return reply(service.start_auto(study, body.scorer, body.rounds))


@router.delete("", responses=gives(Study))
def stop_auto(study: str, service: StudyService = SERVICE) -> JSONResponse:
    """Take over: the scorer ranks no further round."""
    return reply(service.stop_auto(study))
