"""The board's own scripts and style sheet, for a page that is not the webui's (which loads them itself)."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from lib_rankopt.api.assets import assets
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.errors import NotFoundError

router = APIRouter(prefix="/static", tags=["static"], route_class=GuardedRoute)


@router.get("/{name}", response_class=FileResponse)
def get_asset(name: str) -> Response:
    """One of the board's files; the page asks for it with its content's hash, so it may be kept."""
    path = assets().get(name)
    if path is None:
        raise NotFoundError(f"The board has no file '{name[:80]}'.")
    kind = "text/css" if path.suffix == ".css" else "text/javascript"
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=kind, headers=headers)
