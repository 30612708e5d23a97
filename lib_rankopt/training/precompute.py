"""Latents and text embeddings, computed once and kept by content, so that VAE and text encoders can leave memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.errors import StoreError
from lib_rankopt.training.data.images import open_rgb
from lib_rankopt.training.data.records import TrainingImage
from lib_rankopt.training.folder import write_file

Size = tuple[int, int]


def bucket(width: int, height: int, resolution: int) -> Size:
    """Width and height, multiples of an eighth of the resolution (64 at most), with about its area and the image's proportions."""
    step = max(8, min(64, resolution // 8 // 8 * 8))
    proportion = min(4.0, max(0.25, width / height))
    wide = max(step, round(resolution * math.sqrt(proportion) / step) * step)
    return wide, max(step, round(resolution * resolution / wide / step) * step)


class LatentCache:
    """Means and deviations of the VAE's distributions, as files named by image, size, side and VAE.

    Args:
        folder: where the files go; a run that was killed goes on with what is there.
        model_sha256: of the checkpoint, whose VAE it is.
    """

    def __init__(self, folder: Path, model_sha256: str) -> None:
        self._folder, self._model = folder, model_sha256

    def get(self, model: StableDiffusion, image: TrainingImage, size: Size, mirrored: bool) -> Tensor:
        """Mean and deviation ``[2, C, h, w]`` of an image, cropped to the middle, float32.

        Raises:
            InvalidInputError: the image is gone or broken. StoreError: the disk is full, or what the encoder said is not finite.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load, save

        key = f"{image.sha256} {size[0]}x{size[1]} {mirrored} {self._model}"
        path = self._folder / f"{sha256(key.encode()).hexdigest()}.safetensors"
        try:
            return load(path.read_bytes())["moments"]
        except (OSError, SafetensorError, KeyError):
            pass  # not made yet, or cut short: made anew
        moments = _encode(model, open_rgb(image.path), size, mirrored)
        if not torch.isfinite(moments).all():
            raise StoreError(f"{image.path}: the VAE returned not-a-number; use precision fp32, or leave this image out.")
        write_file(path, lambda file: file.write(save({"moments": moments})))
        return moments


@torch.no_grad()
def _encode(model: StableDiffusion, image: Image.Image, size: Size, mirrored: bool) -> Tensor:
    fitted = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if mirrored:
        fitted = ImageOps.mirror(fitted)
    pixels = torch.from_numpy(np.asarray(fitted, np.float32).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    weight = next(model.vae.parameters())
    found = model.vae.encode(pixels.to(weight.device, weight.dtype), return_dict=False)[0]
    return (torch.cat([found.mean, found.std]).float() * model.config.scaling_factor).cpu()


def encode_texts(model: StableDiffusion, wanted: Iterable[tuple[str, Size]]) -> dict[tuple[str, Size], Conditioning]:
    """What the UNet is told about each prompt at each size, on the CPU; the empty prompt's included."""
    found: dict[tuple[str, Size], Conditioning] = {}
    for prompt, size in wanted:
        for text in ("", prompt):
            if (text, size) not in found:
                made, _ = encode_prompts(model, text, "", size)
                # clones, because what inference mode made cannot take part in training
                parts = (made.context, made.pooled, made.time_ids)
                found[text, size] = Conditioning(*(None if t is None else t.clone().cpu() for t in parts))
    return found


def joined(conditions: list[Conditioning], empty: Conditioning) -> Conditioning:
    """One batch of several; shorter prompts are filled with the empty prompt's chunk, as the webui does."""
    longest = max(one.context.shape[1] for one in conditions)
    filler = empty.context[:, : min(77, empty.context.shape[1])]
    contexts = [torch.cat([c.context, *[filler] * ((longest - c.context.shape[1]) // filler.shape[1])], 1) for c in conditions]
    pooled = torch.cat([c.pooled for c in conditions if c.pooled is not None]) if conditions[0].pooled is not None else None
    times = torch.cat([c.time_ids for c in conditions if c.time_ids is not None]) if conditions[0].time_ids is not None else None
    return Conditioning(torch.cat(contexts), pooled, times)


def without_encoders(model: StableDiffusion) -> StableDiffusion:
    """The same model without text encoders and VAE."""
    return replace(model, text_encoders=(), tokenizers=(), vae=torch.nn.Identity())
