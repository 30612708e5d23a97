"""The latent as text: what comes back, and what is refused."""

from __future__ import annotations

import base64
import io
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.hosts.latent_text import CHUNK, decode, encode, into_png


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def line(data: bytes, shape: str = "4x8x8") -> str:
    return f"rankopt-latent 1 {shape} f16 {sha256(data).hexdigest()[:16]} {base64.b64encode(data).decode()}"


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 64, 64), (16, 128, 96)])
def test_it_comes_back_within_half_precision(shape: tuple[int, ...]) -> None:
    latent = noise(*shape)
    text = encode(latent)
    again = decode(f" {text}\n")
    assert again.dtype == torch.float32
    assert torch.equal(again, latent.half().float())
    assert encode(again) == text
    assert len(text) < 2.8 * latent.numel() + 100


def test_a_png_takes_it_and_keeps_everything_else() -> None:
    file, chunks = io.BytesIO(), PngInfo()
    chunks.add_text("parameters", "a fox\nSteps: 3")
    Image.new("RGB", (8, 8), "red").save(file, "PNG", pnginfo=chunks)
    latent = noise(4, 8, 8)
    whole = into_png(file.getvalue(), latent)
    assert len(whole) == len(file.getvalue()) + 12 + len(CHUNK) + 1 + len(encode(latent))
    with Image.open(io.BytesIO(whole)) as image:
        image.load()
        assert image.getpixel((0, 0)) == (255, 0, 0)
        assert image.info["parameters"] == "a fox\nSteps: 3"
        assert torch.equal(decode(image.info[CHUNK]), latent.half().float())
    for bad in (b"", b"GIF89a", file.getvalue()[:-4]):
        with pytest.raises(InvalidInputError, match="no whole PNG"):
            into_png(bad, latent)


def test_what_is_foreign_or_damaged_is_refused() -> None:
    good = encode(noise(4, 8, 8))
    data = base64.b64decode(good.split()[-1])
    values = np.frombuffer(data, "<f2")
    bad = {
        "no latent": ["", "a fox", good.replace(" 1 ", " 2 "), good.replace("f16", "f32"), good + " more", good[:-4] + "!!!!"],
        "of no model": [line(data, "0x8x8"), line(data, "9999x8x8"), line(data, "4x8x2000")],
        "damaged": [good.replace("4x8x8", "4x8x9"), line(data[:-2]), line(data[:-1])],
        "unit variance": [
            line((values * 2).astype("<f2").tobytes()),
            line(np.full_like(values, np.nan).tobytes()),
            line(np.full_like(values, np.inf).tobytes()),
            line(np.zeros_like(values).tobytes()),
        ],
    }
    for words, texts in bad.items():
        for text in texts:
            with pytest.raises(InvalidInputError, match=words):
                decode(text)
    flipped = good.split()
    flipped[4] = "0" * 16
    with pytest.raises(InvalidInputError, match="damaged"):
        decode(" ".join(flipped))
