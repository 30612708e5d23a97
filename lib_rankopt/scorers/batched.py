"""What all scorers with a network of their own have in common: checks, batches that fit into memory, one call at a time."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch

from lib_rankopt.diffusion.memory import is_out_of_memory, release
from lib_rankopt.errors import ModelError
from lib_rankopt.scorers.base import Scorer
from lib_rankopt.scorers.images import as_images
from lib_rankopt.scorers.prompts import prompt_of_each

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

log = logging.getLogger("rankopt.scorers")

_BATCH = 32


class BatchedScorer(Scorer):
    """Scores in batches. Out of memory halves the batch, and with one image left an accelerator gives way to the CPU.

    Subclasses set ``info`` and say how to prepare pictures and what the network answers.
    """

    def __init__(self, device: str = "cpu", batch: int = _BATCH) -> None:
        self._device = torch.device(device)
        self._most = batch
        self._lock = threading.RLock()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._device

    @abstractmethod
    def prepare(self, image: Image.Image) -> Tensor:
        """Return one picture of any mode and size as the network takes it, float32 ``[3, S, S]`` on the CPU."""

    @abstractmethod
    def ask(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return the scores ``[n]`` of prepared pictures ``[n, 3, S, S]`` on :attr:`device`, each with its prompt."""

    @abstractmethod
    def place(self, device: torch.device) -> None:
        """Bring the weights to a device."""

    @torch.inference_mode()
    def score(self, images: Sequence[Image.Image] | Tensor, prompts: str | Sequence[str]) -> Tensor:
        pictures = as_images(images)
        texts = prompt_of_each(self.info, len(pictures), prompts)
        if not pictures:
            return torch.empty(0)
        with self._lock:
            scores = self._in_batches(pictures, texts)
        if not bool(torch.isfinite(scores).all()):
            bad = int((~torch.isfinite(scores)).nonzero()[0, 0])
            raise ModelError(f"The scorer '{self.info.name}' gave image {bad + 1} the score {float(scores[bad])}: its weights are damaged.")
        return scores

    def to(self, device: str) -> None:
        with self._lock:
            before, self._device = self._device, torch.device(device)
            self.place(self._device)
            if before != self._device:
                release(before)

    def _in_batches(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        found: list[Tensor] = []
        first, size = 0, self._most
        while first < len(pictures):
            part = slice(first, first + size)
            pixels = torch.stack([self.prepare(one) for one in pictures[part]])
            answer = self._asked(pixels, texts[part])
            if answer is not None:
                found.append(answer)
                first += size
            elif size > 1:
                size //= 2
                log.warning("out of memory; '%s' goes on with %d images at once", self.info.name, size)
            elif self._device.type != "cpu":
                log.warning("out of memory with one image; '%s' goes on on the CPU", self.info.name)
                self.to("cpu")
            else:
                raise ModelError(f"The scorer '{self.info.name}' ran out of memory with a single image: close other programs.")
        return torch.cat(found)

    def _asked(self, pixels: Tensor, texts: Sequence[str]) -> Tensor | None:
        """The scores, or ``None`` where memory ran out."""
        try:
            with _own_precision(self._device):
                return self.ask(pixels.to(self._device), texts).float().cpu()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # outside the handler, so that the traceback no longer holds the tensors of the batch
        release(self._device)
        return None


def _own_precision(device: torch.device) -> AbstractContextManager[object]:
    """Whoever asks may be in the middle of a run in mixed precision, which would change scores."""
    return torch.autocast(device.type, enabled=False) if device.type in ("cpu", "cuda") else nullcontext()
