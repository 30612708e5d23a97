"""The standalone server: gradio's page, the API and the board's files in one FastAPI application."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import threading
import time
import webbrowser
from typing import TYPE_CHECKING

import gradio as gr
import uvicorn
from fastapi import FastAPI

from lib_rankopt import __version__, api
from lib_rankopt.api.assets import page_head
from lib_rankopt.api.host_info import HostInfo, describe_host
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.ui import compat
from lib_rankopt.ui.border import Border
from lib_rankopt.ui.page import PageHead
from lib_rankopt.ui.score_folder import scoring
from lib_rankopt.ui.tab import build_tab

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService

log = logging.getLogger("rankopt.ui")

PORT = 7861
OWN_PAGE = """<style>.gradio-container{max-width:none!important}footer{display:none!important}
@media(max-width:760px){.gradio-container,.gradio-container :is(main,.main,.wrap):has(#rankopt_tab){padding:6px!important}}</style>"""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def build_page(service: StudyService, *, info: HostInfo | None = None, local: bool = True) -> FastAPI:
    """The whole application. ``local``: it listens on this machine only, so other host names are refused."""
    info = info or describe_host(service.host)
    app = FastAPI(title="Rank-Optimize", version=__version__)
    hosts = ("localhost",) if local else None
    api.mount(app, service, host_info=info, allowed_hosts=hosts, takes_paths=local)
    score = scoring(lambda: service.host.scorers, service.data_dir) if local else None  # nobody else names folders of this machine
    tab = build_tab(info, api=api.PREFIX.lstrip("/"), themed=True, defaults_of=lambda model: service.host.defaults(model), score=score)
    gr.mount_gradio_app(app, tab.queue(), path="/", **compat.mount_options())
    app.add_middleware(PageHead, head=lambda: OWN_PAGE + page_head(api.PREFIX.lstrip("/")))
    app.add_middleware(Border, allowed_hosts=None if hosts is None else frozenset(hosts))
    return app


def serve(
    service: StudyService,
    *,
    address: str = "127.0.0.1",
    port: int = PORT,
    open_browser: bool = True,
    info: HostInfo | None = None,
) -> None:
    """Serve until Ctrl-C. A taken port is replaced by the next free one, and that is said.

    Raises:
        InvalidInputError: the address cannot be listened on.
    """
    app = build_page(service, info=info, local=address in LOOPBACK)
    listener = free_socket(address, port)
    chosen = listener.getsockname()[1]
    if chosen != port:
        _say(f"Port {port} is taken; using {chosen} instead.")
    url = f"http://{'127.0.0.1' if address == '0.0.0.0' else address}:{chosen}/"
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    threading.Thread(target=_announce, args=(server, url, open_browser), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def free_socket(address: str, port: int, tries: int = 20) -> socket.socket:
    """Bind the port, or the first free one of the next ``tries``.

    Raises:
        InvalidInputError: no such port, none is free, or the address is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise InvalidInputError(f"Port {port}: ports are 0 to 65535.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for candidate in range(port, min(port + tries, 65536)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        # On Windows SO_REUSEADDR would let two servers share one port.
        exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        listener.setsockopt(socket.SOL_SOCKET, exclusive or socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise InvalidInputError(f"Cannot listen on {address}: {error.strerror}.") from error
        else:
            return listener
    raise InvalidInputError(f"Ports {port} to {port + tries - 1} are all taken; give another with --port.")


def _announce(server: uvicorn.Server, url: str, open_browser: bool) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    _say(f"Rank-Optimize is at {url}  (Ctrl-C ends it)")
    if open_browser:
        webbrowser.open(url)


def _say(text: str) -> None:
    """To the person at the terminal; standard output stays free for data."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
