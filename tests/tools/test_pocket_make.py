"""The build at miniature scale: every stage runs, resumes, and leaves files that load."""

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("open_clip")

from lib_rankopt.diffusion import loading
from lib_rankopt.diffusion.pocket import CONCEPTS, STYLES
from lib_rankopt.diffusion.pocket.judges import Judges
from tools.pocket import captions, make, render, vae
from tools.pocket.art import CANVAS
from tools.pocket.plan import tiny


@pytest.fixture(scope="module")
def sprites():
    """Discs of random colours in place of the art, which comes from the network."""
    rng = np.random.default_rng(0)
    axis = np.arange(CANVAS) - CANVAS / 2
    disc = axis[:, None] ** 2 + axis[None] ** 2 < (CANVAS / 3) ** 2
    sprites = np.zeros((len(CONCEPTS), len(STYLES), CANVAS, CANVAS, 4), np.uint8)
    sprites[..., :3] = rng.integers(0, 255, (len(CONCEPTS), len(STYLES), 1, 1, 3))
    sprites[..., 3] = disc * 255
    return sprites


def test_whole_build(tmp_path, sprites):
    plan = tiny(tmp_path / "work", tmp_path / "out")
    np.save(plan.file("sprites.npy"), sprites)
    make.run(plan, list(make.STAGES))
    model = loading.load(plan.out / "pocket.safetensors")
    assert torch.isfinite(model.decode(torch.zeros(1, 4, 8, 8))).all()
    assert Judges.load(plan.out / "judges.safetensors")(torch.rand(2, 3, 64, 64)).style.shape == (2, len(STYLES))
    before = (plan.out / "pocket.safetensors").stat().st_mtime_ns
    make.run(plan, list(make.STAGES))
    assert (plan.out / "pocket.safetensors").stat().st_mtime_ns == before, "finished stages run once"


def test_renders_follow_the_seed(sprites):
    renderer = render.Renderer(sprites)
    first, scenes = render.save_renders(renderer, 6, seed=3)
    again, _ = render.save_renders(renderer, 6, seed=3, chunk=4)
    other, _ = render.save_renders(renderer, 6, seed=4)
    assert first.shape == (6, 3, 64, 64)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(scenes) == 6


def test_scaled_latents_decode_to_the_same_picture(sprites):
    pictures, _ = render.save_renders(render.Renderer(sprites), 64, seed=1)
    torch.manual_seed(0)
    model = vae.AutoencoderKL(**vae.VAE_CONFIG).eval().requires_grad_(False)
    sample = vae.to_input(pictures[:4])
    before = model.decode(model.encode(sample).latent_dist.mean).sample
    vae.scale_latents(model, pictures, "cpu")
    after = model.encode(sample).latent_dist
    torch.testing.assert_close(model.decode(after.mean).sample, before, atol=2e-3, rtol=0)
    means, deviations = vae.encode(model, pictures, "cpu")
    total = means.float().var((0, 2, 3)) + deviations.float().square().mean((0, 2, 3))
    torch.testing.assert_close(total, torch.ones(4), atol=0.05, rtol=0)


def test_captions_say_what_is_wanted():
    rng = np.random.default_rng(0)
    for _ in range(500):
        full = (int(rng.integers(len(CONCEPTS))), int(rng.integers(len(STYLES))), 3)
        wanted = captions.drop_words(full, rng)
        text = captions.varied_caption(wanted, rng)
        for word in captions.words_of(wanted):
            assert word is None or word in text
