"""Where the images of the webui's galleries lie."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from modules import shared

_SAMPLES = ("outdir_samples", "outdir_txt2img_samples", "outdir_img2img_samples", "outdir_extras_samples", "outdir_save")
_GRIDS = ("outdir_grids", "outdir_txt2img_grids", "outdir_img2img_grids")


def images() -> list[Path]:
    """Folders of single images: the webui's outputs, and gradio's for images that are not saved."""
    own = os.environ.get("GRADIO_TEMP_DIR") or str(Path(tempfile.gettempdir()) / "gradio")
    return [*outputs(), *_folders([str(getattr(shared.opts, "temp_dir", "") or ""), own])]


def outputs() -> list[Path]:
    """Folders into which the webui saves single images."""
    return _folders([str(getattr(shared.opts, name, "") or "") for name in _SAMPLES])


def grids() -> list[Path]:
    """Folders of grids."""
    return _folders([str(getattr(shared.opts, name, "") or "") for name in _GRIDS])


def _folders(names: list[str]) -> list[Path]:
    return [Path(os.path.normpath(Path(name).absolute())) for name in dict.fromkeys(names) if name.strip()]
