"""Small pictures for the fake service: a landscape whose look is a function of eight numbers."""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
import random

from PIL import Image, ImageDraw

GENES = 8


def draw_genes(seed: str) -> list[float]:
    """Eight numbers in 0…1 from a text seed."""
    rng = random.Random(seed)
    return [rng.random() for _ in range(GENES)]


def near(genes: list[float], seed: str, spread: float = 0.18) -> list[float]:
    """A neighbour of a picture."""
    rng = random.Random(seed)
    return [min(1.0, max(0.0, value + rng.gauss(0.0, spread))) for value in genes]


def paint(genes: list[float], size: int = 256) -> Image.Image:
    """Paint sky, sun and three hills."""
    sky, sun_hue, x, y, radius, hill, rough, dusk = genes
    image = Image.new("RGB", (size, size))
    pen = ImageDraw.Draw(image)
    for row in range(size):
        t = row / size
        pen.line([(0, row), (size, row)], fill=_rgb(sky + 0.12 * t, 0.65 - 0.35 * t, 0.95 - 0.55 * dusk * (1 - t)))
    r = size * (0.06 + 0.14 * radius)
    cx, cy = size * (0.15 + 0.7 * x), size * (0.15 + 0.4 * y)
    pen.ellipse([cx - r, cy - r, cx + r, cy + r], fill=_rgb(0.05 + 0.13 * sun_hue, 0.55, 1.0))
    for layer in range(3):
        base = size * (0.55 + 0.14 * layer)
        wave = size * (0.03 + 0.10 * rough)
        points = [
            (px, base + wave * math.sin(px / size * (4 + 3 * layer) + 6 * hill + layer)) for px in range(0, size + 1, 4)
        ]
        pen.polygon([*points, (size, size), (0, size)], fill=_rgb(0.25 + 0.4 * hill, 0.5, 0.62 - 0.17 * layer))
    return image


def as_png(image: Image.Image) -> tuple[bytes, str]:
    """PNG bytes and the hash of their content."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, max(0.0, min(1.0, value)))
    return int(red * 255), int(green * 255), int(blue * 255)
