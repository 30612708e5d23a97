"""One set of weights, two layouts: the single file read by diffusers' own conversion equals the exported folder."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from lib_rankopt.diffusion import loading, pocket
from lib_rankopt.diffusion.pocket import architecture, export, layout

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def state():
    return load_file(pocket.checkpoint_path())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return export.export_diffusers(tmp_path_factory.mktemp("pocket"))


def filled(module, state):
    missing, unexpected = module.load_state_dict({n: t.float() for n, t in state.items()}, strict=False)
    assert not [n for n in missing if not n.endswith("position_ids")]
    assert not unexpected
    return module.eval()


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def test_unet_of_file_equals_folder(state, folder):
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = dict(diffusers.UNet2DConditionModel(**architecture.UNET_CONFIG).config)
    part = {n: t for n, t in state.items() if n.startswith(layout.UNET)}
    mine = filled(diffusers.UNet2DConditionModel(**architecture.UNET_CONFIG), convert_ldm_unet_checkpoint(part, config))
    other = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet").eval()
    x, t, context = random(3, 4, 8, 8), torch.tensor([10, 500, 999]), random(3, 77, architecture.CONTEXT)
    torch.testing.assert_close(mine(x, t, context).sample, other(x, t, context).sample, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_vae_of_file_equals_folder(state, folder):
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    config = dict(diffusers.AutoencoderKL(**architecture.VAE_CONFIG).config)
    part = {n: t for n, t in state.items() if n.startswith(layout.VAE)}
    mine = filled(diffusers.AutoencoderKL(**architecture.VAE_CONFIG), convert_ldm_vae_checkpoint(part, config))
    other = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae").eval()
    x, z = random(2, 3, 64, 64).clamp(-1, 1), random(2, 4, 8, 8) * 5
    torch.testing.assert_close(mine.encode(x).latent_dist.mean, other.encode(x).latent_dist.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(mine.decode(z).sample, other.decode(z).sample, rtol=0, atol=1e-5)
    assert other.config.scaling_factor == architecture.SCALE_FACTOR


@torch.inference_mode()
def test_text_encoder_of_file_equals_folder(state, folder):
    config = transformers.CLIPTextConfig.from_pretrained(pocket.tokenizer_dir())
    mine = transformers.CLIPTextModel(config)
    part = {n.removeprefix(layout.TEXT): t for n, t in state.items() if n.startswith(layout.TEXT)}
    if not hasattr(mine, "text_model"):
        part = {n.removeprefix("text_model."): t for n, t in part.items()}
    mine = filled(mine, part)
    other = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    texts = ["a 3d fox on a blue background", "", "a sticker robot"]
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    torch.testing.assert_close(mine(ids).last_hidden_state, other(ids).last_hidden_state, rtol=0, atol=1e-5)
    assert (mine(ids).last_hidden_state[0] - mine(ids).last_hidden_state[2]).abs().max() > 0.1


def test_names_go_there_and_back(state):
    again = layout.to_ldm(*layout.from_ldm(state))
    assert set(again) == set(state)
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_yaml_describes_the_file(state):
    yaml = pytest.importorskip("yaml")
    text = pocket.checkpoint_path().with_suffix(".yaml").read_text(encoding="utf-8")
    assert text == layout.ldm_yaml("tokenizer")
    values = yaml.safe_load(text)["model"]["params"]
    assert values["scale_factor"] == architecture.SCALE_FACTOR
    first = state[f"{layout.UNET}input_blocks.0.0.weight"]
    assert first.shape[0] == values["unet_config"]["params"]["model_channels"]


def test_whole_pipeline_loads_and_paints(folder):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(0)
    image = pipeline("a 3d fox", height=64, width=64, num_inference_steps=2, generator=seed, output_type="np").images[0]
    assert image.shape == (64, 64, 3)


@torch.inference_mode()
def test_folders_with_the_old_names_of_the_vaes_attention_load(folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "old")
    file = old / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    pattern = re.compile(r"(?<=\.attentions\.0\.)(to_q|to_k|to_v|to_out\.0)")
    state = {pattern.sub(lambda match: names[match[0]], name): t for name, t in load(file.read_bytes()).items()}
    assert sum(".query." in name for name in state) == 4, "weight and bias, in the encoder and the decoder"
    save_file(state, file)
    mine, other = loading.load(folder), loading.load(old)
    x, z = random(2, 3, 64, 64).clamp(-1, 1), random(2, 4, 8, 8)
    assert torch.equal(mine.decode(z), other.decode(z))
    assert torch.equal(mine.vae.encode(x).latent_dist.mean, other.vae.encode(x).latent_dist.mean)


def test_webui_export(tmp_path):
    (tmp_path / "models" / "Stable-diffusion").mkdir(parents=True)
    target = export.export_webui(tmp_path)
    assert target == tmp_path / "models" / "Stable-diffusion" / "pocket.safetensors"
    assert target.read_bytes() == pocket.checkpoint_path().read_bytes()
    yaml = target.with_suffix(".yaml").read_text(encoding="utf-8")
    version = json.loads(yaml.rsplit("version: ", 1)[1])
    assert {path.name for path in Path(version).iterdir()} >= {"config.json", "vocab.json", "merges.txt"}
    assert not list(target.parent.glob(".*"))
