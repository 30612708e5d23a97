"""The picture that an img2img study starts from: uploaded by anybody, so nothing in the file is trusted."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
_MOST_PIXELS = 64_000_000
_BEHIND = (255, 255, 255)  # what shows through transparent places, as in the webui


def read(data: bytes) -> Image.Image:
    """Decode an uploaded file: RGB, upright, transparent places white.

    Raises:
        InvalidInputError: another format, damaged, or too large to be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > _MOST_PIXELS:
                raise InvalidInputError(f"The picture has {width}×{height} pixels; at most {_MOST_PIXELS // 10**6} million are taken.")
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInputError(f"The file is no {', '.join(FORMATS)} picture that can be read ({error}).") from error
    return Image.alpha_composite(Image.new("RGBA", upright.size, _BEHIND), upright).convert("RGB")


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale and crop around the middle to exactly this size, nothing stretched."""
    from PIL import Image, ImageOps

    return image if image.size == (width, height) else ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
