"""The standalone page over the fake service, as a process of its own: ``python -m tests.browser.serve_fake PORT FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rankopt.ui.standalone import serve
from tests.api.fake_service import HOST_INFO, FakeService


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-seconds", type=float, default=0.05)
    options = parser.parse_args()
    service = FakeService(options.folder, options.image_seconds)
    serve(service, port=options.port, open_browser=False, info=HOST_INFO)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
