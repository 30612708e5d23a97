"""A real Chromium on the standalone page, served by this interpreter (so by its gradio) in a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.board import Board

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Server:
    """The page; can be killed and started again on the same port and folder."""

    def __init__(self, folder: Path, image_seconds: float) -> None:
        self.folder, self.image_seconds = folder, image_seconds
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until the API answers."""
        command = [
            sys.executable, "-m", "tests.browser.serve", str(self.port), str(self.folder),
            "--image-seconds", str(self.image_seconds),
        ]  # fmt: skip
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 240
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{self.url}rankopt/v1/version", timeout=2).read()
                return
            except OSError:
                assert self.process.poll() is None, "the server ended before it answered"
                time.sleep(0.1)
        raise AssertionError("the server did not answer")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A quick server for all tests that do not kill it."""
    server = Server(tmp_path_factory.mktemp("studies"), 0.03)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to kill and to start again."""
    server = Server(tmp_path_factory.mktemp("killed"), 0.03)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def open_board(browser: object) -> Iterator[object]:
    """Open the page at a URL: ``open_board(url, width=…, …)``; script errors on it fail the test."""
    opened = []

    def open_page(url: str, **options: object) -> Board:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[attr-defined]
        board = Board(context.new_page(), url)
        opened.append((context, board))
        board.open()
        return board

    yield open_page
    for context, _ in opened:
        context.close()
    assert [error for _, board in opened for error in board.errors] == []


@pytest.fixture
def board(open_board: object, shared_server: Server) -> Board:
    """A board with a study of eight images, all on screen."""
    board = open_board(shared_server.url)  # type: ignore[operator]
    board.new_study("a quiet valley at dawn")
    board.wait_ready()
    return board


@pytest.fixture
def home(open_board: object, shared_server: Server) -> Board:
    """A page before any study."""
    board: Board = open_board(shared_server.url)  # type: ignore[operator]
    board.open()
    return board
