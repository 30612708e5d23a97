"""Made image files for the tests of collected images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def picture(seed: int, size: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def png(seed: int, parameters: str = "", level: int = 6) -> bytes:
    file, info = io.BytesIO(), PngInfo()
    if parameters:
        info.add_text("parameters", parameters)
    picture(seed).save(file, "PNG", pnginfo=info, compress_level=level)
    return file.getvalue()


def folder(path: Path, count: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        (path / f"{seed}.png").write_bytes(png(seed))
    return path
