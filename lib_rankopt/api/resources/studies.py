"""Studies: create, list, rename, branch, delete."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, Branch, NewStudy, Rename, Study, gives
from lib_rankopt.studies.views import StudySettings

router = APIRouter(prefix="/studies", tags=["studies"], route_class=GuardedRoute, responses=REFUSALS)


@router.get("", responses=gives(list[Study]))  # type: ignore[valid-type]
def list_studies(service: StudyService = SERVICE) -> JSONResponse:
    """All studies, as the service orders them."""
    return reply(service.list())


@router.post("", responses=gives(Study, 201), status_code=201)
def create_study(body: NewStudy, service: StudyService = SERVICE) -> JSONResponse:
    """Create a study; it makes no image until its first round is started."""
    settings = StudySettings(**{name: getattr(body.settings, name) for name in StudySettings.__dataclass_fields__})
    return reply(service.create(settings, body.name), 201)


@router.get("/{study}", responses=gives(Study))
def get_study(study: str, service: StudyService = SERVICE) -> JSONResponse:
    """One study with its counts."""
    return reply(service.get(study))


@router.patch("/{study}", responses=gives(Study))
def rename_study(study: str, body: Rename, service: StudyService = SERVICE) -> JSONResponse:
    """Give a study another name."""
    return reply(service.rename(study, body.name))


@router.delete("/{study}", status_code=204)
def delete_study(study: str, service: StudyService = SERVICE) -> Response:
    """Delete a study with its images, for good."""
    service.delete(study)
    return Response(status_code=204)


@router.post("/{study}/branch", responses=gives(Study, 201), status_code=201)
def branch_study(study: str, body: Branch, service: StudyService = SERVICE) -> JSONResponse:
    """Start a new study that goes on from a round of this one; the original stays as it is."""
    return reply(service.branch(study, body.after_round, body.name, body.changes), 201)
