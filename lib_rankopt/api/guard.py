"""The border of the API: who may call, what may come in, and how errors go out.

It is a route class and not a middleware, because the webui's application is running when extensions add their routes.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from lib_rankopt import errors
from lib_rankopt.api.context import context_of

log = logging.getLogger("rankopt.api")

MAX_BODY = 256 * 1024
MAX_UPLOAD = 32 * 1024 * 1024
JSON: tuple[str, ...] = ("application/json",)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
STATUS: tuple[tuple[type[errors.RankOptError], int], ...] = (
    (errors.InvalidInputError, 422),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.ModelError, 422),
    (errors.GenerationInterrupted, 409),
    (errors.GenerationError, 500),
    (errors.StoreError, 507),
    (errors.MissingDependencyError, 501),
)


class Refused(HTTPException):
    """A request that the border does not let in."""


class GuardedRoute(APIRoute):
    """Checks every request and turns every exception into ``{"error": class, "message": sentence}``."""

    takes, at_most = JSON, MAX_BODY

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                check(request, self.takes, self.at_most)
                return await handler(request)
            except errors.RankOptError as error:
                return rankopt_error(error)
            except RequestValidationError as error:
                return failure(422, "InvalidInputError", validation_sentence(error))
            except HTTPException as error:
                return failure(error.status_code, type(error).__name__, str(error.detail), error.headers)
            except Exception:
                log.exception("%s %s failed", request.method, request.url.path)
                return failure(500, "InternalError", "Something went wrong on the server; its log has the details.")

        return guarded


class UploadRoute(GuardedRoute):
    """Takes pictures instead of JSON."""

    takes, at_most = ("image/png", "image/jpeg", "image/webp"), MAX_UPLOAD


def rankopt_error(error: errors.RankOptError) -> JSONResponse:
    """Answer with the status code that the error's docstring names."""
    status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
    if status >= 500:
        log.error("%s: %s", type(error).__name__, error, exc_info=error)
    return failure(status, type(error).__name__, str(error))


def failure(status: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The one shape of all failures."""
    content = {"error": error, "message": message}
    return JSONResponse(content, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})


def validation_sentence(error: RequestValidationError) -> str:
    """Say in one sentence which fields could not be read (pydantic 1 and 2 name them alike)."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item.get("loc", ()) if part not in ("body", "query", "path"))
        parts.append(f"{where or 'the request'}: {item.get('msg', 'not valid')}")
    return "The request could not be read: " + "; ".join(parts[:5]) + "."


def check(request: Request, takes: tuple[str, ...] = JSON, at_most: int = MAX_BODY) -> None:
    """Refuse what must not come in.

    Args:
        takes: content types of a body.
        at_most: bytes of a body.

    Raises:
        Refused: wrong credentials (401), foreign origin (403), no length (411), too large (413), another content type (415).
    """
    context = context_of(request)
    if context.auth is not None and not (context.session and context.session(request)):
        _check_credentials(request.headers.get("authorization", ""), context.auth)
    check_origin(request, context.allowed_hosts)
    if request.method not in SAFE_METHODS:
        _check_body(request, takes, at_most)


def check_origin(request: Request, allowed_hosts: frozenset[str] | None) -> None:
    """Refuse a request for another host name, and an unsafe one from another site's page.

    Raises:
        Refused: 403, with the reason.
    """
    if allowed_hosts is not None:
        _check_host(request.headers.get("host", ""), allowed_hosts)
    if request.method not in SAFE_METHODS:
        _check_site(request)


def _check_credentials(header: str, auth: Mapping[str, str]) -> None:
    scheme, _, encoded = header.partition(" ")
    given = b":"
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b":"
    allowed = False
    for user, password in auth.items():
        allowed |= secrets.compare_digest(given, f"{user}:{password}".encode())
    if not allowed:
        raise Refused(401, "Give a user name and password.", headers={"WWW-Authenticate": 'Basic realm="Rank-Optimize"'})


def _check_host(header: str, allowed: frozenset[str]) -> None:
    try:
        name = (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        raise Refused(403, "The request names no host that can be read.") from None
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if name not in allowed:
            raise Refused(403, f"This server does not answer to the host name '{name}'.") from None


def _check_site(request: Request) -> None:
    """Refuse other sites' pages: their scripts carry an ``Origin`` (and ``Sec-Fetch-Site``) that a page cannot forge."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site == "same-origin":  # also behind a proxy that changes the host name
        return
    own = {request.headers.get("host", ""), *_forwarded_hosts(request)}
    foreign = origin is not None and _place(origin) not in own
    if foreign or (origin is None and site == "cross-site"):
        raise Refused(403, f"A page of another site ({origin or 'unknown'}) may not do this.")


def _place(origin: str) -> str | None:
    """Host and port of an origin, ``None`` where it cannot be read."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _forwarded_hosts(request: Request) -> list[str]:
    return [host.strip() for host in request.headers.get("x-forwarded-host", "").split(",") if host.strip()]


def _check_body(request: Request, takes: tuple[str, ...], at_most: int) -> None:
    length = request.headers.get("content-length")
    if request.method == "DELETE" and length in (None, "0") and "transfer-encoding" not in request.headers:
        return
    if length is None or not length.isdigit():
        raise Refused(411, "Send the body with a Content-Length.")
    if int(length) > at_most:
        raise Refused(413, f"The body has {length} bytes; at most {at_most} are taken.")
    if request.headers.get("content-type", "").split(";")[0].strip().lower() not in takes:
        what = "JSON" if takes == JSON else "a picture"
        raise Refused(415, f"Send {what}, with the content type {' or '.join(takes)}.")
