"""Starts a real webui with this checkout as its extension.

``RANKOPT_WEBUI_DIR`` names an installation that starts (AUTOMATIC1111's, with its ``repositories``); its own Python is
``$RANKOPT_WEBUI_PYTHON``, or ``venv/bin/python`` in it. A data folder of the test's own is used: nothing of the installation is changed.

Forge refuses the pocket model, because it knows Stable Diffusion by its widths: ``RANKOPT_WEBUI_CHECKPOINT`` names a checkpoint to use
in its place. A copy of Forge for tests alone can learn those widths: its ``huggingface_guess`` takes a subclass of ``SD15`` with
``context_dim`` and ``model_channels`` 64 and a ``huggingface_repo`` of its own, a folder below ``backend/huggingface`` with the configs and
the tokenizer of ``pocket export --diffusers``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.diffusion.pocket.export import export_webui

ROOT = Path(__file__).resolve().parents[2]
ON_THE_CPU = ["--skip-torch-cuda-test", "--use-cpu", "all", "--precision", "full", "--no-half", "--no-half-vae"]
ON_THE_CPU += ["--always-cpu", "--all-in-fp32"]  # Forge's; either webui passes over what it does not know
ALWAYS = ["--skip-prepare-environment", "--no-download-sd-model", "--disable-console-progressbars", "--skip-version-check"]
# Do not ask a starting webui anything: a request at the wrong moment can end it. Its log says when it is there.
READY = "Startup time:"
CHECKPOINT = os.environ.get("RANKOPT_WEBUI_CHECKPOINT")


class Webui:
    """A running webui."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path, data: Path) -> None:
        self.process, self.url, self.log, self.data = process, url, log, data

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send JSON and return JSON.

        Raises:
            urllib.error.HTTPError: the webui refused.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def status(self, path: str, headers: dict[str, str] | None = None) -> int:
        """Status code of a GET."""
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers or {}), timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def installation() -> tuple[Path, str]:
    """Folder and Python of an installed webui."""
    folder = os.environ.get("RANKOPT_WEBUI_DIR")
    if not folder:
        pytest.skip("RANKOPT_WEBUI_DIR names no installed webui")
    python = os.environ.get("RANKOPT_WEBUI_PYTHON") or str(Path(folder) / "venv/bin/python")
    return Path(folder).resolve(), python


@pytest.fixture(scope="session")
def start_webui(installation: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Webui]]:
    """Starts webuis; ends them after the tests."""
    folder, python = installation
    running: list[Webui] = []

    def start(*options: str) -> Webui:
        data = tmp_path_factory.mktemp("webui")
        for name in ("models/Stable-diffusion", "extensions"):
            (data / name).mkdir(parents=True)
        if CHECKPOINT:
            (data / "models/Stable-diffusion" / Path(CHECKPOINT).name).symlink_to(Path(CHECKPOINT).resolve())
        else:
            export_webui(data / "models/Stable-diffusion")
        (data / "extensions/rank-optimize").symlink_to(ROOT)
        shutil.copytree(Path(__file__).parent / "extension", data / "extensions/rankopt-test")
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        log = data / "log.txt"
        command = [python, "-u", "launch.py", *ALWAYS, *ON_THE_CPU, "--port", str(port), "--data-dir", str(data), *options]
        command += ["--gradio-allowed-path", str(folder)]  # Forge serves nothing outside its data folder, not even its own scripts
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment |= {"IGNORE_CMD_ARGS_ERRORS": "1", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "COMMANDLINE_ARGS": ""}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT)
        webui = Webui(process, f"http://127.0.0.1:{port}/", log, data)
        running.append(webui)
        until = time.monotonic() + 240
        while READY not in webui.text() or not _listens(port):  # without its page it says that it is there before it listens
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the webui did not start:\n{webui.text()[-3000:]}")
            time.sleep(0.3)
        return webui

    yield start
    for webui in running:
        webui.stop()


@pytest.fixture(scope="session")
def webui(start_webui: Callable[..., Webui]) -> Webui:
    """One for the tests that leave it as it was."""
    return start_webui("--api")
