"""Training: what there is to choose, runs, and blind comparisons of what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, context_of, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import (
    REFUSALS,
    Choice,
    Empty,
    Reach,
    StartTry,
    TrainingForm,
    TrainingRun,
    TrainingSettings,
    TrainingState,
    Try,
    gives,
)
from lib_rankopt.api.training_info import training_form
from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.studies.views import to_json

router = APIRouter(prefix="/training", tags=["training"], route_class=GuardedRoute, responses=REFUSALS)

_PICTURE = {"Cache-Control": "private, max-age=3600", "Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}


@router.get("/form", responses=gives(TrainingForm))
def get_form(request: Request, service: StudyService = SERVICE) -> JSONResponse:
    """Objectives, settings, presets, models and studies to choose from."""
    return reply(training_form(service, context_of(request).takes_paths))


@router.post("/check", responses=gives(Reach))
def check(request: Request, body: TrainingSettings, service: StudyService = SERVICE) -> JSONResponse:
    """How far the data of a configuration reach, before anything is trained."""
    return reply(service.training.check(_values(request, body, service)))


@router.get("/runs", responses=gives(list[TrainingRun]))  # type: ignore[valid-type]
def list_runs(service: StudyService = SERVICE) -> JSONResponse:
    """All runs, newest first."""
    return reply(service.training.runs())


@router.post("/runs", responses=gives(TrainingRun, 201), status_code=201)
def start_run(request: Request, body: TrainingSettings, service: StudyService = SERVICE) -> JSONResponse:
    """Start a run, or queue it behind the one under way. The host makes no images while it is trained."""
    return reply(service.training.start(_values(request, body, service)), 201)


@router.get("/runs/{run}", responses=gives(TrainingState))
def get_run(
    run: str,
    after: int = Query(default=-1, description="Only metrics of later steps than this."),
    service: StudyService = SERVICE,
) -> JSONResponse:
    """How far a run is, and its metrics."""
    content = {"run": to_json(service.training.run(run)), "metrics": service.training.metrics(run, after)}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


@router.post("/runs/{run}/tries", responses=gives(Try, 201), status_code=201)
def start_try(run: str, body: StartTry, service: StudyService = SERVICE) -> JSONResponse:
    """Compare one of a run's LoRAs with its base, blindly; the pictures follow (see ``GET``)."""
    return reply(service.tries.start(run, body.lora, body.prompts, body.trials, body.weight), 201)


@router.post("/runs/{run}/{command}", responses=gives(TrainingRun))
def command_run(run: str, command: str, body: Empty, service: StudyService = SERVICE) -> JSONResponse:
    """``pause``, ``cancel`` or ``resume``."""
    commands = {"pause": service.training.pause, "cancel": service.training.cancel, "resume": service.training.resume}
    if command not in commands:
        raise NotFoundError(f"A run takes no '{command[:40]}'; it takes {', '.join(commands)}.")
    return reply(commands[command](run))


@router.delete("/runs/{run}", status_code=204)
def delete_run(run: str, service: StudyService = SERVICE) -> Response:
    """Delete a run that is not being trained; its LoRA files stay."""
    service.training.delete(run)
    return Response(status_code=204)


@router.get("/runs/{run}/samples/{step}", response_class=FileResponse)
def get_samples(run: str, step: int, service: StudyService = SERVICE) -> Response:
    """A sample sheet: a row for each prompt; columns without the LoRA, with half of it and with all of it."""
    # a run that goes on from an earlier checkpoint draws the sheets of some steps again
    return FileResponse(service.training.sheet(run, step), media_type="image/png", headers={**_PICTURE, "Cache-Control": "no-cache"})


@router.get("/tries/{name}", responses=gives(Try))
def get_try(name: str, service: StudyService = SERVICE) -> JSONResponse:
    """How far a comparison is, the trial to show next, and the result at the end."""
    return reply(service.tries.view(name))


@router.post("/tries/{name}/trials/{index}", responses=gives(Try))
def answer_try(name: str, index: int, body: Choice, service: StudyService = SERVICE) -> JSONResponse:
    """Say which side of a trial is better."""
    return reply(service.tries.answer(name, index, body.choice))


@router.delete("/tries/{name}", status_code=204)
def end_try(name: str, service: StudyService = SERVICE) -> Response:
    """End a comparison whose pictures are still being made; what was answered stays."""
    service.tries.end(name)
    return Response(status_code=204)


@router.get("/tries/{name}/{index}/{side}.png", response_class=Response)
def get_try_picture(name: str, index: int, side: str, service: StudyService = SERVICE) -> Response:
    """A trial's left or right picture. Nothing in it tells which side it is."""
    if side not in ("left", "right"):
        raise NotFoundError(f"A trial has a left and a right side, no '{side[:20]}'.")
    # no FileResponse: it says when a file was made, and the base's are made first
    return Response(service.tries.picture(name, index, side).read_bytes(), media_type="image/png", headers=_PICTURE)


def _values(request: Request, body: dict[str, Any], service: StudyService) -> dict[str, Any]:
    """The configuration, with data that a page may name: on some servers none that are paths."""
    data = body.get("data")
    if not context_of(request).takes_paths:
        known = {study.id for study in service.list()} | {collection.id for collection in service.data.store.collections()}
        for name in map(str, data if isinstance(data, list) else [data] if data else []):
            if name not in known or Path(name).exists():
                raise InvalidInputError(f"'{name[:80]}' is no study or collection, and this server does not let pages name its folders.")
    return body
