"""What every handler needs, kept on ``app.state`` so that no module holds a service."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
from fastapi import Depends, Request
from fastapi.responses import JSONResponse

from lib_rankopt.studies.views import to_json

if TYPE_CHECKING:
    from lib_rankopt.api.host_info import HostInfo
    from lib_rankopt.studies.service import StudyService
else:
    StudyService = Any  # FastAPI evaluates the handlers' annotations; the real class would load torch before the page shows

LONG_POLL_THREADS = 64


@dataclass
class ApiContext:
    """The service behind one mounted API, and who may call it.

    Attributes:
        auth: user names and passwords for HTTP Basic; ``None`` lets everybody in.
        allowed_hosts: host names that a browser may have asked for (against DNS rebinding); ``None`` takes any.
        session: lets a request in without Basic, where the page itself has a login.
        takes_paths: pages may name files and folders of this machine.
        host_info: what the host offers now.
        instance: changes with every start of the server, so that a page notices a restart.
    """

    make_service: Callable[[], StudyService]
    host_info: Callable[[], HostInfo]
    auth: Mapping[str, str] | None = None
    allowed_hosts: frozenset[str] | None = None
    session: Callable[[Request], bool] | None = None
    takes_paths: bool = False
    instance: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _limiter: anyio.CapacityLimiter | None = None

    @property
    def service(self) -> StudyService:
        """The studies service, made by the first request that needs it (a second call must give the same one)."""
        return self.make_service()

    @property
    def long_polls(self) -> anyio.CapacityLimiter:
        """Threads set aside for long polls, so that waiting pages never take those of quick requests."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(LONG_POLL_THREADS)
        return self._limiter


def context_of(request: Request) -> ApiContext:
    """The context that :func:`lib_rankopt.api.mount` left on the application."""
    return cast("ApiContext", request.app.state.rankopt)


def service_of(request: Request) -> StudyService:
    """The studies service."""
    return context_of(request).service


CONTEXT: Any = Depends(context_of)
SERVICE: Any = Depends(service_of)  # not Annotated: the webui's FastAPI 0.94 does not know it


def reply(record: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Answer with a record of :mod:`lib_rankopt.studies.views` (or a list of them) as JSON."""
    return JSONResponse(to_json(record), status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})
