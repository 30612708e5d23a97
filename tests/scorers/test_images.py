"""Pixels in any form become the same batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.scorers.images import as_images, as_rgb, padded


def test_tensor_and_pil_agree() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    assert torch.equal(padded(as_images(tensor)[0], 64), padded(Image.fromarray(pixels), 64))


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert as_rgb(clear).getpixel((3, 3)) == (255, 255, 255)
    palette = Image.new("P", (8, 8), 0)
    palette.info["transparency"] = 0
    assert as_rgb(palette).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((4, 4), 32_896, dtype=np.uint16))
    assert as_rgb(grey).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("size", [(1, 1), (100, 20), (7, 300), (64, 64)])
def test_any_size_is_fitted_whole(size: tuple[int, int]) -> None:
    batch = padded(Image.new("RGB", size, "black"), 64)
    assert batch.shape == (3, 64, 64)
    covered = float((batch < 0.5).float().mean())
    assert covered == pytest.approx(min(size) / max(size), abs=0.03)


def test_refusals() -> None:
    with pytest.raises(InvalidInputError, match="shape"):
        as_images(torch.zeros(3, 8, 8))
    with pytest.raises(InvalidInputError, match="NaN"):
        as_images(torch.full((1, 3, 8, 8), torch.nan))
