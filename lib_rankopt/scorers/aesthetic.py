"""LAION's aesthetic predictors: one number from the image embedding of OpenAI's CLIP ViT-L/14, whatever the prompt.

Version 2 (*improved aesthetic predictor*, ``sac+logos+ava1``) is a stack of linear layers without activations, so it is one affine map,
as version 1 (``sa_0_4_vit_l_14_linear``) is by itself. The layers are multiplied out when they are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib_rankopt.diffusion.checkpoint import read_tensors
from lib_rankopt.errors import ModelError
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.batched import BatchedScorer
from lib_rankopt.scorers.clip_score import CLIP_L
from lib_rankopt.scorers.images import cropped, normalized
from lib_rankopt.scorers.weights import WeightFile, version_of, warning_of

if TYPE_CHECKING:
    from PIL import Image

    from lib_rankopt.scorers.clip_tower import ClipTower
    from lib_rankopt.scorers.shelf import ScorerShelf

_V2, _V1 = "sac+logos+ava1-l14-linearMSE", "sa_0_4_vit_l_14_linear"
FILES = {
    "aesthetic2": (
        WeightFile(
            (f"{_V2}.safetensors", f"{_V2}.pth"), 4, url=f"https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/{_V2}.pth"
        ),
        CLIP_L,
    ),
    "aesthetic1": (
        WeightFile((f"{_V1}.safetensors", f"{_V1}.pth"), 0.004, url=f"https://github.com/LAION-AI/aesthetic-predictor/raw/main/{_V1}.pth"),
        CLIP_L,
    ),
}
_LAYERS = {"aesthetic2": tuple(f"layers.{place}." for place in (0, 2, 4, 6, 7)), "aesthetic1": ("",)}


class AestheticScorer(BatchedScorer):
    """``w · e + b`` of the normalised image embedding ``e``."""

    def __init__(self, info: ScorerInfo, tower: ClipTower, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.info = info
        self._tower, self._weight, self._bias = tower, weight, bias

    def prepare(self, image: Image.Image) -> Tensor:
        return normalized(cropped(image, self._tower.size))

    def ask(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._tower.images(pixels) @ self._weight + self._bias

    def place(self, device: torch.device) -> None:
        self._tower.to(device)


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load version 1 or 2."""
    head, clip = (shelf.weights.require(file, name) for file in FILES[name])
    tower = shelf.tower(clip, quick_gelu=True)
    weight, bias = affine(read_tensors(head), _LAYERS[name], str(head))
    if len(weight) != tower.width:
        raise ModelError(f"{head}: is for embeddings of {len(weight)} numbers, and {clip} gives {tower.width}.")
    info = ScorerInfo(
        name, f"1-{version_of(head)}-{tower.version}", "regression of ratings 1 to 10, usually 5 to 7",
        "shorter side to 224 px (bicubic), centre crop", uses_prompt=False, warning=tower.warning or warning_of(head),
    )  # fmt: skip
    return AestheticScorer(info, tower, weight, bias)


def affine(tensors: Mapping[str, Tensor], layers: Sequence[str], where: str) -> tuple[Tensor, Tensor]:
    """Multiply linear layers out: float32 weight ``[width]`` and bias ``[]``, worked out in float64.

    Args:
        layers: beginnings of the names of weight and bias, in the order of application; the last one gives one number.
        where: the file, for messages.

    Raises:
        ModelError: names the tensor that is missing, not expected or of a shape that does not fit.
    """
    names = [f"{layer}{part}" for layer in layers for part in ("weight", "bias")]
    if missing := [name for name in names if name not in tensors]:
        raise ModelError(f"{where}: '{missing[0]}' is missing; the file is cut off, or of another model.")
    if unexpected := sorted(set(tensors) - set(names)):
        raise ModelError(f"{where}: '{unexpected[0]}' is not expected; the file is of another model.")
    weight: Tensor | None = None
    bias = torch.zeros(0)
    for layer in layers:
        matrix, shift = tensors[f"{layer}weight"].double(), tensors[f"{layer}bias"].double()
        if matrix.ndim != 2 or shift.shape != matrix.shape[:1] or (weight is not None and matrix.shape[1] != weight.shape[0]):
            raise ModelError(f"{where}: '{layer}weight' has shape {tuple(matrix.shape)}, which does not fit the layer before.")
        weight, bias = (matrix, shift) if weight is None else (matrix @ weight, matrix @ bias + shift)
    if weight is None or weight.shape[0] != 1:
        raise ModelError(f"{where}: '{names[-2]}' has shape {tuple(tensors[names[-2]].shape)}; the last layer gives one number.")
    return weight[0].float(), bias[0].float()
