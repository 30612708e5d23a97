"""Puts the board's script and style tags into gradio's page: the same on every gradio version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class PageHead:
    """ASGI middleware: inserts tags before ``</head>`` of the HTML page at ``/`` and touches nothing else."""

    def __init__(self, app: App, head: Callable[[], str]) -> None:
        self._app = app
        self._head = head

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, _Rewriter(send, self._head).send)


class _Rewriter:
    """Holds an answer back until it is whole, then sends it with the tags in it."""

    def __init__(self, send: Send, head: Callable[[], str]) -> None:
        self._send, self._head = send, head
        self._start: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take one message of the answer."""
        if message["type"] not in ("http.response.start", "http.response.body"):
            await self._send(message)
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = dict(self._start.get("headers", []))
        if headers.get(b"content-type", b"").startswith(b"text/html"):
            self._body = self._body.replace(b"</head>", self._head().encode() + b"</head>", 1)
            headers[b"content-length"] = str(len(self._body)).encode()
        await self._send({**self._start, "headers": list(headers.items())})
        await self._send({"type": "http.response.body", "body": self._body})
