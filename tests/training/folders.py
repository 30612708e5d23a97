"""Small random models as diffusers folders, as their pipelines write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.diffusion import tiny

_CHANNELS = {"sd2": [32, 64, 64, 64], "sdxl": [32, 64, 64]}
_WIDTHS = {"sd2": (1024,), "sdxl": (32, 64)}  # SD2 is known by this width; SDXL by its pipeline
_PIPELINES = {"sd2": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


def write_folder(family: str, folder: Path, prediction: str = "epsilon") -> Path:
    """Write a whole model of ``sd2`` or ``sdxl`` for pictures of 64 px; return its folder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from lib_rankopt.diffusion import config

    shape = config.bundled(family)
    channels = _CHANNELS[family]
    heads = [width // 16 for width in channels]
    unet = {**shape.unet, "block_out_channels": channels, "cross_attention_dim": sum(_WIDTHS[family]), "sample_size": 8}
    unet |= {"attention_head_dim": heads, "layers_per_block": 2 if family == "sdxl" else 1}  # the names of SDXL's layers count them
    if family == "sdxl":
        unet |= {"transformer_layers_per_block": [1, 1, 2], "projection_class_embeddings_input_dim": 6 * 256 + 64}
    vae = {**shape.vae, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        UNet2DConditionModel(**unet).save_pretrained(folder / "unet")
        AutoencoderKL(**vae).save_pretrained(folder / "vae")
        for number, width in enumerate(_WIDTHS[family]):
            _write_text(folder, "_2" if number else "", width)
    (folder / "scheduler").mkdir()
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({**noise, "prediction_type": prediction}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": _PIPELINES[family]}))
    return folder


def _write_text(folder: Path, number: str, width: int) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    values: dict[str, Any] = {
        "vocab_size": 49408, "hidden_size": width, "intermediate_size": 64, "projection_dim": width, "num_hidden_layers": 2,
        "num_attention_heads": 2, "bos_token_id": 49406, "eos_token_id": 49407,
    }  # fmt: skip
    kind = CLIPTextModelWithProjection if number else CLIPTextModel
    kind(CLIPTextConfig(**values)).half().save_pretrained(folder / f"text_encoder{number}")
    tiny.write_tokenizer(folder / f"tokenizer{number}")
