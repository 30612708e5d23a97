"""The host contract: where images come from (the webui or the standalone sampler)."""

from __future__ import annotations

import contextlib
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import NotFoundError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lib_rankopt.scorers.shelf import ScorerShelf
    from lib_rankopt.selection.record import SelectionRecord
    from lib_rankopt.selection.settings import Selection


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate. All images share everything but the latent and the noise seed.

    Attributes:
        seeds: one per image; seeds the noise that stochastic samplers add *inside* the run, and, without ``latents``, the start noise.
        latents: float32 ``[n, C, h, w]``, unit variance, or ``None`` for the seeds' own noise.
        width, height: pixels, multiples of 8.
        steps: sampler steps; model evaluations differ for second-order samplers.
        sampler, scheduler: the webui's names, for example ``"DPM++ 2M"`` and ``"Karras"``; scheduler ``"Automatic"`` is the sampler's own.
        cfg_scale: guidance; 1 runs without the negative prompt.
        model: a name from :meth:`Host.models`, or ``None`` for the one in use.
        eta: noise multiplier of ancestral samplers and DDIM; ``None`` is the sampler's default.
        clip_skip: layers of the text encoder left out, plus 1; ``None`` is what the host is set to.
        batch_size: images per model call at most; results do not depend on it.
        preview_every: decode previews every so many steps, 0 for none.
        notes: one per image or none at all: further entries of its parameters (study, round, …), written as they are.
        init_image: RGB of exactly ``width`` × ``height``, from which the run starts instead of from noise alone (img2img); the latents
            are then the noise that is added to it.
        denoising_strength: how much of an ``init_image`` is made anew, above 0 and up to 1.
        selection: how each image is chosen among candidates inside its run, ``None`` for plain runs. Candidates start from the seeds' own
            noise, or all from the image's latent where ``latents`` are given.
        extra: host-specific values (styles, VAE, …) that a host may refuse.
    """

    prompt: str
    seeds: tuple[int, ...]
    negative_prompt: str = ""
    latents: Tensor | None = None
    width: int = 64
    height: int = 64
    steps: int = 20
    sampler: str = "DPM++ 2M"
    scheduler: str = "Automatic"
    cfg_scale: float = 5.0
    model: str | None = None
    eta: float | None = None
    clip_skip: int | None = None
    batch_size: int = 8
    preview_every: int = 0
    notes: tuple[dict[str, str], ...] = ()
    init_image: Image.Image | None = None
    denoising_strength: float = 0.75
    selection: Selection | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GeneratedImage:
    """One finished image.

    Attributes:
        index: position in the request.
        image: RGB.
        latent: the x_T that it came from, float32 ``[C, h, w]``, CPU.
        seed: noise seed used.
        parameters: generation parameters as the webui's infotext (``prompt\\nNegative prompt: …\\nSteps: 20, Sampler: …``).
        selection: how it was chosen, where the request asked for that.
    """

    index: int
    image: Image.Image
    latent: Tensor
    seed: int
    parameters: str
    selection: SelectionRecord | None = None


@dataclass(frozen=True)
class Progress:
    """Reported after each sampler step, in the thread that iterates.

    Attributes:
        fraction: 0…1 over the whole request.
        step, steps: of the batch under way.
        done: images finished.
        total: images asked for.
        eta_seconds: estimate for the rest, ``None`` while unknown.
        previews: ``{index: small RGB image}`` when a preview was decoded at this step, otherwise empty.
    """

    fraction: float
    step: int
    steps: int
    done: int
    total: int
    eta_seconds: float | None = None
    previews: dict[int, Image.Image] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights made an image: shown name, content hash (hex), family (``sd1``, ``sd2``, ``sdxl``), prediction type."""

    name: str
    sha256: str
    family: str
    prediction_type: str = "epsilon"


@dataclass(frozen=True)
class HostDefaults:
    """What a new study starts from on this host and model; ``example_prompts`` where the model knows only certain words."""

    width: int
    height: int
    steps: int
    sampler: str
    scheduler: str
    cfg_scale: float
    example_prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainerPlace:
    """Where a training process runs.

    Attributes:
        python: that starts it.
        device: as torch names it, ``None`` for the first that there is.
        paths: further folders of packages, after its own.
    """

    python: str = sys.executable
    device: str | None = None
    paths: tuple[str, ...] = ()


ProgressCallback = Callable[[Progress], None]


class Host(ABC):
    """Makes images. One instance per process; :meth:`generate` runs one request at a time and may be called from any thread."""

    name: str

    @abstractmethod
    def samplers(self) -> tuple[str, ...]:
        """Names of the usable samplers, the webui's spelling."""

    @abstractmethod
    def schedulers(self) -> tuple[str, ...]:
        """Names of the noise schedules; the first is ``Automatic``."""

    def styles(self) -> tuple[str, ...]:
        """Names of the prompt styles that ``extra["styles"]`` takes; none where the host has no such thing."""
        return ()

    @abstractmethod
    def models(self) -> tuple[str, ...]:
        """Names of the models that :attr:`GenerationRequest.model` takes; the first is the default."""

    def loaded(self) -> str | None:
        """Name of the model in use, on a host that refuses all others; ``None`` where any model is loaded as it is needed."""
        return None

    @abstractmethod
    def defaults(self, model: str | None = None) -> HostDefaults:
        """Settings that suit the model."""

    @abstractmethod
    def identity(self, model: str | None = None) -> ModelIdentity:
        """Identity of a model; may read the file once to hash it.

        Raises:
            NotFoundError, ModelError: unknown, missing or broken model.
        """

    @abstractmethod
    def latent_shape(self, width: int, height: int, model: str | None = None) -> tuple[int, int, int]:
        """``(C, h, w)`` for an image size.

        Raises:
            InvalidInputError: size not a multiple of 8 or out of range.
        """

    @abstractmethod
    def initial_noise(self, seeds: tuple[int, ...], shape: tuple[int, int, int]) -> Tensor:
        """The start noise that the host itself would use for these seeds, float32 ``[n, C, h, w]``."""

    def pin(self, request: GenerationRequest) -> GenerationRequest:
        """Write into a request what the host would otherwise take from its own settings each time that it runs (VAE, clip skip, styles).

        A study keeps the result, so that its rounds stay comparable when the person changes the host's settings. Pinning twice changes
        nothing more.

        Raises:
            InvalidInputError, NotFoundError: as :meth:`validate`.
        """
        self.validate(request)
        return request

    @abstractmethod
    def validate(self, request: GenerationRequest) -> None:
        """Check a request without running it.

        Raises:
            InvalidInputError, NotFoundError: the message names the field, the value seen and what is allowed.
            ModelError: a model, or a LoRA in the prompt, that is broken or of another family.
        """

    @abstractmethod
    def generate(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[GeneratedImage]:
        """Yield images as they finish, in request order within a batch.

        Raises:
            InvalidInputError: as :meth:`validate`, before any work.
            GenerationInterrupted: ``cancel`` was set; nothing half-denoised was or will be yielded.
            GenerationError: not-a-number latents, out of memory. ModelError: the model cannot be loaded.
        """

    @cached_property
    def scorers(self) -> ScorerShelf:
        """Scorers for whoever judges this host's images; with the host's device and folders where it has some."""
        from lib_rankopt.scorers.shelf import ScorerShelf

        return ScorerShelf()

    @abstractmethod
    def lora_dir(self) -> Path | None:
        """Folder from which the host loads ``<lora:name:1>``, or ``None`` where it cannot."""

    @abstractmethod
    def model_path(self, model: str | None = None) -> Path:
        """File or folder of a model, for another process to read.

        Raises:
            NotFoundError: there is none of that name.
        """

    def trainer_place(self) -> TrainerPlace:
        """Where a training process of this host's runs."""
        return TrainerPlace()

    def away(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the model does not occupy the device and requests wait; afterwards all is as before, also after a failure."""
        return contextlib.nullcontext()

    def gallery_file(self, name: str) -> Path:
        """Return the file that the host's own gallery shows under an address, with all links followed.

        Raises:
            NotFoundError: the host has no gallery, or the file is gone.
            InvalidInputError: the address is no file's, or the file none of the gallery's single images.
        """
        raise NotFoundError(f"The {self.name} host has no gallery, and '{name[:60]}' is none of its images.")

    def wants(self, file: Path, kind: str, source: str) -> bool:
        """Whether feedback on a file of the gallery is to be kept: what a person says always, what he does where he has allowed it.

        The host may remember that something was done with the image.

        Args:
            kind: ``like``, ``dislike`` or ``unlike``.
            source: what was done, empty for what was said; see :meth:`implicit_weights`.
        """
        return not source

    def implicit_weights(self) -> dict[str, float]:
        """How much each source of implicit feedback counts, 0 to 1 of what a person says; nothing where the host watches for none."""
        return {}

    def find_loras(self) -> None:  # noqa: B027  (most hosts keep no list)
        """Look for new files in :meth:`lora_dir`, where the host keeps a list of them."""
