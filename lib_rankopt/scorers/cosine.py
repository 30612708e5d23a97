"""Scorers that are the cosine of an image's and its prompt's embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from lib_rankopt.scorers.base import ScorerInfo
from lib_rankopt.scorers.batched import BatchedScorer
from lib_rankopt.scorers.images import normalized

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lib_rankopt.scorers.clip_tower import ClipTower


class CosineScorer(BatchedScorer):
    """``factor · cos(image, text)``.

    Args:
        tower: embeds both.
        pixels: prepares a picture: ``(image, size) -> [3, size, size]`` in 0…1.
        factor: 1, 100, or the model's own.
    """

    def __init__(self, info: ScorerInfo, tower: ClipTower, pixels: Callable[[Image.Image, int], Tensor], factor: float = 1.0) -> None:
        super().__init__()
        self.info = info
        self._tower, self._pixels, self._factor = tower, pixels, factor

    def prepare(self, image: Image.Image) -> Tensor:
        return normalized(self._pixels(image, self._tower.size))

    def ask(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._factor * (self._tower.images(pixels) * self._tower.texts(prompts)).sum(-1)

    def place(self, device: torch.device) -> None:
        self._tower.to(device)
