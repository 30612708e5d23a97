"""The border of the standalone page: gradio's own routes are as closed to other sites as the API is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lib_rankopt.api.guard import MAX_UPLOAD, Refused, check_origin, failure


class Border:
    """ASGI middleware: refuses other host names and other sites' pages, and uploads that are no picture's size.

    Args:
        allowed_hosts: host names that may be asked for besides addresses; ``None`` for any.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str] | None) -> None:
        self._app = app
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            try:
                request = Request(scope)
                check_origin(request, self._allowed_hosts)
                if request.url.path.rstrip("/").endswith("/upload"):
                    _check_upload(request)
            except Refused as error:
                await failure(error.status_code, type(error).__name__, str(error.detail))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _check_upload(request: Request) -> None:
    """Refuse an upload without a length, or larger than a picture may be (gradio itself takes any)."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise Refused(411, "Send the upload with a Content-Length.")
    if int(length) > MAX_UPLOAD:
        raise Refused(413, f"The upload has {length} bytes; at most {MAX_UPLOAD} are taken.")
