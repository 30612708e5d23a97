"""Pixels in any form to one float tensor; shared by the scorers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor


def as_rgb(image: Image.Image) -> Image.Image:
    """Return ``image`` as 8-bit RGB; transparency is laid on white, 16-bit greys are scaled rather than clipped."""
    if min(image.size) == 0:
        raise InvalidInputError(f"An image of size {image.size} has no pixels to score.")
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.float32)
        return Image.fromarray((grey / 257.0).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def to_batch(images: Sequence[Image.Image] | Tensor, size: int) -> Tensor:
    """Return float32 ``[n, 3, size, size]`` in 0…1.

    The longer side is scaled to ``size`` (bicubic, antialiased) and the rest padded with white, so that nothing is cut off.
    """
    if isinstance(images, torch.Tensor):
        if images.ndim != 4 or images.shape[1] != 3:
            raise InvalidInputError(f"A batch of images has shape [n, 3, H, W], not {tuple(images.shape)}.")
        if not bool(torch.isfinite(images).all()):
            raise InvalidInputError("The images contain NaN or infinity.")
        array = (images.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        images = [Image.fromarray(a) for a in array]
    return torch.stack([_fit(as_rgb(image), size) for image in images]) if images else torch.empty(0, 3, size, size)


def _fit(image: Image.Image, size: int) -> Tensor:
    if image.size != (size, size):
        scale = size / max(image.size)
        inner = tuple(max(1, round(side * scale)) for side in image.size)
        resized = image.resize((inner[0], inner[1]), Image.Resampling.BICUBIC)
        image = Image.new("RGB", (size, size), "white")
        image.paste(resized, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
