"""Blind tests: start versus now, left or right, without saying which is which."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from lib_rankopt.api.context import context_of, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, BlindState, Choice, StartBlind, Trial, gives
from lib_rankopt.api.waiting import in_slices
from lib_rankopt.errors import NotReadyError
from lib_rankopt.studies.views import BlindTrial, to_json

router = APIRouter(tags=["blind test"], route_class=GuardedRoute, responses=REFUSALS)

LONGEST = 600.0


@router.post("/studies/{study}/blind", responses=gives(Trial, 201), status_code=201)
async def start_blind(request: Request, study: str, body: StartBlind) -> JSONResponse:
    """Start a test of so many trials; answers with the first one once its images are made."""
    test = await run_in_threadpool(context_of(request).service.start_blind, study, body.trials)
    return reply(await _next(request, test), 201)


@router.get("/blind/{test}", responses=gives(BlindState))
async def get_blind(request: Request, test: str) -> JSONResponse:
    """Result so far, and the trial to show next once its images are made."""
    return await _state(request, test)


@router.post("/blind/{test}/trials/{index}", responses=gives(BlindState))
async def answer_trial(request: Request, test: str, index: int, body: Choice) -> JSONResponse:
    """Answer a trial; answers with the next one once its images are made."""
    await run_in_threadpool(context_of(request).service.answer_trial, test, index, body.choice)
    return await _state(request, test)


async def _state(request: Request, test: str) -> JSONResponse:
    trial = await _next(request, test)
    result = await run_in_threadpool(context_of(request).service.blind_result, test)
    content: dict[str, Any] = {"result": to_json(result), "trial": None if trial is None else to_json(trial)}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


async def _next(request: Request, test: str) -> BlindTrial | None:
    service = context_of(request).service

    def ask(seconds: float) -> BlindTrial | NotReadyError | None:
        try:
            return service.next_trial(test, seconds)
        except NotReadyError as error:
            return error

    found = await in_slices(request, ask, lambda one: not isinstance(one, NotReadyError), LONGEST)
    if isinstance(found, NotReadyError):
        raise found
    return found
