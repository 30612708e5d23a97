"""CLIP weights in the layouts in which they are published, as one: that of open_clip and of OpenAI.

A model's sizes are read off its tensors, so that any file of the family can be loaded and a small one can stand for a large one in tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lib_rankopt.errors import ModelError

# Width of a head where it is not 64, by the width of the image tower: ViT-H, g and G.
_HEAD = {1280: 80, 1408: 88, 1664: 104}
_BUFFERS = ("attn_mask", "position_ids", "input_resolution", "context_length", "vocab_size")

_HF_TEXT = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
}
_HF_VISION = {
    "embeddings.class_embedding": "visual.class_embedding",
    "embeddings.patch_embedding.weight": "visual.conv1.weight",
    "embeddings.position_embedding.weight": "visual.positional_embedding",
    "pre_layrnorm": "visual.ln_pre",  # transformers' own spelling
    "post_layernorm": "visual.ln_post",
}
_HF_BLOCK = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def unified(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return the tensors under open_clip's names, whichever of the layouts they came in; buffers that hold no weights are left out.

    Args:
        where: the file, for messages.

    Raises:
        ModelError: it is no CLIP with two transformers.
    """
    kept = {name.removeprefix("module."): tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in _BUFFERS}
    if any(name.startswith("vision_model.") for name in kept):
        kept = _from_transformers(kept)
    missing = [name for name in ("visual.conv1.weight", "token_embedding.weight", "text_projection") if name not in kept]
    if missing:
        raise ModelError(f"{where}: holds no CLIP with two transformers: '{missing[0]}' is missing. It has {_some(tensors)}.")
    return kept


def config(tensors: Mapping[str, Tensor], quick_gelu: bool) -> dict[str, Any]:
    """Return the arguments of open_clip's ``CLIP`` for tensors that :func:`unified` returned."""
    width, _, _, patch = tensors["visual.conv1.weight"].shape
    cells = tensors["visual.positional_embedding"].shape[0] - 1
    vision = {
        "layers": _layers(tensors, "visual.transformer."),
        "width": width,
        "head_width": _HEAD.get(width, 64),
        "mlp_ratio": tensors["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width,
        "patch_size": patch,
        "image_size": round(cells**0.5) * patch,
    }
    words, text_width = tensors["token_embedding.weight"].shape
    text = {
        "context_length": tensors["positional_embedding"].shape[0],
        "vocab_size": words,
        "width": text_width,
        "heads": max(1, text_width // 64),
        "layers": _layers(tensors, "transformer."),
    }
    ratio = tensors["transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / text_width
    if ratio != 4.0:  # the usual one, and before open_clip 2.24 the only one
        text["mlp_ratio"] = ratio
    return {"embed_dim": tensors["text_projection"].shape[1], "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick_gelu}


def _from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From the names of transformers' ``CLIPModel``, whose attention has its three projections apart."""
    found: dict[str, Tensor] = {}
    apart: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        tower, _, rest = name.partition(".")
        if tower in ("visual_projection", "text_projection"):
            found["visual.proj" if tower.startswith("visual") else tower] = tensor.T.contiguous()
        elif tower not in ("vision_model", "text_model"):
            found[name] = tensor  # logit_scale, and what is not expected
        elif block := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", rest):
            place = f"{'visual.' if tower == 'vision_model' else ''}transformer.resblocks.{block[1]}."
            part = re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", block[2])
            if part:
                apart.setdefault(f"{place}attn.in_proj_{part[2]}", {})[part[1]] = tensor
            else:
                found[place + _renamed(block[2], _HF_BLOCK)] = tensor
        else:
            found[_renamed(rest, _HF_VISION if tower == "vision_model" else _HF_TEXT)] = tensor
    for name, parts in apart.items():
        if set(parts) == set("qkv"):  # an incomplete one is found missing
            found[name] = torch.cat([parts[one] for one in "qkv"])
    return found


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return name


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    beginning = f"{prefix}resblocks."
    return 1 + max(int(name[len(beginning) :].partition(".")[0]) for name in tensors if name.startswith(beginning))


def _some(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(sorted(tensors)[:3]) + (" …" if len(tensors) > 3 else "")
