"""Models of a published layout with random weights: as fast and as large as the real ones, which need not be there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from lib_rankopt.diffusion import config
from lib_rankopt.diffusion.loading import StableDiffusion, States, assemble, outlines


def random_model(family: str, side: int, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    """Build ``sd1``, ``sd2`` or ``sdxl`` for pictures of ``side`` pixels; the same weights at each call."""
    from diffusers import AutoencoderKL

    shape = config.bundled(family)
    shape = replace(shape, image_size=side, unet={**shape.unet, "sample_size": side // 8})
    unet, encoders = outlines(shape)
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(dict(shape.vae))
    vae_dtype = torch.float32 if family == "sdxl" else dtype  # as it is loaded
    states = States(_filled(unet, dtype), _filled(vae, vae_dtype), [_filled(one, dtype) for one in encoders])
    return assemble(shape, states, device, dtype, f"random {family}")


def _filled(module: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Small matrices, norms of one, no biases: what goes in comes out about as large."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, empty in module.state_dict().items():
        if not empty.dtype.is_floating_point:
            found[name] = torch.arange(empty.numel()).reshape(empty.shape)  # position numbers
            continue
        filled = torch.zeros(empty.shape, dtype=dtype)
        if empty.ndim > 1:
            filled.normal_(0, (2 / (empty[0].numel() + empty.shape[0])) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            filled.fill_(1)
        found[name] = filled
    return found
