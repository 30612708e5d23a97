"""A start latent as one line of text, as a PNG carries it beside its parameters.

``rankopt-latent 1 4x64x64 f16 <sha256 of the bytes, 16 digits> <base64>``: little-endian float16, which moves no value by more than
0.05 %. A file may come from anywhere, so nothing in it is trusted: every part is checked before it is used.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = "rankopt-latent"
_SIGNATURE, _HEAD, _END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\x0dIHDR", b"\0\0\0\0IEND\xaeB`\x82"
_AFTER_HEAD = 8 + 4 + 4 + 13 + 4
_LINE = re.compile(r"rankopt-latent 1 (\d{1,4})x(\d{1,4})x(\d{1,4}) f16 ([0-9a-f]{16}) ([A-Za-z0-9+/]+={0,2})")
_MOST_CHANNELS, _MOST_SIDE = 64, 1024
_SHELL = 0.2  # how far the norm may be from √d: noise blended by hand is still a start


def encode(latent: Tensor) -> str:
    """Write a latent ``[C, h, w]``."""
    data = latent.detach().cpu().numpy().astype("<f2").tobytes()
    shape = "x".join(map(str, latent.shape))
    return f"rankopt-latent 1 {shape} f16 {sha256(data).hexdigest()[:16]} {base64.b64encode(data).decode()}"


def into_png(png: bytes, latent: Tensor) -> bytes:
    """Put a latent into a PNG as a text of its own; everything else stays byte for byte.

    Raises:
        InvalidInputError: no PNG, or one that is cut off.
    """
    if not png.startswith(_SIGNATURE + _HEAD) or not png.endswith(_END):
        raise InvalidInputError("The file is no whole PNG.")
    body = b"tEXt" + CHUNK.encode() + b"\0" + encode(latent).encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_AFTER_HEAD] + chunk + png[_AFTER_HEAD:]  # before the pixels, where readers look first


def decode(text: str) -> Tensor:
    """Read a latent: float32 ``[C, h, w]``.

    Raises:
        InvalidInputError: no such line, or one that is damaged or no noise of unit variance.
    """
    import numpy as np
    import torch

    match = _LINE.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError("This is no latent of Rank-Optimize, or one of a newer version.")
    shape = tuple(int(match[i]) for i in (1, 2, 3))
    if not (1 <= shape[0] <= _MOST_CHANNELS and all(1 <= side <= _MOST_SIDE for side in shape[1:])):
        raise InvalidInputError(f"A latent of {match[1]}×{match[2]}×{match[3]} is of no model.")
    try:
        data = base64.b64decode(match[5], validate=True)
    except binascii.Error as error:
        raise InvalidInputError("The latent is damaged.") from error
    count = shape[0] * shape[1] * shape[2]
    if len(data) != 2 * count or sha256(data).hexdigest()[:16] != match[4]:
        raise InvalidInputError("The latent is damaged: its bytes are not those that were written.")
    latent = torch.from_numpy(np.frombuffer(data, "<f2").astype(np.float32)).reshape(shape)
    norm = float(latent.double().norm()) / count**0.5
    if not abs(norm - 1.0) <= _SHELL:  # not-a-number fails too
        raise InvalidInputError(f"The latent is no noise of unit variance (its norm is {norm:.3g} of what it should be).")
    return latent
