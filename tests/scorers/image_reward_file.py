"""A small random checkpoint of ImageReward in the published layout, with a small vocabulary."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from lib_rankopt.scorers import ScorerShelf

VISION, TEXT, INNER, PATCH, SIDE, DEPTH = 192, 128, 256, 8, 32, 2
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
OTHERS = [",", ".", "red", "fox", "##es", "snow", "castle", "lake", "oil", "paint", "##ing"]
WORDS = [*SPECIAL, *LETTERS, *(f"##{one}" for one in LETTERS), *OTHERS]


def published(
    depth: tuple[int, int], vision: int, text: int, inner: tuple[int, int], patch: int, side: int, words: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``ImageReward.pt``, as its authors' modules give them."""
    found: dict[str, tuple[int, ...]] = {
        "blip.visual_encoder.cls_token": (1, 1, vision),
        "blip.visual_encoder.pos_embed": (1, (side // patch) ** 2 + 1, vision),
        "blip.text_encoder.embeddings.word_embeddings.weight": (words, text),
        "blip.text_encoder.embeddings.position_embeddings.weight": (512, text),
        "blip.text_encoder.embeddings.position_ids": (1, 512),
    }

    def add(name: str, *weight: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, weight[:1]

    add("blip.visual_encoder.patch_embed.proj", vision, 3, patch, patch)
    add("blip.visual_encoder.norm", vision)
    for layer in range(depth[0]):
        block = f"blip.visual_encoder.blocks.{layer}"
        add(f"{block}.norm1", vision)
        add(f"{block}.norm2", vision)
        add(f"{block}.attn.qkv", 3 * vision, vision)
        add(f"{block}.attn.proj", vision, vision)
        add(f"{block}.mlp.fc1", inner[0], vision)
        add(f"{block}.mlp.fc2", vision, inner[0])
    add("blip.text_encoder.embeddings.LayerNorm", text)
    for layer in range(depth[1]):
        block = f"blip.text_encoder.encoder.layer.{layer}"
        for kind, seen in (("attention", text), ("crossattention", vision)):
            add(f"{block}.{kind}.self.query", text, text)
            add(f"{block}.{kind}.self.key", text, seen)
            add(f"{block}.{kind}.self.value", text, seen)
            add(f"{block}.{kind}.output.dense", text, text)
            add(f"{block}.{kind}.output.LayerNorm", text)
        add(f"{block}.intermediate.dense", inner[1], text)
        add(f"{block}.output.dense", text, inner[1])
        add(f"{block}.output.LayerNorm", text)
    add("blip.vision_proj", 256, vision)
    add("blip.text_proj", 256, text)
    for place, (wide, narrow) in {0: (text, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}.items():
        add(f"mlp.layers.{place}", narrow, wide)
    return found


def small() -> dict[str, Tensor]:
    """Random weights large enough that pictures and prompts matter, and small enough that attention looks at more than one token."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in published((DEPTH, DEPTH), VISION, TEXT, (INNER, INNER), PATCH, SIDE, len(WORDS) + 2).items():
        if name.endswith("position_ids"):
            found[name] = torch.arange(512)[None]
            continue
        table = "embeddings.weight" in name or "pos_embed" in name or "cls_token" in name
        spread = 1.0 if table else 0.2 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
        found[name] = torch.randn(shape, generator=generator) * spread
        if re.search(r"(norm\d?|LayerNorm)\.weight$", name):
            found[name] += 1
    return found


def write(folder: Path, tensors: dict[str, Tensor] | None = None, words: list[str] | None = None) -> ScorerShelf:
    """A shelf over ``folder`` with a checkpoint and a vocabulary in it."""
    home = folder / "scorers"
    (home / "bert-base-uncased").mkdir(parents=True)
    torch.save(small() if tensors is None else tensors, home / "ImageReward.pt")
    (home / "bert-base-uncased" / "vocab.txt").write_text("\n".join(words or WORDS) + "\n", encoding="utf-8")
    return ScorerShelf([folder], torch.device("cpu"))
