"""Latents to pictures, the whole decoder for results and a linear map for previews; and a picture to its latent."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.errors import GenerationError

logger = logging.getLogger("rankopt.diffusion")

_TINY_VAE = 5_000_000  # parameters; below, decoding a preview costs less than a sampler step
_PREVIEW_CELLS = 64 * 64

# Least-squares maps of decoded pictures (RGB in -1 … 1) on latents, widely published for these VAEs; rows are
# latent channels
_LINEAR = {
    "sd1": ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473)),
    "sdxl": (
        (0.3448, 0.4168, 0.4395),
        (-0.1953, -0.0290, 0.0250),
        (0.1074, 0.0886, -0.0163),
        (-0.3730, -0.2499, -0.2088),
    ),
}


@torch.inference_mode()
def decode(model: StableDiffusion, latent: Tensor) -> Image.Image:
    """Decode one clean latent ``[C, h, w]``.

    Several published VAEs overflow in half precision; such a one is moved to float32 at the first such image.

    Raises:
        GenerationError: the decoder returned not-a-number in float32 too.
    """
    return pictures(model, latent[None])[0]


@torch.inference_mode()
def pictures(model: StableDiffusion, latents: Tensor) -> list[Image.Image]:
    """Decode clean latents ``[n, C, h, w]`` together; see :func:`decode`."""
    return [to_image(one) for one in _in_safe_precision(model, model.decode, latents.to(model.device))]


@torch.inference_mode()
def encode(model: StableDiffusion, image: Image.Image) -> Tensor:
    """Clean latent of an RGB picture, float32 ``[C, h, w]``: the mean of the encoder's distribution.

    Raises:
        GenerationError: the encoder returned not-a-number in float32 too.
    """
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32).copy()).permute(2, 0, 1) / 127.5 - 1
    return _in_safe_precision(model, model.encode, pixels[None].to(model.device))[0]


def _in_safe_precision(model: StableDiffusion, work: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Run one side of the VAE, again in float32 where half precision overflows."""
    found = work(batch)
    if not torch.isfinite(found).all() and next(model.vae.parameters()).dtype != torch.float32:
        logger.warning("the VAE overflowed in half precision and now runs in float32")
        model.vae.float()
        found = work(batch)
    if not torch.isfinite(found).all():
        raise GenerationError("the VAE returned not-a-number or infinite values; the checkpoint may be damaged")
    return found


@torch.inference_mode()
def preview(model: StableDiffusion, latent: Tensor) -> Image.Image:
    """A quick look at a predicted clean latent ``[C, h, w]``.

    Decoded where that is cheap, otherwise one pixel per latent cell.
    """
    if _vae_size(model) < _TINY_VAE and latent.shape[-1] * latent.shape[-2] <= _PREVIEW_CELLS:
        return to_image(model.decode(latent[None].to(model.device))[0].nan_to_num())
    matrix = torch.tensor(_LINEAR["sdxl" if model.config.family == "sdxl" else "sd1"])
    return to_image(torch.einsum("chw,cr->rhw", latent.float().cpu(), matrix))


def _vae_size(model: StableDiffusion) -> int:
    return sum(p.numel() for p in model.vae.parameters())


def to_image(pixels: Tensor) -> Image.Image:
    """RGB picture of ``[3, H, W]`` in -1 … 1."""
    scaled = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to("cpu", torch.uint8)
    return Image.fromarray(np.ascontiguousarray(scaled.permute(1, 2, 0).numpy()))
