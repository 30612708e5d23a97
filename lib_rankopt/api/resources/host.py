"""Who answers, and what it can make."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lib_rankopt import __version__
from lib_rankopt.api.context import CONTEXT, ApiContext, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import Host, Version, gives

router = APIRouter(tags=["host"], route_class=GuardedRoute)


@router.get("/version", responses=gives(Version))
def version(context: ApiContext = CONTEXT) -> JSONResponse:
    """The version of the package and of this API."""
    return JSONResponse({"version": __version__, "api": 1, "instance": context.instance})


@router.get("/host", responses=gives(Host))
def host(context: ApiContext = CONTEXT) -> JSONResponse:
    """Samplers, schedulers, models, defaults, optimisers with their settings, and scorers; defaults come first."""
    return reply(context.host_info())
