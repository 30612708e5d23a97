"""The scorer contract: images and prompts in, one number per image out, higher is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

JOINED = "+"
"""Between the names of several scorers it makes an ensemble of them."""
CALIBRATED = "z:"
"""Before a scorer's name it asks for its scores in standard deviations of a reference pool."""


@dataclass(frozen=True)
class ScorerInfo:
    """What a score means, kept on every score record.

    Attributes:
        name: registry name, for example ``clip``.
        version: changes whenever scores of the same image may change.
        scale: unit and usual range in words, for example ``"cosine × 100, about 10 to 40"``.
        preprocessing: how pixels are prepared, in words.
        uses_prompt: whether the prompt matters. An empty one is refused where it does.
        is_relative: whether a score only says how an image stands among those scored with it, so that scores of two calls do not compare.
        warning: what whoever reads the scores has to know, for example that the weights are random; empty where there is nothing.
    """

    name: str
    version: str
    scale: str
    preprocessing: str
    uses_prompt: bool = True
    is_relative: bool = False
    warning: str = ""


class Scorer(ABC):
    """Scores images against prompts. Loads once; deterministic; leaves the device on :meth:`to`; thread-safe."""

    info: ScorerInfo

    @abstractmethod
    def score(self, images: Sequence[Image.Image] | Tensor, prompts: str | Sequence[str]) -> Tensor:
        """Score a batch of any length; what does not fit into memory at once is scored in parts.

        Args:
            images: PIL images of any mode and size, or a float tensor ``[n, 3, H, W]`` in 0…1.
            prompts: one prompt for all images or one each.

        Returns:
            float32 ``[n]`` on the CPU; higher is better. Never NaN: a broken image raises.

        Raises:
            InvalidInputError: number of prompts differs from the number of images, an image or a prompt that matters is empty.
            ModelError: the weights gave something that is no number.
        """

    @abstractmethod
    def to(self, device: str) -> None:
        """Move the weights; ``"cpu"`` frees the accelerator."""
