"""PickScore (Kirstain et al. 2023, arXiv 2305.01569)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.cosine import CosineScorer
from lib_rankopt.scorers.images import cropped
from lib_rankopt.scorers.weights import WeightFile

if TYPE_CHECKING:
    from lib_rankopt.scorers.shelf import ScorerShelf

_NAMES = ("PickScore_v1.safetensors", "PickScore_v1/model.safetensors", "PickScore_v1/pytorch_model.bin")
FILES = {"pickscore": (WeightFile(_NAMES, 3944, "yuvalkirstain/PickScore_v1", "model.safetensors"),)}


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load it: a ViT-H/14, ``exp(logit_scale) · cos``, with the processor of transformers."""
    (file,) = FILES[name]
    tower = shelf.tower(shelf.weights.require(file, name), quick_gelu=False)
    info = ScorerInfo(
        name, f"1-{tower.version}", "exp(logit scale) × cosine, about 17 to 24", "shorter side to 224 px (bicubic), centre crop",
        warning=tower.warning,
    )  # fmt: skip
    return CosineScorer(info, tower, partial(cropped, round_down=True), tower.scale)
