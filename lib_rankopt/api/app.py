"""Put the API onto an application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request

from lib_rankopt import __version__
from lib_rankopt.api.context import ApiContext
from lib_rankopt.api.host_info import HostInfo, describe_host
from lib_rankopt.api.resources import ROUTERS

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService

PREFIX = "/rankopt/v1"


def mount(
    app: FastAPI,
    service: StudyService | Callable[[], StudyService],
    auth: Mapping[str, str] | None = None,
    prefix: str = PREFIX,
    *,
    host_info: HostInfo | None = None,
    session: Callable[[Request], bool] | None = None,
    allowed_hosts: Iterable[str] | None = None,
    takes_paths: bool = False,
) -> ApiContext:
    """Add all routes to a FastAPI application, which may be running already.

    Args:
        app: the application; its ``state.rankopt`` is set.
        service: the studies service, or what gives it when a request first needs it (always the same one).
        auth: user names and passwords of an HTTP Basic check; ``None`` lets everybody in.
        prefix: path of the API.
        session: whether a request comes from a person who has logged in to the page; asked where ``auth`` is given.
        host_info: what the host offers, where that does not change; otherwise asked whenever it is wanted.
        allowed_hosts: host names to answer to, besides addresses; ``None`` for any.
        takes_paths: let pages name files and folders of this machine as data to train on.
    """

    def make() -> StudyService:
        return service() if callable(service) else service

    def info() -> HostInfo:
        return host_info or describe_host(make().host)

    hosts = None if allowed_hosts is None else frozenset(name.lower() for name in allowed_hosts)
    context = ApiContext(make, info, auth, hosts, session, takes_paths)
    app.state.rankopt = context
    for router in ROUTERS:
        app.include_router(router, prefix=prefix)
    return context


def build_app(service: StudyService, **options: object) -> FastAPI:
    """An application with nothing but the API; ``options`` as for :func:`mount`."""
    app = FastAPI(title="Rank-Optimize", version=__version__)
    mount(app, service, **options)  # type: ignore[arg-type]
    return app
