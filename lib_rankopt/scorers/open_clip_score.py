"""CLIP score by any model that open_clip knows: ``open_clip:ViT-B-32/laion2b_s34b_b79k``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lib_rankopt.diffusion.checkpoint import read_tensors
from lib_rankopt.errors import NotFoundError
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.batched import BatchedScorer
from lib_rankopt.scorers.images import as_rgb
from lib_rankopt.scorers.network import Network
from lib_rankopt.scorers.weights import WeightFile, load_strictly, version_of, warning_of

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from torch import Tensor

    from lib_rankopt.scorers.shelf import ScorerShelf

PREFIX = "open_clip:"
_PUBLISHED = "open_clip_model.safetensors"


class OpenClipScorer(BatchedScorer):
    """100 · cos(image, text), with the model's own preparation of pictures and its own tokenizer."""

    def __init__(self, name: str, architecture: str, path: Path) -> None:
        import open_clip

        super().__init__()
        model, _, self._prepare = open_clip.create_model_and_transforms(architecture)
        load_strictly(model, read_tensors(path), str(path))
        self._tokenize = open_clip.get_tokenizer(architecture)
        self._network = Network(model)
        prepared = f"open_clip's own for {architecture}"
        self.info = ScorerInfo(name, f"1-{version_of(path)}", "cosine × 100", prepared, warning=warning_of(path))

    def prepare(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self._prepare(as_rgb(image))
        return pixels

    def ask(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        model = self._network.module
        images = model.encode_image(pixels.to(self._network.dtype), normalize=True)
        known = list(dict.fromkeys(prompts))
        texts = model.encode_text(self._tokenize(known).to(self.device), normalize=True)
        scores: Tensor = 100.0 * (images * texts[[known.index(text) for text in prompts]]).sum(-1)
        return scores

    def place(self, device: torch.device) -> None:
        self._network.to(device)


def file_of(name: str) -> WeightFile:
    """The file of ``open_clip:ARCHITECTURE/WEIGHTS``.

    Raises:
        NotFoundError: open_clip knows no such model or no such weights of it; names some that it knows.
    """
    import open_clip

    architecture, _, tag = name.removeprefix(PREFIX).partition("/")
    if architecture not in open_clip.list_models():
        raise NotFoundError(f"open_clip knows no model '{architecture}'. It has {', '.join(open_clip.list_models()[:6])} …")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise NotFoundError(f"open_clip knows no weights '{tag}' of {architecture}. It has {', '.join(tags)}.")
    found = open_clip.pretrained.get_pretrained_cfg(architecture, tag)
    stem, repo = f"{architecture}-{tag}", str(found.get("hf_hub") or "").strip("/")
    names = (f"{stem}.safetensors", f"{stem}.bin", f"{stem}.pt")
    return WeightFile(names, 0, repo, _PUBLISHED if repo else "", "" if repo else str(found.get("url", "")))


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load it."""
    return OpenClipScorer(name, name.removeprefix(PREFIX).partition("/")[0], shelf.weights.require(file_of(name), name))
