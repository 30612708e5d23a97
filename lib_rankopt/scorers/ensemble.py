"""Several scorers as one: the mean of the ranks that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lib_rankopt.scorers.base import CALIBRATED, Scorer, ScorerInfo
from lib_rankopt.scorers.images import as_images

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


class Ensemble(Scorer):
    """Mean rank among the images of one call, 0 for the worst and 1 for the best; equal scores share their ranks' mean.

    Ranks need no common scale, and one scorer's outlier decides no more than its rank. The price: a score says only how an image stands
    among those of its call. Of scorers that are all calibrated the mean of the scores is taken instead, which has no such price.
    """

    def __init__(self, name: str, scorers: Sequence[Scorer]) -> None:
        self._scorers = tuple(scorers)
        infos = [one.info for one in self._scorers]
        self._ranks = not all(one.info.name.startswith(CALIBRATED) for one in self._scorers)
        self.info = ScorerInfo(
            name,
            "+".join(one.version for one in infos),
            "mean rank among the images of one call, 0 to 1" if self._ranks else "mean of standardised scores",
            "; ".join(f"{one.name}: {one.preprocessing}" for one in infos),
            uses_prompt=any(one.uses_prompt for one in infos),
            is_relative=self._ranks,
            warning="; ".join(dict.fromkeys(f"{one.name}: {one.warning}" for one in infos if one.warning)),
        )

    def score(self, images: Sequence[Image.Image] | Tensor, prompts: str | Sequence[str]) -> Tensor:
        pictures = as_images(images)
        if not pictures:
            return torch.empty(0)
        scores = [one.score(pictures, prompts) for one in self._scorers]
        return torch.stack([ranks(one) for one in scores] if self._ranks else scores).mean(0)

    def to(self, device: str) -> None:
        for one in self._scorers:
            one.to(device)


def ranks(scores: Tensor) -> Tensor:
    """Ranks of scores ``[n]``, float32 0…1; equal scores share their ranks' mean, and a single one has 0.5."""
    if len(scores) == 1:
        return torch.full((1,), 0.5)
    below = (scores[:, None] > scores[None, :]).sum(1)
    equal = (scores[:, None] == scores[None, :]).sum(1) - 1
    return (below + equal / 2).float() / (len(scores) - 1)
