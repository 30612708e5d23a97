"""Small random Stable Diffusion checkpoints in the original layout, built in a second."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from lib_rankopt.diffusion.tokenizer import END, START, clip_tokenizer
from tests.diffusion import ldm_layout
from tests.diffusion.ldm_layout import Shapes, UNetLayout

WIDTH = 32
UNET = UNetLayout(channels=32, mults=(1, 2, 2, 2), context=WIDTH)

YAML = """\
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    image_size: 8
    channels: 4
    scale_factor: 0.18215
    parameterization: {parameterization}
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 8
        in_channels: 4
        out_channels: 4
        model_channels: 32
        attention_resolutions: [ 4, 2, 1 ]
        num_res_blocks: 2
        channel_mult: [ 1, 2, 2, 2 ]
        num_heads: 4
        use_spatial_transformer: True
        transformer_depth: 1
        context_dim: 32
        legacy: False
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        ddconfig:
          double_z: true
          z_channels: 4
          resolution: 64
          in_channels: 3
          out_ch: 3
          ch: 32
          ch_mult: [ 1, 1, 1, 1 ]
          num_res_blocks: 1
          attn_resolutions: []
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {version}
"""


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Weights that keep activations near unit size."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sorted(shapes.items()):
        if name.endswith("position_ids"):
            state[name] = torch.arange(77)[None]
            continue
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1 and name.endswith("weight"):
            state[name] = 1 + 0.1 * noise
        elif name.endswith("bias"):
            state[name] = 0.1 * noise
        elif "embed" in name and len(shape) == 2:
            state[name] = 0.5 * noise
        else:
            state[name] = noise / max(1, torch.Size(shape[1:]).numel()) ** 0.5
    return state


def tiny_shapes() -> Shapes:
    text = ldm_layout.clip_text(WIDTH, 3, len(clip_tokenizer().vocabulary), hidden=64)
    return ldm_layout.unet(UNET) | ldm_layout.vae(32, (1, 1, 1, 1), 1) | text


def write_tokenizer(folder: Path) -> None:
    """CLIP's vocabulary as transformers' files, with the text encoder's configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = clip_tokenizer()
    (folder / "vocab.json").write_text(json.dumps(tokenizer.vocabulary, ensure_ascii=False), encoding="utf-8")
    merges = sorted(tokenizer._ranks, key=tokenizer._ranks.__getitem__)
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps({**special, "model_max_length": 77}))
    config = {
        "vocab_size": 49408,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "projection_dim": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "model_type": "clip_text_model",
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_checkpoint(folder: Path, name: str = "tiny", seed: int = 0, parameterization: str = "eps") -> Path:
    """Write ``name.safetensors`` with its ``.yaml`` and tokenizer folder; returns the file."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer").is_dir():
        write_tokenizer(folder / "tokenizer")
    (folder / f"{name}.yaml").write_text(YAML.format(parameterization=parameterization, version="tokenizer"))
    state = random_state(tiny_shapes(), seed)
    # pictures of mid contrast, and a visible effect of the prompt
    state["first_stage_model.decoder.conv_out.weight"] *= 0.3
    save_file(state, str(folder / f"{name}.safetensors"))
    return folder / f"{name}.safetensors"
