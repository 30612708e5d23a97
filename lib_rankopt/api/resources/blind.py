"""Blind tests: start versus now, left or right, without saying which is which."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, BlindState, Choice, StartBlind, Trial
from lib_rankopt.studies.views import to_json

router = APIRouter(tags=["blind test"], route_class=GuardedRoute, responses=REFUSALS)


@router.post("/studies/{study}/blind", response_model=Trial, status_code=201)
def start_blind(study: str, body: StartBlind, service: StudyService = SERVICE) -> JSONResponse:
    """Start a test of so many trials; answers with the first one."""
    return reply(service.start_blind(study, body.trials), 201)


@router.get("/blind/{test}", response_model=BlindState)
def get_blind(test: str, service: StudyService = SERVICE) -> JSONResponse:
    """Result so far, and the trial to show next."""
    return _state(service, test)


@router.post("/blind/{test}/trials/{index}", response_model=BlindState)
def answer_trial(test: str, index: int, body: Choice, service: StudyService = SERVICE) -> JSONResponse:
    """Answer a trial; answers with the next one."""
    service.answer_trial(test, index, body.choice)
    return _state(service, test)


def _state(service: StudyService, test: str) -> JSONResponse:
    trial = service.next_trial(test)
    content = {"result": to_json(service.blind_result(test)), "trial": None if trial is None else to_json(trial)}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})
