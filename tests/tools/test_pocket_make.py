"""The build at miniature scale: every stage runs, resumes, and leaves files that load."""

import json
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("open_clip")

from lib_rankopt.diffusion import loading
from lib_rankopt.diffusion.pocket import CONCEPTS, STYLES
from lib_rankopt.diffusion.pocket.judges import Judges
from lib_rankopt.errors import ModelError
from tools.pocket import art, captions, make, render, report, text, unet, vae
from tools.pocket.art import CANVAS
from tools.pocket.plan import Plan, default_plan, tiny


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


@pytest.fixture(scope="module")
def plan(tmp_path_factory, sprites) -> Plan:
    """A finished build."""
    plan = tiny(tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out"))
    np.save(plan.file("sprites.npy"), sprites)
    make.run(plan, list(make.STAGES))
    return plan


def test_whole_build(plan):
    model = loading.load(plan.out / "pocket.safetensors")
    assert torch.isfinite(model.decode(torch.zeros(1, 4, 8, 8))).all()
    assert Judges.load(plan.out / "judges.safetensors")(torch.rand(2, 3, 64, 64)).style.shape == (2, len(STYLES))
    before = (plan.out / "pocket.safetensors").stat().st_mtime_ns
    make.run(plan, list(make.STAGES))
    assert (plan.out / "pocket.safetensors").stat().st_mtime_ns == before, "finished stages run once"


def test_the_report_measures_the_build(plan, capsys, monkeypatch):
    folders, load = [], loading.load
    monkeypatch.setattr(report.loading, "load", lambda path, device: folders.append(path.parent) or load(path, device))
    monkeypatch.setattr(report, "contact_sheet", lambda painter, path: path.write_bytes(b"sheet"))
    committed = report.SHEET.stat().st_mtime_ns if report.SHEET.is_file() else None
    report.write(plan, report.Settings(images=2, steps=2, batch=2), report.sheet_of(plan))
    figures = json.loads(capsys.readouterr().out)
    assert folders == [plan.out]
    assert figures["megabytes"] == round(sum(f.stat().st_size for f in plan.out.rglob("*") if f.is_file()) / 1e6, 2)
    assert (plan.work / "pocket_contact_sheet.jpg").read_bytes() == b"sheet"
    assert committed == (report.SHEET.stat().st_mtime_ns if report.SHEET.is_file() else None)


def test_the_report_uses_the_judges_and_the_clip_of_the_build(plan, tmp_path):
    painted = report.Painted(torch.rand(1, 3, 64, 64), [(0, 0, 0)])
    assert set(report.judged(plan, painted)) == {"concept", "style", "background", "all"}
    empty = tiny(tmp_path, tmp_path / "out")
    np.save(empty.file("sprites.npy"), np.load(plan.file("sprites.npy")))
    for measure in (
        lambda: report.judged(empty, painted),
        lambda: report.real_figures(empty),
        lambda: report.Painter(empty, report.Settings()),
    ):
        with pytest.raises(ModelError, match="is missing"):
            measure()


@pytest.mark.parametrize("module", [make, report])
def test_the_command_line_passes_folder_and_device_on_to_the_report(module, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(report, "write", lambda plan, settings, sheet: seen.append((plan, sheet)))
    options = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--device", "meta"]
    stage = ["--stage", "report"] if module is make else []
    monkeypatch.setattr(sys, "argv", [module.__name__, *stage, *options])
    module.main()
    ((plan, sheet),) = seen
    assert (plan.work, plan.out, plan.device) == (tmp_path / "work", tmp_path / "out", "meta")
    assert sheet == tmp_path / "work" / "pocket_contact_sheet.jpg"


def test_only_the_committed_model_is_shown_in_the_documentation(tmp_path):
    assert report.sheet_of(default_plan(tmp_path)) == report.SHEET
    assert report.sheet_of(default_plan(tmp_path, tmp_path / "out")) != report.SHEET


def test_redo_trains_the_unet_again_from_the_beginning(plan, monkeypatch):
    first, real = [], unet.train
    monkeypatch.setattr(text, "encode_texts", lambda model, tokenizer, texts, device: torch.zeros(len(texts), 77, 64).half())
    monkeypatch.setattr(unet, "train", lambda *args, **options: first.append(options["first"]) or real(*args, **options))
    make.run(plan, ["unet"])
    assert first == []
    make.run(plan, ["unet"], redo=True)
    assert first == [0]
    assert plan.file("unet.done").is_file()


def test_redo_makes_the_art_and_the_tokenizer_again(plan, sprites, tmp_path, monkeypatch):
    other = tiny(tmp_path / "work", tmp_path / "out")
    np.save(other.file("sprites.npy"), sprites)
    make.run(other, ["art"])
    assert other.file("art.done").is_file()

    def offline(*args):
        raise art.ArtError("no network in the tests")

    monkeypatch.setattr(art, "npm_package", offline)
    with pytest.raises(art.ArtError, match="no network"):
        make.run(other, ["art"], redo=True)
    assert not other.file("art.done").is_file(), "what was begun anew is not finished"
    vocabulary = other.out / "tokenizer" / "vocab.json"
    vocabulary.parent.mkdir(parents=True)
    vocabulary.write_text("{}")
    make.run(other, ["text"], redo=True)
    assert vocabulary.read_bytes() == (plan.out / "tokenizer" / "vocab.json").read_bytes()


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
        said = captions.varied_caption(wanted, rng)
        for word in captions.words_of(wanted):
            assert word is None or word in said
