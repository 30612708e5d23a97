"""A host that makes a picture out of a latent in microseconds, and can be told to be slow, to fail, or to block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lib_rankopt.diffusion.pocket.paths import checkpoint_path
from lib_rankopt.errors import GenerationInterrupted, InvalidInputError, NotFoundError
from lib_rankopt.hosts.base import (
    GeneratedImage,
    GenerationRequest,
    Host,
    HostDefaults,
    ModelIdentity,
    Progress,
    ProgressCallback,
)
from lib_rankopt.hosts.picks import PickBoard
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.selection.record import SelectionRecord
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import Answer, RoundView, StudySettings
from tests.selection.records import choose


class FakeHost(Host):
    """Pixels are a function of prompt, latent and noise seed, so equal pictures show equal inputs.

    Attributes:
        seconds: time per image.
        steps: reported one by one for every image; the last has the preview.
        gate: generation waits for it before every image.
        fail: raised before the image of that position in a request.
        calls: the requests so far.
        model_bytes: stands for the content of the checkpoint.
    """

    name = "fake"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.steps = 1
        self.gate = threading.Event()
        self.gate.set()
        self.fail: dict[int, BaseException] = {}
        self.calls: list[GenerationRequest] = []
        self.model_bytes = b"weights"
        self.picks = PickBoard()

    def samplers(self) -> tuple[str, ...]:
        return ("Euler", "Euler a")

    def schedulers(self) -> tuple[str, ...]:
        return ("Automatic", "Karras")

    def models(self) -> tuple[str, ...]:
        return ("fake-model",)

    def defaults(self, model: str | None = None) -> HostDefaults:
        return HostDefaults(64, 64, 20, "Euler", "Automatic", 5.0)

    def identity(self, model: str | None = None) -> ModelIdentity:
        if model not in (None, *self.models()):
            raise NotFoundError(f"There is no model '{model}'.")
        return ModelIdentity("fake-model", sha256(self.model_bytes).hexdigest(), "sd1")

    def latent_shape(self, width: int, height: int, model: str | None = None) -> tuple[int, int, int]:
        return (4, height // 8, width // 8)

    def initial_noise(self, seeds: tuple[int, ...], shape: tuple[int, int, int]) -> torch.Tensor:
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def validate(self, request: GenerationRequest) -> None:
        if request.sampler not in self.samplers():
            raise InvalidInputError(f"There is no sampler '{request.sampler}'; known: {', '.join(self.samplers())}.")
        if request.scheduler not in self.schedulers():
            raise InvalidInputError(f"There is no scheduler '{request.scheduler}'.")
        if max(request.width, request.height) > 2048:
            raise InvalidInputError(f"{request.width}x{request.height} is too large; use at most 2048.")
        self.identity(request.model)

    def generate(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[GeneratedImage]:
        self.validate(request)
        self.calls.append(request)
        latents = request.latents
        if latents is None:
            latents = self.initial_noise(request.seeds, self.latent_shape(request.width, request.height))
        total = len(request.seeds)
        for index, seed in enumerate(request.seeds):
            self._pause(cancel)
            if index in self.fail:
                raise self.fail[index]
            image = picture(request.prompt, latents[index], seed)
            for step in range(1, self.steps + 1) if progress is not None else ():
                small = {index: image.resize((8, 8))} if request.preview_every and step == self.steps else {}
                progress(Progress(index / total, step, self.steps, index, total, 0.1 * (total - index), small))
            record = self.choose(request, image, seed, cancel)
            yield GeneratedImage(index, image, latents[index], seed, f"{request.prompt}\nSteps: {request.steps}", record)

    def choose(self, request: GenerationRequest, image: Image.Image, seed: int, cancel: threading.Event | None) -> SelectionRecord | None:
        """Return how an image was chosen, where the request asks for that."""
        if request.selection is None:
            return None
        stopped = cancel.is_set if cancel is not None else lambda: False
        return choose(request.selection, image, (request.prompt, request.steps, seed), self.picks, stopped)

    def _pause(self, cancel: threading.Event | None) -> None:
        until = time.monotonic() + self.seconds
        while True:
            if cancel is not None and cancel.is_set():
                raise GenerationInterrupted("stopped on request")
            if self.gate.is_set() and time.monotonic() >= until:
                return
            time.sleep(0.001)

    def lora_dir(self) -> Path | None:
        return None

    def model_path(self, model: str | None = None) -> Path:
        return checkpoint_path()


def picture(prompt: str, latent: torch.Tensor, seed: int) -> Image.Image:
    """Return the fake host's picture of a latent."""
    shift = sha256(f"{prompt} {seed}".encode()).digest()[0]
    pixels = (latent[:3].permute(1, 2, 0).numpy() * 40 + 128 + shift) % 256
    return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)), "RGB").resize((64, 64), Image.Resampling.NEAREST)


class Brightness(Scorer):
    """Scores by mean brightness; waits for ``gate`` first."""

    info = ScorerInfo("brightness", "1", "0 to 255", "none")

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def score(self, images: Sequence[Image.Image] | torch.Tensor, prompts: str | Sequence[str]) -> torch.Tensor:
        self.gate.wait(20)
        self.batches.append(len(images))
        return torch.tensor([float(np.asarray(image).mean()) for image in images])

    def to(self, device: str) -> None:
        pass


class Broken(Brightness):
    """Cannot score anything."""

    def score(self, images: Sequence[Image.Image] | torch.Tensor, prompts: str | Sequence[str]) -> torch.Tensor:
        raise RuntimeError("the weights are upside down")


def scorers() -> dict[str, Callable[[], Scorer]]:
    return {"brightness": Brightness, "broken": Broken}


SETTINGS = StudySettings(prompt="a 3d fox on a blue background", seed=11, candidates=5)


def next_round(service: StudyService, study: str) -> RoundView:
    """Start a round and wait for its images."""
    service.start_round(study)
    return service.wait(study, 30)


def ranking(view: RoundView, best: int = 0, **options: Any) -> Answer:
    """Return an answer that prefers the candidate at position ``best``."""
    return Answer("ranking", ((view.candidates[best].id,),), view.order, **options)


def play(service: StudyService, study: str, rounds: int, choose: Callable[[int], int] = lambda index: index % 5) -> None:
    """Answer some rounds, deterministically."""
    for _ in range(rounds):
        view = next_round(service, study)
        assert view.status == "ready", view
        service.answer(study, view.index, ranking(view, choose(view.index)))


def latents(service: StudyService, study: str) -> list[tuple[str, ...]]:
    """Return the latent hashes of every round."""
    return [tuple(c.latent for c in view.candidates) for view in service.rounds(study)]


def images(service: StudyService, study: str) -> list[tuple[str | None, ...]]:
    """Return the image hashes of every round."""
    return [tuple(c.image for c in view.candidates) for view in service.rounds(study)]
