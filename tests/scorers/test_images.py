"""Pixels in any form become the same batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.scorers.images import as_images, as_rgb, cropped, fitted, padded


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


SIZES = [(64, 64), (90, 40), (33, 71), (1, 1), (28, 28), (27, 200)]


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    """Noise in a mode."""
    rng = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, size[::-1], dtype=np.uint16))
    if mode == "RGBA":
        return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8))
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16"])
def test_the_crop_is_torchvisions_on_pictures(mode: str, size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Compose(
        [transforms.Resize(28, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(28), transforms.ToTensor()]
    )
    image = picture(mode, size)
    assert torch.equal(cropped(image, 28), theirs(as_rgb(image)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16"])
def test_the_fitted_picture_is_pils_to_a_rounding_and_padded_with_zeros(mode: str, size: tuple[int, int]) -> None:
    image = picture(mode, size)
    found = fitted(image, 28)
    scale = 28 / max(size)
    inner = [max(1, round(side * scale)) for side in size]
    left, top = (28 - inner[0]) // 2, (28 - inner[1]) // 2
    expected = torch.zeros(3, 28, 28)
    small = torch.from_numpy(np.array(as_rgb(image).resize((inner[0], inner[1]), Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
    expected[:, top : top + inner[1], left : left + inner[0]] = small
    # PIL rounds to 8 bits after each of its two passes, and cuts off what leaves them; tensors do neither
    assert (found.clamp(0, 1) - expected).abs().max() < (0.02 if size != (28, 28) else 1e-6)
    outside = torch.ones(28, 28, dtype=torch.bool)
    outside[top : top + inner[1], left : left + inner[0]] = False
    assert not found[:, outside].any()


def test_a_picture_of_another_shape_than_all_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="too long and narrow"):
        cropped(Image.new("RGB", (5000, 1)), 224)
