"""What a saved PNG carries of us: the latent that its image began from, as a text of its own."""

from __future__ import annotations

from typing import Any

from lib_rankopt.hosts import latent_text
from lib_rankopt.hosts.webui.noise import PresetFirstNoise

# Attributes of a processing object, so that no other run of the webui can meet them.
_NOISE = "rankopt_noise"
_UNSAVED = "rankopt_unsaved"


def preset(p: Any, noise: PresetFirstNoise) -> None:
    """Let the batch of ``p`` begin with this noise, and its files carry it."""
    p.rng = noise
    setattr(p, _NOISE, noise)


def image_is_done(p: Any, image: Any) -> None:
    """Note that the batch's next image is about to be saved."""
    noise = getattr(p, _NOISE, None)
    if noise is not None:
        setattr(p, _UNSAVED, (noise.of_next_image(), image.size))


def add_latent(params: Any) -> None:
    """Add the latent to the PNG of an image that was made from one; the webui's parameters are not touched.

    Args:
        params: the webui's ``ImageSaveParams``; called for every image that it saves, before it does. Images that it saves beside the
            result (masks, grids, the state before face restoration) get none.
    """
    latent, size = getattr(params.p, _UNSAVED, None) or (None, None)
    if latent is None or params.image.size != size:
        return
    setattr(params.p, _UNSAVED, None)
    if str(params.filename).lower().endswith(".png"):
        params.pnginfo[latent_text.CHUNK] = latent_text.encode(latent)
