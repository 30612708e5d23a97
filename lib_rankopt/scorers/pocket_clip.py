"""The embedded scorer: cosine similarity under the pocket CLIP that ships with the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lib_rankopt.diffusion.checkpoint import sha256_of
from lib_rankopt.diffusion.pocket.paths import POCKET_DIR
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.images import to_batch

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from torch import Tensor

_IMAGE_SIZE = 64


class PocketClipScorer(Scorer):
    """CLIP score, 100 · cos(image, text), as in Hessel et al. 2021 (CLIPScore) without its rescaling and floor at zero.

    Its version names the weights by their hash, so that scores of a rebuilt CLIP are not mixed with older ones.
    """

    def __init__(self, device: str = "cpu", folder: Path = POCKET_DIR) -> None:
        from lib_rankopt.diffusion import pocket

        self._model, self._preprocess, self._tokenize = pocket.load_clip(device, folder)
        self._device = device
        self._last: tuple[tuple[str, ...], Tensor] | None = None
        self.info = ScorerInfo(
            name="clip",
            version=f"pocket-1-{sha256_of(folder / 'clip.safetensors')[:8]}",  # the 1 counts changes of this file
            scale="cosine × 100 under the pocket CLIP, −100 to 100",
            preprocessing="longer side to 64 px (bicubic, antialiased), padded with white",
        )

    @torch.inference_mode()
    def score(self, images: Sequence[Image.Image] | Tensor, prompts: str | Sequence[str]) -> Tensor:
        batch = to_batch(images, _IMAGE_SIZE)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if len(texts) not in {1, len(batch)}:
            raise InvalidInputError(f"{len(texts)} prompts for {len(batch)} images: give one prompt, or one for each image.")
        if not len(batch):
            return torch.empty(0)
        image = self._model.encode_image(self._preprocess(batch).to(self._device), normalize=True)
        scores: Tensor = 100.0 * (image * self._text(tuple(texts))).sum(-1)
        return scores.float().cpu()

    def to(self, device: str) -> None:
        self._model.to(device)
        self._device = device
        self._last = None

    def _text(self, texts: tuple[str, ...]) -> Tensor:
        """Embeddings of these prompts; those of the last call are kept, because selection asks for one prompt again and again."""
        if self._last is None or self._last[0] != texts:
            found: Tensor = self._model.encode_text(self._tokenize(list(texts)).to(self._device), normalize=True)
            self._last = (texts, found)
        return self._last[1]
