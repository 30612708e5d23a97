"""Writes the pocket model for other programs: as a diffusers folder, or into a webui's folder of checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from lib_rankopt.diffusion.pocket import layout
from lib_rankopt.diffusion.pocket.architecture import SCHEDULER_CONFIG, UNET_CONFIG, VAE_CONFIG
from lib_rankopt.diffusion.pocket.paths import checkpoint_path, tokenizer_dir

_TOKENIZER_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")


def _put(path: Path, data: bytes) -> None:
    """Writes `path` under a temporary name first, so that it is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _put_json(path: Path, value: dict[str, Any]) -> None:
    _put(path, (json.dumps(value, indent=2) + "\n").encode())


def _put_tensors(path: Path, state: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary, metadata={"format": "pt"})
    temporary.replace(path)


def export_diffusers(folder: str | Path) -> Path:
    """Writes a `StableDiffusionPipeline` folder (float16 weights, as they are stored) and returns it."""
    folder = Path(folder)
    unet, vae, text = layout.from_ldm(load_file(checkpoint_path()))
    _put_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors", unet)
    _put_json(folder / "unet" / "config.json", {"_class_name": "UNet2DConditionModel", **UNET_CONFIG})
    _put_tensors(folder / "vae" / "diffusion_pytorch_model.safetensors", vae)
    _put_json(folder / "vae" / "config.json", {"_class_name": "AutoencoderKL", **VAE_CONFIG})
    _put_tensors(folder / "text_encoder" / "model.safetensors", text)
    _put(folder / "text_encoder" / "config.json", (tokenizer_dir() / "config.json").read_bytes())
    for name in _TOKENIZER_FILES:
        _put(folder / "tokenizer" / name, (tokenizer_dir() / name).read_bytes())
    scheduler = {"_class_name": "PNDMScheduler", **SCHEDULER_CONFIG, "skip_prk_steps": True, "trained_betas": None}
    _put_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.29.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    _put_json(folder / "model_index.json", index)
    return folder


def export_webui(folder: str | Path) -> Path:
    """Writes checkpoint, `.yaml` and tokenizer into a webui and returns the checkpoint's path.

    Args:
        folder: the webui's root, or its folder of checkpoints itself.
    """
    folder = Path(folder)
    models = folder / "models" / "Stable-diffusion"
    target = models if models.is_dir() or (folder / "webui.py").is_file() else folder
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = target / "pocket-tokenizer"
    for source in sorted(tokenizer_dir().iterdir()):
        _put(tokenizer / source.name, source.read_bytes())
    _put(target / "pocket.yaml", layout.ldm_yaml(json.dumps(str(tokenizer.resolve()))).encode())
    temporary = target / ".pocket.safetensors.tmp"
    shutil.copyfile(checkpoint_path(), temporary)
    temporary.replace(target / "pocket.safetensors")
    return target / "pocket.safetensors"
