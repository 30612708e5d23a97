"""The embedded scorer: cosine similarity under the pocket CLIP that ships with the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lib_rankopt.diffusion.checkpoint import sha256_of
from lib_rankopt.diffusion.pocket.paths import POCKET_DIR
from lib_rankopt.scorers.base import ScorerInfo
from lib_rankopt.scorers.batched import BatchedScorer
from lib_rankopt.scorers.images import padded

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from torch import Tensor

    from lib_rankopt.scorers.shelf import ScorerShelf

_IMAGE_SIZE = 64


class PocketClipScorer(BatchedScorer):
    """CLIP score, 100 · cos(image, text), as in Hessel et al. 2021 (CLIPScore) without its rescaling and floor at zero.

    Its version names the weights by their hash, so that scores of a rebuilt CLIP are not mixed with older ones.
    """

    def __init__(self, device: str = "cpu", folder: Path = POCKET_DIR) -> None:
        from lib_rankopt.diffusion import pocket

        super().__init__(device)
        self._model, self._preprocess, self._tokenize = pocket.load_clip(device, folder)
        self._last: tuple[tuple[str, ...], Tensor] | None = None
        self.info = ScorerInfo(
            name="clip",
            version=f"pocket-1-{sha256_of(folder / 'clip.safetensors')[:8]}",  # the 1 counts changes of this file
            scale="cosine × 100 under the pocket CLIP, −100 to 100",
            preprocessing="longer side to 64 px (bicubic, antialiased), padded with white",
        )

    def prepare(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self._preprocess(padded(image, _IMAGE_SIZE))
        return pixels

    def ask(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        image = self._model.encode_image(pixels, normalize=True)
        scores: Tensor = 100.0 * (image * self._text(tuple(prompts))).sum(-1)
        return scores

    def place(self, device: torch.device) -> None:
        self._model.to(device)
        self._last = None

    def _text(self, texts: tuple[str, ...]) -> Tensor:
        """Embeddings of these prompts; those of the last call are kept, because selection asks for one prompt again and again."""
        known = tuple(dict.fromkeys(texts))
        if self._last is None or self._last[0] != known:
            found: Tensor = self._model.encode_text(self._tokenize(list(known)).to(self.device), normalize=True)
            self._last = (known, found)
        return self._last[1][[known.index(text) for text in texts]]


def create(_name: str, _shelf: ScorerShelf) -> PocketClipScorer:
    """Load it."""
    return PocketClipScorer()
