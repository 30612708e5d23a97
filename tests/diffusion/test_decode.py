"""Decoding and previews."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import decode as decoding
from lib_rankopt.diffusion.decode import decode, encode, preview
from lib_rankopt.diffusion.loading import StableDiffusion, load
from lib_rankopt.errors import GenerationError


def latent(seed: int = 0) -> Tensor:
    return torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed))


def test_a_picture_is_the_decoders_range_in_bytes(
    tiny_model: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(1, 3, 1, 5)
    monkeypatch.setattr(tiny_model.vae, "decode", lambda z, return_dict: (levels,))
    picture = np.asarray(decode(tiny_model, latent()))
    assert picture.shape == (1, 5, 3)
    assert picture[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_the_latent_is_unscaled_before_decoding(tiny_model: StableDiffusion) -> None:
    expected = tiny_model.vae.decode(latent()[None] / 0.18215).sample[0]
    picture = torch.from_numpy(np.asarray(decode(tiny_model, latent())).copy()).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(picture, expected.clamp(-1, 1), rtol=0, atol=0.005)


def test_a_vae_that_overflows_in_half_precision_goes_on_in_float32(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_path, dtype=torch.bfloat16)
    real = model.vae.decode

    def overflows(z: Tensor, return_dict: bool) -> Any:
        return real(z, return_dict=return_dict) if z.dtype == torch.float32 else (z[:, :3] * torch.inf,)

    monkeypatch.setattr(model.vae, "decode", overflows)
    picture = decode(model, latent())
    assert np.asarray(picture).std() > 1
    assert next(model.vae.parameters()).dtype == torch.float32


def test_a_vae_that_overflows_in_float32_is_an_error(
    tiny_model: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_model.vae, "decode", lambda z, return_dict: (z[:, :3] * torch.nan,))
    with pytest.raises(GenerationError, match="VAE returned"):
        decode(tiny_model, latent())


def test_tiny_vaes_preview_by_decoding(tiny_model: StableDiffusion) -> None:
    assert np.array_equal(np.asarray(preview(tiny_model, latent())), np.asarray(decode(tiny_model, latent())))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_large_vaes_preview_by_a_linear_map(
    family: str, tiny_model: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_TINY_VAE", 0)
    model = replace(tiny_model, config=replace(tiny_model.config, family=family))
    picture = np.asarray(preview(model, latent()))
    assert picture.shape == (8, 8, 3)
    one = torch.zeros(4, 8, 8)
    one[0] = 1.0
    expected = {"sd1": (0.298, 0.207, 0.208), "sdxl": (0.3448, 0.4168, 0.4395)}[family]
    shown = np.asarray(preview(model, one))[0, 0] / 127.5 - 1
    assert shown.tolist() == pytest.approx(expected, abs=0.005)


def test_a_preview_survives_not_a_number(tiny_model: StableDiffusion) -> None:
    assert preview(tiny_model, latent() * torch.nan).size == (64, 64)


def test_a_picture_is_encoded_to_the_mean_of_its_latents(tiny_model: StableDiffusion) -> None:
    image = decode(tiny_model, latent())
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    expected = tiny_model.vae.encode(pixels).latent_dist.mean[0] * 0.18215
    found = encode(tiny_model, image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_encoder_that_returns_nothing_finite_is_an_error(tiny_model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    image = decode(tiny_model, latent())
    nothing = SimpleNamespace(mode=lambda: torch.full((1, 4, 8, 8), float("nan")))
    monkeypatch.setattr(tiny_model.vae, "encode", lambda pixels, return_dict: (nothing,))
    with pytest.raises(GenerationError, match="the VAE returned not-a-number"):
        encode(tiny_model, image)
