"""Start an ordinary run of the webui from a given latent: one that a PNG carries, or one of the data folder."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from lib_rankopt.errors import InvalidInputError, RankOptError
from lib_rankopt.hosts import latent_text
from lib_rankopt.hosts.webui import saving
from lib_rankopt.hosts.webui.noise import PresetFirstNoise

log = logging.getLogger("rankopt.hosts")

_MOST_BYTES = 64 * 2**20
KEPT_LABEL = "Rank-Optimize latent"  # as studies write it: whoever has the data folder can find it again
_FILE_LABEL = "Rank-Optimize start latent"


def use(p: Any, get: Callable[[], Tensor], name: str = "") -> None:
    """Let the batch of ``p`` start from the latent that ``get`` reads; say in its comments where that cannot be done.

    ``name`` is the latent's hash where it is one of the data folder.

    Another size than the latent's is made as the webui's *resize seed from* does: the latent in the middle, the seed's noise around it.
    """
    try:
        latent = get()
        if latent.shape[0] != p.rng.shape[0]:
            raise InvalidInputError(f"it has {latent.shape[0]} channels and this model's have {p.rng.shape[0]}")
    except RankOptError as error:
        log.warning("the start latent is not used: %s", error)
        p.comment(f"The start latent was not used: {error}")
        return
    saving.preset(p, PresetFirstNoise(p.rng, fitted(latent, p.rng)))
    if name:
        p.extra_generation_params[KEPT_LABEL] = name
    else:
        p.extra_generation_params[_FILE_LABEL] = sha256(latent.numpy().tobytes()).hexdigest()[:10]


def read(file: Any) -> Tensor:
    """Read the latent of an uploaded PNG, or of one in base64, as the webui's API gives files. Paths are not taken.

    Raises:
        InvalidInputError: not a PNG, without a latent, or with a damaged one.
    """
    name = getattr(file, "name", None)  # gradio's uploads have one, also where they are strings
    if name is None:
        try:
            data = base64.b64decode(file.partition("base64,")[2] or file, validate=True)
        except (AttributeError, ValueError) as error:
            raise InvalidInputError("the file is no PNG in base64") from error
    else:
        with Path(name).open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InvalidInputError(f"the file has more than {_MOST_BYTES // 2**20} MiB")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            text = image.info.get(latent_text.CHUNK)
            if text is None:
                image.load()  # the chunk may stand after the pixels
                text = image.info.get(latent_text.CHUNK)
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInputError("the file is no PNG that can be read") from error
    if not isinstance(text, str):
        raise InvalidInputError("the PNG carries no latent; only images made in Rank-Optimize do")
    return latent_text.decode(text)


def fitted(latent: Tensor, base: Any) -> Tensor:
    """Repeat a latent for every image of the batch, in the batch's size.

    Args:
        latent: ``[C, h, w]``.
        base: the webui's generator of the batch, which has not been used; a copy of it gives the noise around a smaller latent.
    """
    count, (_, height, width) = len(base.seeds), base.shape
    if latent.shape[1:] == (height, width):
        return latent.expand(count, -1, -1, -1)
    around: Tensor = type(base)(base.shape, base.seeds).next().float().cpu()
    h, w = min(height, latent.shape[1]), min(width, latent.shape[2])
    to_y, to_x = (height - h) // 2, (width - w) // 2
    from_y, from_x = (latent.shape[1] - h) // 2, (latent.shape[2] - w) // 2
    around[:, :, to_y : to_y + h, to_x : to_x + w] = latent[:, from_y : from_y + h, from_x : from_x + w]
    return around
