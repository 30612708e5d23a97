"""What a saved PNG carries of us."""

from __future__ import annotations

from typing import Any

from lib_rankopt.hosts import latent_text
from lib_rankopt.hosts.webui.script import RUN


def add_latent(params: Any) -> None:
    """Add the latent to the PNG of an image of our own run, as a text of its own; the webui's parameters are not touched.

    Args:
        params: the webui's ``ImageSaveParams``; called for every image that it saves, before it does.
    """
    run = getattr(params.p, RUN, None)
    if run is None or not str(params.filename).lower().endswith(".png"):
        return
    latent = run.latent_of_last()
    if latent is not None:
        params.pnginfo[latent_text.CHUNK] = latent_text.encode(latent)
