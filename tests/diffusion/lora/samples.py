"""What the tests of LoRA files share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.lora.file import LoraModule
from lib_rankopt.diffusion.lora.targets import Target

CONFIGS = Path(file.__file__).resolve().parents[1] / "configs"
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
LINEAR, CONV = f"{BLOCK}.attn1.to_q", "down_blocks.0.attentions.0.proj_in"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@cache
def unet_config(family: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{family}.json").read_text())["unet"]
    return config


@cache
def outline(family: str) -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        return diffusers.UNet2DConditionModel.from_config(unet_config(family))


@cache
def layer_paths(family: str, kind: str) -> tuple[str, ...]:
    layers = [name for name, module in outline(family).named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    full = [name for name in layers if ".attentions." in name]
    return tuple({"all": layers, "full": full, "attention": [name for name in full if name.endswith(ATTENTION)]}[kind])


def some_modules(rank: int = 4, alpha: float = 6.0) -> dict[str, LoraModule]:
    noise = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=noise) * 0.1

    return {
        LINEAR: LoraModule(normal(rank, 12), normal(10, rank), alpha),
        CONV: LoraModule(normal(rank, 12, 1, 1), normal(10, rank, 1, 1), alpha),
    }


def random_lora(targets: Mapping[str, Target], rank: int = 2, alpha: float = 3.0, seed: int = 0, size: float = 0.2) -> dict[str, Tensor]:
    """A file's tensors that change all of these weights, by the names given, each by about ``size`` of its own spread."""
    noise = torch.Generator().manual_seed(seed)
    state = {}
    for name, target in targets.items():
        out, *inside = target.shape
        fan_in = math.prod(inside)
        state[f"{name}.{file.DOWN}"] = torch.randn(rank, *inside, generator=noise) / fan_in**0.5
        state[f"{name}.{file.UP}"] = size / rank**0.5 * torch.randn(out, rank, *[1] * (len(inside) - 1), generator=noise)
        state[f"{name}.{file.ALPHA}"] = torch.tensor(alpha)
    return state


def written(path: Path, state: Mapping[str, Tensor], **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.serialise(state, metadata))
    return path


def first_names(targets: Mapping[str, Target], prefix: str = "lora_") -> dict[str, Target]:
    """One name a weight."""
    found: dict[Target, str] = {}
    for name, target in targets.items():
        if name.startswith(prefix):
            found.setdefault(target, name)
    return {name: target for target, name in found.items()}
