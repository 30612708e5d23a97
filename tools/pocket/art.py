"""Fetches the emoji art and turns it into sprites: one RGBA picture for every concept and style.

"3d" is Microsoft's Fluent Emoji 3D, "sticker" is Fluent Emoji Flat with a die-cut white rim (both MIT).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from lib_rankopt.diffusion.pocket.words import CONCEPT_EMOJI, STYLES

log = logging.getLogger("rankopt.pocket.art")

FLAT_PACKAGE = "@iconify-json/fluent-emoji-flat@1.2.6"
D3_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
CANVAS = 144  # pixels of a sprite's square canvas
BODY = 128  # pixels of the drawing inside it, the rest is room for the rim
RIM = 4.5  # width of the white rim, in canvas pixels


class ArtError(RuntimeError):
    """The art cannot be had; the message says what to install."""


def npm_package(spec: str, folder: Path) -> Path:
    """Unpacks the npm package `spec` below `folder` (once) and returns its root."""
    root = folder / hashlib.sha256(spec.encode()).hexdigest()[:12]
    if (root / "package" / "package.json").is_file():
        return root / "package"
    npm = shutil.which("npm")
    if npm is None:
        raise ArtError(f"npm was not found, and the art of {spec} comes from the npm registry: install Node.js.")
    root.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [npm, "pack", "--silent", "--pack-destination", str(root), spec],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise ArtError(f"npm pack {spec} failed: {done.stderr.strip()[-500:]} (is the npm registry reachable?)")
    with tarfile.open(next(root.glob("*.tgz"))) as archive:
        archive.extractall(root, filter="data")
    return root / "package"


def _fitted(image: Image.Image) -> Image.Image:
    """The drawing without its empty border, scaled into BODY and centred on the canvas."""
    image = image.crop(image.getbbox())
    factor = BODY / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    canvas = Image.new("RGBA", (CANVAS, CANVAS))
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS), ((CANVAS - size[0]) // 2, (CANVAS - size[1]) // 2))
    return canvas


def _with_rim(image: Image.Image) -> Image.Image:
    """Puts a white rim of RIM pixels around the drawing."""
    alpha = image.getchannel("A")
    grown = alpha.filter(ImageFilter.GaussianBlur(RIM / 2))
    rim = grown.point(lambda a: max(0, min(255, (a - 6) * 10)))
    below = Image.new("RGBA", image.size, (255, 255, 255, 0))
    below.putalpha(rim)
    return Image.alpha_composite(below, image)


def _flat(package: Path, emoji: str) -> Image.Image:
    """The flat drawing of an emoji (code point in hexadecimal)."""
    try:
        import resvg_py
    except ImportError as error:
        raise ArtError("resvg_py is missing: pip install -r tools/pocket/requirements.txt") from error
    names = json.loads((package / "chars.json").read_text(encoding="utf-8"))
    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    icon = icons["icons"][names.get(emoji) or names[emoji + "-fe0f"]]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    data = resvg_py.svg_to_bytes(svg_string=svg, width=256, height=256, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(data))).convert("RGBA")


def _d3(package: Path, emoji: str) -> Image.Image:
    """The 3D picture of an emoji (code point in hexadecimal)."""
    for stem in (emoji, emoji + "-fe0f"):
        path = package / "assets" / f"{stem}.webp"
        if path.is_file():
            return Image.open(path).convert("RGBA")
    raise ArtError(f"{D3_PACKAGE} has no picture for the code point {emoji}")


def make_sprites(downloads: Path, target: Path) -> Path:
    """Writes `target` (.npy): uint8 RGBA, (concepts, styles, CANVAS, CANVAS, 4)."""
    if target.is_file():
        return target
    flat, d3 = npm_package(FLAT_PACKAGE, downloads), npm_package(D3_PACKAGE, downloads)
    sprites = np.zeros((len(CONCEPT_EMOJI), len(STYLES), CANVAS, CANVAS, 4), np.uint8)
    for i, emoji in enumerate(CONCEPT_EMOJI.values()):
        sprites[i, STYLES.index("3d")] = np.asarray(_fitted(_d3(d3, emoji)))
        sprites[i, STYLES.index("sticker")] = np.asarray(_with_rim(_fitted(_flat(flat, emoji))))
    target.parent.mkdir(parents=True, exist_ok=True)
    np.save(target, sprites)
    log.info("%d sprites from %s and %s", sprites.shape[0] * sprites.shape[1], FLAT_PACKAGE, D3_PACKAGE)
    return target
