"""The committed weights: size, scale, words, and pictures that the judges recognise."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load, save_file

from lib_rankopt.diffusion import conditioning, loading, noise, pocket, samplers, sampling
from lib_rankopt.diffusion.denoiser import CFGDenoiser, Conditioning, Denoiser
from lib_rankopt.diffusion.pocket.architecture import SCALE_FACTOR
from lib_rankopt.diffusion.pocket.judges import Judges
from lib_rankopt.errors import MissingDependencyError, ModelError

PROMPTS = [pocket.caption(c, s, b) for c, s, b in (
    ("fox", "3d", "blue"), ("apple", "sticker", "white"), ("robot", "sticker", "yellow"), ("frog", "3d", "pink"),
    ("heart", "3d", "black"), ("penguin", "sticker", "green"), ("car", "3d", "white"), ("star", "sticker", "purple"),
)]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return loading.load(pocket.checkpoint_path())


@pytest.fixture(scope="module")
@torch.inference_mode()
def pictures(model):
    """One picture of each of PROMPTS, (8, 3, 64, 64) in 0..1."""
    pairs = [conditioning.encode_prompts(model, prompt, "", (64, 64)) for prompt in PROMPTS]
    cond, uncond = (Conditioning(torch.cat([pair[i].context for pair in pairs])) for i in (0, 1))
    guided = CFGDenoiser(Denoiser(model.predict, model.schedule), cond, uncond, 4.0)
    plan = samplers.plan("DPM++ 2M", "Karras", 20, model.schedule)
    seeds = list(range(len(PROMPTS)))
    latents = sampling.sample(plan, guided, noise.start_noise(seeds, (4, 8, 8)), seeds)
    return (model.decode(latents) / 2 + 0.5).clamp(0, 1)


def test_everything_fits_into_24_megabytes():
    files = [path for path in pocket.POCKET_DIR.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 24e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".yaml"}


def test_no_heavy_import():
    code = (
        "import sys; import lib_rankopt.diffusion.pocket as p; p.checkpoint_path(); "
        "assert not {'torch', 'diffusers', 'transformers', 'open_clip', 'gradio', 'fastapi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_judges_recognise_generated_pictures(pictures):
    judges = pocket.load_judges()
    seen = judges(pictures).names()
    asked = [judges.target(prompt) for prompt in PROMPTS]
    assert sum(a[0] == s[0] for a, s in zip(asked, seen, strict=True)) >= 5
    assert sum(a[1] == s[1] for a, s in zip(asked, seen, strict=True)) >= 6
    assert sum(a[2] == s[2] for a, s in zip(asked, seen, strict=True)) >= 6


def test_judges_take_pictures_of_any_size(pictures):
    judges = pocket.load_judges()
    array = (pictures[0].permute(1, 2, 0) * 255).round().byte().numpy()
    image = Image.fromarray(array)
    scores = judges([image, image.resize((128, 128))])
    assert scores.concept.shape == (2, len(pocket.CONCEPTS))
    torch.testing.assert_close(scores.style.sum(1), torch.ones(2))
    assert scores.background.argmax(1).tolist()[0] == judges(pictures[:1]).background.argmax(1).item()
    assert judges([]).concept.shape == (0, len(pocket.CONCEPTS))
    assert judges.target("a street") is None


def test_latents_have_unit_scale(model, pictures):
    latents = model.vae.encode(pictures * 2 - 1).latent_dist.mean * SCALE_FACTOR
    assert model.config.scaling_factor == SCALE_FACTOR
    assert 0.8 < latents.std() < 1.25


def test_pocket_clip_tells_the_captions_apart(pictures):
    clip, preprocess, tokenize = pocket.load_clip()
    with torch.inference_mode():
        image = clip.encode_image(preprocess(pictures), normalize=True)
        text = clip.encode_text(tokenize(PROMPTS), normalize=True)
    assert ((image @ text.T).argmax(1) == torch.arange(len(PROMPTS))).sum() >= 6
    assert preprocess(Image.new("RGB", (200, 100))).shape == (3, 64, 64)


@pytest.mark.parametrize("prompt", ["", "a 3d fox on a blue background", "狐狸 🦊 \u0000 ñandú", "fox " * 2000, "(fox:1.3), [blue]"])
def test_text_output_has_a_mean_to_divide_by(model, prompt):
    context = conditioning.encode_prompts(model, prompt, "", (64, 64))[0].context
    assert torch.isfinite(context).all()
    assert context.mean().abs() > 0.1


def test_tokenizers_agree_on_any_text(model):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTokenizer.from_pretrained(pocket.tokenizer_dir())
    assert theirs.bos_token_id == len(theirs) - 2
    assert theirs.eos_token_id == theirs.pad_token_id == len(theirs) - 1
    for text in ("a 3d fox on a blue background", "Ünïcode 狐狸 🦊", "don't 1234 !!", "x" * 300):
        ids = theirs(text)["input_ids"]
        assert ids[1:-1] == model.tokenizers[0].encode(text)
        assert theirs.unk_token_id not in ids[1:-1]
    cut = theirs("fox " * 2000, truncation=True, max_length=77)["input_ids"]
    assert len(cut) == 77
    assert cut[-1] == theirs.eos_token_id


def test_clip_tokens_are_cut_to_its_context():
    _, _, tokenize = pocket.load_clip()
    ids = tokenize(["fox " * 2000, "", "🦊"])
    assert ids.shape == (3, 32)
    assert ids[0, -1] == ids[0].max()
    assert (ids[1] != 0).sum() == 2


@pytest.fixture
def copied(tmp_path):
    """A copy of the pocket's folder, to be broken."""
    return shutil.copytree(pocket.POCKET_DIR, tmp_path / "pocket")


def test_without_open_clip_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.setitem(sys.modules, "open_clip.model", None)
    with pytest.raises(MissingDependencyError, match="pip install open_clip_torch"):
        pocket.load_clip()


@pytest.mark.parametrize("name", ["clip", "judges"])
def test_broken_weights_are_a_model_error(name, copied):
    start = {"clip": pocket.load_clip, "judges": pocket.load_judges}[name]
    file = copied / f"{name}.safetensors"
    start(folder=copied)
    whole = load(file.read_bytes())
    key = max(whole, key=lambda n: whole[n].numel())
    for broken in ({n: t for n, t in whole.items() if n != key}, whole | {key: whole[key][:1].clone()}, whole | {"x": whole[key]}):
        save_file({n: t.clone() for n, t in broken.items()}, file)
        with pytest.raises(ModelError, match="does not fit"):
            start(folder=copied)
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        start(folder=copied)
    file.unlink()
    with pytest.raises(ModelError, match="is missing"):
        start(folder=copied)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_cfg": {"text_cfg": {"context_length": 32}}}'])
def test_a_broken_clip_configuration_is_a_model_error(text, copied):
    (copied / "clip_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"clip_config\.json"):
        pocket.load_clip(folder=copied)


def test_judges_of_other_words_are_refused(copied):
    words = json.loads((copied / "judges.json").read_text(encoding="utf-8"))
    words["concepts"][:2] = words["concepts"][1::-1]
    (copied / "judges.json").write_text(json.dumps(words), encoding="utf-8")
    with pytest.raises(ModelError, match="other words"):
        Judges.load(copied / "judges.safetensors")
    (copied / "judges.json").unlink()
    with pytest.raises(ModelError, match=r"judges\.json is missing"):
        Judges.load(copied / "judges.safetensors")
