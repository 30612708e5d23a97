"""Our x_T in the webui's sampling: a stand-in for ``modules.rng.ImageRNG`` in one batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib_rankopt.errors import InvalidInputError


class PresetFirstNoise:
    """Gives our latents as the first noise and the webui's own noise afterwards.

    The webui's generator makes its first noise as well, unseen: so the noise of later steps is what it is in an ordinary run, and with
    the seed's own noise as latent the image is the ordinary one to the last bit.

    Args:
        base: the webui's ``ImageRNG`` of the batch; all its attributes can be read through this object.
        latents: ``[B, C, h, w]``, unit variance; ``None`` keeps the seeds' own noise.

    Attributes:
        base: as given.
        first: what was given as first noise, float32 on the CPU; ``None`` before that.

    Raises:
        InvalidInputError: the latents do not fit the batch, because another extension changed it or the model has other latents.
    """

    def __init__(self, base: Any, latents: Tensor | None) -> None:
        shape = (len(base.seeds), *base.shape)
        if latents is not None and tuple(latents.shape) != shape:
            raise InvalidInputError(
                f"The latents are {tuple(latents.shape)}, but the webui makes {shape} now: the model has other latents than the study's, "
                "or another extension changed size or batch."
            )
        self.base = base
        self._latents = latents
        self.first: Tensor | None = None
        self._images = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    @property
    def is_preset(self) -> bool:
        """Whether the first noise is another than the seeds' own."""
        return self._latents is not None

    def next(self) -> Tensor:
        """Return the next noise of the batch, ``[B, C, h, w]`` on the webui's device."""
        is_first = self.base.is_first
        noise: Tensor = self.base.next()
        if not is_first:
            return noise
        if self._latents is not None:
            noise = self._latents.to(noise.device, noise.dtype, copy=True)
        with torch.inference_mode(False):  # Forge samples in inference mode; what is made in it cannot be changed outside
            self.first = noise.detach().float().cpu().clone()
        return noise

    def chosen(self, latent: Tensor) -> None:
        """Note that the image of the batch was made from this noise, ``[1, C, h, w]``, which was chosen among others."""
        with torch.inference_mode(False):
            self.first = latent.detach().float().cpu().clone()

    def of_next_image(self) -> Tensor | None:
        """Return the first noise of one image after the other, in the batch's order; ``None`` where there is none."""
        place, self._images = self._images, self._images + 1
        return self.first[place] if self.first is not None and place < len(self.first) else None
