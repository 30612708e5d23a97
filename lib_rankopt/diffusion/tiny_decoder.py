"""TAESD: a small decoder of predictions, for those who have its weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib_rankopt.diffusion.decode import to_image
from lib_rankopt.errors import ModelError

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger("rankopt.diffusion")

_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def find(folder: Path | None, family: str) -> Path | None:
    """The folder of TAESD for a model family below ``folder``: ``taesdxl`` or ``taesd``, as published for diffusers."""
    if folder is None:
        return None
    name = "taesdxl" if family == "sdxl" else "taesd"
    found = (path.parent for path in sorted(folder.rglob(f"{name}/{_FILES[0]}")))
    return next((path for path in found if (path / _FILES[1]).is_file()), None)


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], list[Image.Image]]:
    """Load it; returns what makes pictures of clean latents ``[n, 4, h, w]``.

    Raises:
        ModelError: the files are broken.
    """
    from diffusers import AutoencoderTiny

    try:
        model = AutoencoderTiny.from_pretrained(folder, local_files_only=True, use_safetensors=True).to(device, dtype).eval()
    except Exception as error:  # what diffusers and safetensors raise for broken files has no common base
        raise ModelError(f"{folder} holds no TAESD that can be used: {' '.join(str(error).split())}") from error

    @torch.inference_mode()
    def pictures(latents: Tensor) -> list[Image.Image]:
        decoded = model.decode(latents.to(device, dtype)).sample.float()
        return [to_image(one) for one in decoded.nan_to_num()]

    return pictures
