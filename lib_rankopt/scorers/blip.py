"""BLIP's image-grounded text encoder (Li et al. 2022, arXiv 2201.12086): a ViT, and a BERT whose layers also look at the picture.

Modules bear the published checkpoints' names, so that files are loaded as they are. A model's sizes are read off its tensors, so that a
small one can stand for a large one in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_rankopt.errors import ModelError

_HEAD = 64  # width of a head, in both towers
_VISION_EPS, _TEXT_EPS = 1e-6, 1e-12


@dataclass(frozen=True)
class BlipSizes:
    """Sizes of both towers.

    Attributes:
        image, patch: sides of the picture and of a patch, in pixels.
        words, positions: rows of the text's two tables of embeddings.
        *_width, *_layers, *_inner: of a token, number of layers, and of the layers' hidden part.
    """

    image: int
    patch: int
    vision_width: int
    vision_layers: int
    vision_inner: int
    words: int
    positions: int
    text_width: int
    text_layers: int
    text_inner: int


def sizes(tensors: Mapping[str, Tensor], prefix: str, where: str) -> BlipSizes:
    """Read the sizes off the tensors, whose names begin with ``prefix``.

    Args:
        where: the file, for messages.

    Raises:
        ModelError: names the tensor that is missing or has no such dimensions.
    """

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        name = prefix + name
        if name not in tensors:
            raise ModelError(f"{where}: '{name}' is missing; the file is cut off, or of another model.")
        found = tuple(tensors[name].shape)
        if len(found) != dimensions:
            raise ModelError(f"{where}: '{name}' has shape {found}, and {dimensions} dimensions are expected.")
        return found

    vision_width, _, _, patch = shape("visual_encoder.patch_embed.proj.weight", 4)
    cells = shape("visual_encoder.pos_embed", 3)[1] - 1
    words, text_width = shape("text_encoder.embeddings.word_embeddings.weight", 2)
    return BlipSizes(
        image=round(cells**0.5) * patch,
        patch=patch,
        vision_width=vision_width,
        vision_layers=_layers(tensors, f"{prefix}visual_encoder.blocks."),
        vision_inner=shape("visual_encoder.blocks.0.mlp.fc1.weight", 2)[0],
        words=words,
        positions=shape("text_encoder.embeddings.position_embeddings.weight", 2)[0],
        text_width=text_width,
        text_layers=_layers(tensors, f"{prefix}text_encoder.encoder.layer."),
        text_inner=shape("text_encoder.encoder.layer.0.intermediate.dense.weight", 2)[0],
    )


class Blip(nn.Module):  # type: ignore[misc]
    """Both towers, for inference: there is no dropout."""

    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        self.visual_encoder = _VisionTower(sizes)
        self.text_encoder = _TextTower(sizes)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the last state of each text's first token, ``[n, text_width]``.

        Args:
            pixels: normalised pictures ``[n, 3, S, S]``.
            tokens: word numbers ``[n, length]``.
            mask: bool ``[n, length]``, false where a text is only filled up.
        """
        state: Tensor = self.text_encoder(tokens, mask, self.visual_encoder(pixels))
        return state[:, 0]


class _VisionTower(nn.Module):  # type: ignore[misc]
    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        width = sizes.vision_width
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, sizes.patch, stride=sizes.patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (sizes.image // sizes.patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList([_VisionLayer(width, sizes.vision_inner) for _ in range(sizes.vision_layers)])
        self.norm = nn.LayerNorm(width, eps=_VISION_EPS)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class _VisionLayer(nn.Module):  # type: ignore[misc]
    """Normalises before attention and before the hidden part."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_VISION_EPS)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.norm2 = nn.LayerNorm(width, eps=_VISION_EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.attn["qkv"](self.norm1(x)).chunk(3, -1)
        x = x + self.attn["proj"](_attend(query, key, value))
        return x + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))


class _TextTower(nn.Module):  # type: ignore[misc]
    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        width = sizes.text_width
        tables = {"word_embeddings": nn.Embedding(sizes.words, width), "position_embeddings": nn.Embedding(sizes.positions, width)}
        self.embeddings = nn.ModuleDict({**tables, "LayerNorm": nn.LayerNorm(width, eps=_TEXT_EPS)})
        layers = [_TextLayer(width, sizes.text_inner, sizes.vision_width) for _ in range(sizes.text_layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(self, tokens: Tensor, mask: Tensor, picture: Tensor) -> Tensor:
        x = self.embeddings["word_embeddings"](tokens) + self.embeddings["position_embeddings"].weight[: tokens.shape[1]]
        x = self.embeddings["LayerNorm"](x)
        for layer in self.encoder["layer"]:
            x = layer(x, mask[:, None, None], picture)
        return x


class _TextLayer(nn.Module):  # type: ignore[misc]
    """Attends to the text, then to the picture. Normalises after each of its three parts."""

    def __init__(self, width: int, inner: int, vision_width: int) -> None:
        super().__init__()
        self.attention = _TextAttention(width, width)
        self.crossattention = _TextAttention(width, vision_width)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = _after(inner, width)

    def forward(self, x: Tensor, mask: Tensor, picture: Tensor) -> Tensor:
        x = self.attention(x, x, mask)
        x = self.crossattention(x, picture, None)
        hidden = functional.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](hidden))


class _TextAttention(nn.Module):  # type: ignore[misc]
    """From tokens of one width to what may have another."""

    def __init__(self, width: int, seen_width: int) -> None:
        super().__init__()
        parts = {"query": nn.Linear(width, width), "key": nn.Linear(seen_width, width), "value": nn.Linear(seen_width, width)}
        self.self = nn.ModuleDict(parts)
        self.output = _after(width, width)

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None) -> Tensor:
        found = _attend(self.self["query"](x), self.self["key"](seen), self.self["value"](seen), mask)
        return self.output["LayerNorm"](x + self.output["dense"](found))


def _after(inner: int, width: int) -> nn.ModuleDict:
    """What brings a part of a text layer back to the layer's width."""
    return nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps=_TEXT_EPS)})


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention with heads of width 64, or one narrower head: ``[n, a, w]`` and twice ``[n, b, w]`` to ``[n, a, w]``."""
    heads = max(1, query.shape[-1] // _HEAD)
    query, key, value = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)


def _layers(tensors: Mapping[str, Tensor], beginning: str) -> int:
    """How many layers there are names of; one that is left out in between is found missing when they are loaded."""
    numbers = {name[len(beginning) :].partition(".")[0] for name in tensors if name.startswith(beginning)}
    return 1 + max((int(one) for one in numbers if one.isdecimal()), default=-1)
