"""The standalone page for the browser tests, as a process of its own: ``python -m tests.browser.serve PORT FOLDER``.

Behind it is the real service over a host that paints landscapes or, where torch is not installed (the environments that hold nothing but
another gradio), the stand-in.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from lib_rankopt.ui.standalone import serve
from tests.api.fake_service import HOST_INFO, FakeService


def make_service(folder: Path, image_seconds: float) -> tuple[Any, Any]:
    """The service and, for the stand-in, what its host offers."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("sqlalchemy") is None:
        return FakeService(folder, image_seconds), HOST_INFO
    from lib_rankopt.studies.service import StudyService
    from tests.browser.landscape_host import LandscapeHost
    from tests.studies.fakes import Brightness

    return StudyService(folder, LandscapeHost(image_seconds, folder / "loras"), scorers={"clip": Brightness}), None


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-seconds", type=float, default=0.03)
    options = parser.parse_args()
    service, info = make_service(options.folder, options.image_seconds)
    serve(service, port=options.port, open_browser=False, info=info)


if __name__ == "__main__":
    main()
