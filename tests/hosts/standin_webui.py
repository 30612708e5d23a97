"""Puts the stand-in for the webui's ``modules`` in the place of the real ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "standin"


@contextmanager
def standin(*names: str) -> Iterator[Any]:
    """Import these of the stand-in's modules; take all of it away again, with what of ours has imported it."""
    sys.path.insert(0, str(FOLDER))
    before = set(sys.modules)
    for name in names:
        importlib.import_module(f"modules.{name}")
    try:
        yield sys.modules["modules"]
    finally:
        sys.path.remove(str(FOLDER))
        ours = ("lib_rankopt.hosts.webui", "lib_rankopt.ui.exchange", "lib_rankopt.ui.webui")
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "modules" or name.startswith(ours):
                del sys.modules[name]
