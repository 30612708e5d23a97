"""Small random checkpoints in the exact layouts of the published ones."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor

SIDE = 28
TOWER = {"width": 128, "layers": 2, "head_width": 64, "patch_size": 14, "image_size": SIDE}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
EMBEDDING = 32


def seeded(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Fill a model with numbers that make its answers depend on everything: fresh weights are too small for that."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if name == "logit_scale":
                one.fill_(4.6052)
                continue
            fan_in = one.shape[1:].numel() if one.ndim > 1 else 0
            one.copy_(torch.randn(one.shape, generator=generator) * (fan_in**-0.5 if fan_in else 0.3))
            if one.ndim == 1 and name.endswith("weight"):
                one.add_(1.0)
    return model.eval()


def open_clip_model(seed: int = 0, quick_gelu: bool = False) -> Any:
    """A small open_clip CLIP."""
    return seeded(CLIP(EMBEDDING, TOWER, TEXT, quick_gelu=quick_gelu), seed)


def transformers_model(seed: int = 0, act: str = "gelu") -> Any:
    """A small CLIP of transformers."""
    from transformers import CLIPConfig, CLIPModel

    common = {"num_hidden_layers": 2, "hidden_act": act, "projection_dim": EMBEDDING}
    text = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "vocab_size": 49408, "eos_token_id": 49407, **common}
    vision = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2, "patch_size": 14, "image_size": SIDE, **common}
    return seeded(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING)), seed)


def tensors_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Its tensors, each with memory of its own."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}


def save_open_clip(path: Path, model: torch.nn.Module) -> Path:
    """As HPS' ``.pt`` files have them, below ``state_dict``, or as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pt":
        torch.save({"state_dict": tensors_of(model), "epoch": 1}, path)
    else:
        save_file(tensors_of(model), path)
    return path


def save_transformers(path: Path, model: torch.nn.Module) -> Path:
    """As ``model.safetensors`` in a folder of transformers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors_of(model), path)
    return path


def aesthetic_layers(seed: int = 0) -> torch.nn.Sequential:
    """The improved aesthetic predictor's layers with its published names, for small embeddings."""
    widths = (EMBEDDING, 1024, 128, 64, 16, 1)
    linear = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    drop = torch.nn.Dropout
    return seeded(torch.nn.Sequential(linear[0], drop(0.2), linear[1], drop(0.2), linear[2], drop(0.1), linear[3], linear[4]), seed)  # type: ignore[return-value]


def save_all(folder: Path) -> Path:
    """Every CLIP-like scorer's files below ``folder/scorers``."""
    home = folder / "scorers"
    save_open_clip(home / "HPS_v2.1_compressed.pt", open_clip_model(1))
    save_open_clip(home / "HPS_v2_compressed.pt", open_clip_model(2))
    save_open_clip(home / "hpc.pt", open_clip_model(3, quick_gelu=True))
    save_transformers(home / "PickScore_v1" / "model.safetensors", transformers_model(4))
    save_transformers(home / "clip-vit-large-patch14" / "model.safetensors", transformers_model(5, "quick_gelu"))
    save_open_clip(home / "CLIP-ViT-H-14-laion2B-s32B-b79K" / "open_clip_pytorch_model.safetensors", open_clip_model(6))
    layers = aesthetic_layers(7)
    torch.save({f"layers.{name}": tensor for name, tensor in layers.state_dict().items()}, home / "sac+logos+ava1-l14-linearMSE.pth")
    torch.save(seeded(torch.nn.Linear(EMBEDDING, 1), 8).state_dict(), home / "sa_0_4_vit_l_14_linear.pth")
    return folder
