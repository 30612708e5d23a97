"""CLIP score (Hessel et al. 2021, arXiv 2104.08718), without its rescaling and floor at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.cosine import CosineScorer
from lib_rankopt.scorers.images import cropped
from lib_rankopt.scorers.weights import WeightFile

if TYPE_CHECKING:
    from lib_rankopt.scorers.shelf import ScorerShelf

CLIP_L = WeightFile(
    ("clip-vit-large-patch14.safetensors", "clip-vit-large-patch14/model.safetensors"), 1710, "openai/clip-vit-large-patch14",
    "model.safetensors",
)  # fmt: skip
_LAION_H = "CLIP-ViT-H-14-laion2B-s32B-b79K"
CLIP_H = WeightFile(
    (f"{_LAION_H}.safetensors", f"{_LAION_H}/open_clip_pytorch_model.safetensors", f"{_LAION_H}/open_clip_pytorch_model.bin"), 3944,
    f"laion/{_LAION_H}", "open_clip_pytorch_model.safetensors",
)  # fmt: skip
FILES = {"clip-l": (CLIP_L,), "clip-h": (CLIP_H,)}


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load OpenAI's ViT-L/14 or LAION's ViT-H/14; 100 · cos."""
    (file,) = FILES[name]
    tower = shelf.tower(shelf.weights.require(file, name), quick_gelu=name == "clip-l")
    info = ScorerInfo(
        name, f"1-{tower.version}", "cosine × 100, about 15 to 40", "shorter side to 224 px (bicubic), centre crop", warning=tower.warning
    )
    return CosineScorer(info, tower, cropped, 100.0)
