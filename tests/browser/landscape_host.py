"""A real host contract over painted landscapes, so that the browser tests run on the real service too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from lib_rankopt.errors import GenerationError, GenerationInterrupted
from lib_rankopt.hosts.base import GeneratedImage, GenerationRequest, HostDefaults, Progress, ProgressCallback
from tests.api.fake_pictures import GENES, paint
from tests.api.fake_state import FAIL, SLOW
from tests.studies.fakes import FakeHost

STEPS = 4


class LandscapeHost(FakeHost):
    """The look of a picture follows from eight directions of its latent; speed and failures follow from the prompt."""

    def __init__(self, seconds: float, loras: Path | None = None) -> None:
        super().__init__(seconds)
        self._loras = loras
        self._directions: dict[int, torch.Tensor] = {}

    def lora_dir(self) -> Path | None:
        return self._loras

    def samplers(self) -> tuple[str, ...]:
        return ("DPM++ 2M", "Euler", "Euler a")

    def defaults(self, model: str | None = None) -> HostDefaults:
        return HostDefaults(256, 256, 20, "DPM++ 2M", "Karras", 5.0)

    def generate(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[GeneratedImage]:
        """Paint one picture after the other."""
        self.validate(request)
        latents, total = request.latents, len(request.seeds)
        if latents is None:
            latents = self.initial_noise(request.seeds, self.latent_shape(request.width, request.height))
        seconds = 2.0 if SLOW in request.prompt else self.seconds
        for index, seed in enumerate(request.seeds):
            if FAIL in request.prompt and index == 1:
                raise GenerationError("Out of memory: 8 images of 256×256 do not fit; make fewer at a time.")
            genes = self._genes(latents[index])
            for step in range(STEPS):
                if cancel is not None and cancel.is_set():
                    raise GenerationInterrupted("stopped on request")
                time.sleep(seconds / STEPS)
                if progress is not None:
                    previews = {index: paint(genes, 24)} if request.preview_every else {}
                    left = (total - index - step / STEPS) * seconds
                    progress(Progress((index + step / STEPS) / total, step, STEPS, index, total, left, previews))
            image = paint(genes)
            record = self.choose(request, image, seed, cancel)
            yield GeneratedImage(index, image, latents[index], seed, f"{request.prompt}\nSteps: {request.steps}", record)

    def _genes(self, latent: torch.Tensor) -> list[float]:
        flat = latent.flatten().double()
        if flat.numel() not in self._directions:
            noise = torch.randn(GENES, flat.numel(), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
            self._directions[flat.numel()] = noise / flat.numel() ** 0.5
        values = torch.special.ndtr(self._directions[flat.numel()] @ flat)
        return [float(value) for value in values]
