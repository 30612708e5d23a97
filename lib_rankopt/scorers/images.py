"""Pixels in any form as the scorers' networks take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST = 1 << 16  # pixels of a scaled side, which is more than anybody looks at
_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def as_rgb(image: Image.Image) -> Image.Image:
    """Return ``image`` as 8-bit RGB; transparency is laid on white, 16-bit greys are scaled rather than clipped."""
    if min(image.size) == 0:
        raise InvalidInputError(f"An image of size {image.size} has no pixels to score.")
    try:
        image.load()  # files are read only now, of animations the first picture
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInputError(f"An image cannot be read: {error}.") from error
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.float32)
        return Image.fromarray((grey / 257.0).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def as_images(images: Sequence[Image.Image] | Tensor) -> list[Image.Image]:
    """Return pictures; those of a tensor ``[n, 3, H, W]`` in 0…1 as 8-bit RGB, which is what a saved image would hold.

    Raises:
        InvalidInputError: another shape, or NaN in it.
    """
    if not isinstance(images, torch.Tensor):
        return list(images)
    if images.ndim != 4 or images.shape[1] != 3:
        raise InvalidInputError(f"A batch of images has shape [n, 3, H, W], not {tuple(images.shape)}.")
    if not bool(torch.isfinite(images).all()):
        raise InvalidInputError("The images contain NaN or infinity.")
    array = (images.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(one) for one in array]


def padded(image: Image.Image, size: int) -> Tensor:
    """Scale the longer side to ``size`` (bicubic, antialiased) and pad with white: float32 ``[3, size, size]`` in 0…1."""
    image = as_rgb(image)
    if image.size != (size, size):
        scale = size / max(image.size)
        inner = tuple(max(1, round(side * scale)) for side in image.size)
        resized = image.resize((inner[0], inner[1]), Image.Resampling.BICUBIC)
        image = Image.new("RGB", (size, size), "white")
        image.paste(resized, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return _tensor(image)


def cropped(image: Image.Image, size: int, round_down: bool = False) -> Tensor:
    """Scale the shorter side to ``size`` (bicubic, antialiased) and crop the middle, as CLIP does: ``[3, size, size]`` in 0…1.

    Args:
        round_down: where the middle falls between two pixels take the left and upper one, as transformers' processor does; otherwise
            the even one, as torchvision and so OpenAI's and open_clip's do.
    """
    image = as_rgb(image)
    width, height = image.size
    short = min(width, height)
    scaled = (size, int(size * height / short)) if width == short else (int(size * width / short), size)
    if max(scaled) > _LONGEST:
        raise InvalidInputError(f"An image of {width}×{height} is too long and narrow to be scored.")
    if image.size != scaled:
        image = image.resize(scaled, Image.Resampling.BICUBIC)
    spare = [(side - size) / 2 for side in scaled]
    left, top = [int(one) if round_down else round(one) for one in spare]
    return _tensor(image.crop((left, top, left + size, top + size)))


def fitted(image: Image.Image, size: int) -> Tensor:
    """Scale the longer side to ``size`` and pad with zeros, as HPSv2 does: ``[3, size, size]``, about 0…1.

    The scaling is that of tensors, bicubic and antialiased, which may leave 0…1 a little at hard edges.
    """
    pixels = _tensor(as_rgb(image))
    height, width = pixels.shape[1:]
    scale = size / max(height, width)
    if scale != 1.0:
        inner = [max(1, round(side * scale)) for side in (height, width)]
        pixels = functional.interpolate(pixels[None], inner, mode="bicubic", align_corners=False, antialias=True)[0]
    spare = [size - side for side in (pixels.shape[2], pixels.shape[1])]
    margins = [part for one in spare for part in (one // 2, one - one // 2)]
    return functional.pad(pixels, margins)


def normalized(pixels: Tensor) -> Tensor:
    """Return pixels ``[3, H, W]`` in 0…1 less the mean, over the deviation of the pictures that CLIP learnt with, as its kin take them."""
    return (pixels - _MEAN) / _STD


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
