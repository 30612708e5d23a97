"""Human Preference Score: v1 (Wu et al. 2023, arXiv 2303.14420), v2 and v2.1 (arXiv 2306.09341)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.cosine import CosineScorer
from lib_rankopt.scorers.images import cropped, fitted
from lib_rankopt.scorers.weights import WeightFile

if TYPE_CHECKING:
    from lib_rankopt.scorers.shelf import ScorerShelf

_REPO = "xswu/HPSv2"
FILES = {
    "hpsv2.1": (WeightFile(("HPS_v2.1_compressed.safetensors", "HPS_v2.1_compressed.pt"), 1972, _REPO, "HPS_v2.1_compressed.pt"),),
    "hpsv2": (
        WeightFile(("HPS_v2_compressed.safetensors", "HPS_v2_compressed.pt", "HPS_v2.pt"), 1972, _REPO, "HPS_v2_compressed.pt"),
    ),
    "hpsv1": (WeightFile(("hpc.safetensors", "hpc.pt"), 1710, url="https://github.com/tgxs002/align_sd"),),
}
_SCALES = {
    "hpsv2.1": "cosine, about 0.20 to 0.35 (× 100 in tables); not comparable with v2",
    "hpsv2": "cosine, about 0.25 to 0.30 (× 100 in tables)",
    "hpsv1": "cosine, about 0.15 to 0.23 (× 100 in tables)",
}


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load version 1, a ViT-L/14 with QuickGELU and CLIP's centre crop, or 2 or 2.1, a ViT-H/14 that sees whole pictures."""
    (file,) = FILES[name]
    tower = shelf.tower(shelf.weights.require(file, name), quick_gelu=name == "hpsv1")
    whole = name != "hpsv1"
    prepared = "longer side to 224 px (bicubic, antialiased), zero padding" if whole else "shorter side to 224 px (bicubic), centre crop"
    info = ScorerInfo(name, f"1-{tower.version}", _SCALES[name], prepared, warning=tower.warning)
    return CosineScorer(info, tower, fitted if whole else cropped)
