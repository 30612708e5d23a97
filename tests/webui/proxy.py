"""A reverse proxy in front of a webui that was started with ``--subpath``: takes the prefix away and passes everything on."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_NOT_PASSED = {"host", "connection", "transfer-encoding", "content-encoding", "content-length", "accept-encoding"}


@contextmanager
def behind_prefix(target: str, prefix: str) -> Iterator[str]:
    """Serve ``target`` below ``/prefix/``; gives the address there. Anything outside the prefix is not found."""

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            start = f"/{prefix}/"
            if not self.path.startswith(start):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0))) or None
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED}
            headers["X-Forwarded-Host"] = self.headers["Host"]
            request = urllib.request.Request(target + self.path[len(start) :], body, headers, method=self.command)
            try:
                answer = urllib.request.urlopen(request, timeout=60)
            except urllib.error.HTTPError as error:
                answer = error  # type: ignore[assignment]
            with answer:
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _NOT_PASSED:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = do_HEAD = _pass_on

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{prefix}/"
    finally:
        server.shutdown()
