"""Pictures of latents by the webui's own decoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from modules import paths, processing, sd_samplers_common, shared
from PIL import Image
from torch import Tensor

from lib_rankopt.errors import ModelError

_CHEAP, _TAESD = 2, 3  # the webui's numbers


def maker(decoder: str) -> Callable[[Tensor], list[Image.Image]]:
    """Return what makes pictures of clean latents ``[n, C, h, w]``, one latent after the other.

    Args:
        decoder: see :class:`~lib_rankopt.selection.settings.Selection`.

    Raises:
        ModelError: TAESD was asked for and is not there; it is never downloaded.
    """
    if decoder == "cheap":
        return lambda latents: _approximate(latents, _CHEAP)
    file = _taesd_file()
    if decoder == "taesd" and not file.is_file():
        raise ModelError(
            f"TAESD was asked for, but {file.name} is not in {file.parent}: put it there, or take the decoder auto."
        )
    if decoder in ("taesd", "auto") and file.is_file():
        return lambda latents: _approximate(latents, _TAESD)
    return _decoded


def _taesd_file() -> Path:
    kinds = (name for name in ("sd3", "sdxl") if getattr(shared.sd_model, f"is_{name}", False))
    folder = Path(paths.models_path) / "VAE-taesd"
    return folder / {"sd3": "taesd3_decoder.pth", "sdxl": "taesdxl_decoder.pth", "": "taesd_decoder.pth"}[next(kinds, "")]


def _approximate(latents: Tensor, approximation: int) -> list[Image.Image]:
    return [sd_samplers_common.single_sample_to_image(latent, approximation) for latent in latents]


def _decoded(latents: Tensor) -> list[Image.Image]:
    """As the webui decodes what it saves, with its changes of precision where a VAE fails."""
    found = []
    for latent in latents:
        (pixels,) = processing.decode_latent_batch(shared.sd_model, latent[None], target_device=torch.device("cpu"), check_for_nans=True)
        values = torch.clamp((pixels.float() + 1) * 0.5, 0, 1).numpy()
        found.append(Image.fromarray((255.0 * np.moveaxis(values, 0, 2)).astype(np.uint8)))
    return found
