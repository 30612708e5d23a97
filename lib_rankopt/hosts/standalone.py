"""The host without a webui: own model, k-diffusion's samplers, on CUDA, MPS or the CPU."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import GenerationError, GenerationInterrupted, InvalidInputError, ModelError
from lib_rankopt.hosts.base import (
    GeneratedImage,
    GenerationRequest,
    Host,
    HostDefaults,
    ModelIdentity,
    ProgressCallback,
    TrainerPlace,
)
from lib_rankopt.hosts.library import POCKET, ModelLibrary
from lib_rankopt.hosts.loras import LoraFolder, RequestLoras
from lib_rankopt.hosts.picks import PickBoard
from lib_rankopt.hosts.pocket import pocket_defaults
from lib_rankopt.hosts.validation import check_latents, check_name, check_settings, check_size, check_steps

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

    from lib_rankopt.diffusion.loading import StableDiffusion
    from lib_rankopt.diffusion.lora.applied import AppliedLoras
    from lib_rankopt.diffusion.sampling import OnStep
    from lib_rankopt.hosts.standalone_pool import StandalonePool
    from lib_rankopt.hosts.standalone_run import StandaloneRun
    from lib_rankopt.scorers.base import Scorer
    from lib_rankopt.scorers.shelf import ScorerShelf
    from lib_rankopt.selection.settings import Selection

_CFG = {"sd1": 7.0, "sd2": 7.0, "sdxl": 6.0}
_WAIT_SECONDS = 0.1


class StandaloneHost(Host):
    """Generates with a model of its own.

    Requests from several threads take turns, batch by batch. A model is loaded at the first image and stays
    in memory until another one is asked for; a request that is still under way keeps its own until it ends.

    Args:
        models_dir: folder with single files and diffusers folders, searched with its sub-folders.
        default_model: a name from :meth:`models`, or a path to a model elsewhere.
        device: ``"cuda"``, ``"mps"``, ``"cpu"`` …; ``None`` takes the first of these that there is.
        dtype: ``None`` is float16 on CUDA and float32 elsewhere.
        weights: folders in which weights of scorers are looked for.
        lora_dir: folder with the LoRAs of prompts' ``<lora:name:1>``, searched with its sub-folders; ``None`` refuses such tags.
    """

    name = "standalone"

    def __init__(
        self,
        models_dir: Path | None = None,
        default_model: str | Path = POCKET,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        weights: Sequence[Path] = (),
        lora_dir: Path | None = None,
    ) -> None:
        self._library = ModelLibrary(models_dir, str(default_model))
        self._device, self._dtype, self._weights = device, dtype, weights
        self._lock = threading.Lock()
        self._loras = LoraFolder(lora_dir)
        # by the UNet that they are merged into, which they must not keep in memory
        self._applied: weakref.WeakKeyDictionary[nn.Module, AppliedLoras] = weakref.WeakKeyDictionary()
        self._tiny: dict[Path, Callable[[Tensor], list[Image.Image]]] = {}
        self.picks = PickBoard()

    @cached_property
    def scorers(self) -> ScorerShelf:
        from lib_rankopt.scorers.shelf import ScorerShelf

        return ScorerShelf(self._weights, self.device)

    @property
    def device(self) -> torch.device:
        """Where models run."""
        import torch

        if self._device is None:
            cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
            self._device = "cuda" if cuda else "mps" if mps else "cpu"
        return torch.device(self._device)

    @property
    def dtype(self) -> torch.dtype:
        """Of UNets and text encoders."""
        import torch

        if self._dtype is not None:
            return self._dtype
        return torch.float16 if self.device.type == "cuda" else torch.float32

    def samplers(self) -> tuple[str, ...]:
        from lib_rankopt.diffusion import samplers

        return samplers.NAMES

    def schedulers(self) -> tuple[str, ...]:
        from lib_rankopt.diffusion import schedules

        return schedules.NAMES

    def models(self) -> tuple[str, ...]:
        return self._library.names()

    def defaults(self, model: str | None = None) -> HostDefaults:
        if self._library.name(model) == POCKET:
            return pocket_defaults()
        config = self._library.config(model)
        return HostDefaults(config.image_size, config.image_size, 20, "DPM++ 2M", "Karras", _CFG[config.family])

    def identity(self, model: str | None = None) -> ModelIdentity:
        if not self._library.settled(model):
            with self._lock:
                self._library.load(model, self.device, self.dtype)
        return self._library.identity(model)

    def latent_shape(self, width: int, height: int, model: str | None = None) -> tuple[int, int, int]:
        check_size(width, height)
        config = self._library.config(model)
        return config.latent_channels, height // config.downscale, width // config.downscale

    def initial_noise(self, seeds: tuple[int, ...], shape: tuple[int, int, int]) -> Tensor:
        from lib_rankopt.diffusion.noise import start_noise

        return start_noise(seeds, shape)

    def validate(self, request: GenerationRequest) -> None:
        from lib_rankopt.diffusion.lora import tags
        from lib_rankopt.diffusion.samplers import SAMPLERS, kept_steps

        check_settings(request)
        check_name("sampler", request.sampler, self.samplers())
        repaint = request.init_image is not None
        made = kept_steps(request.steps, request.denoising_strength) if repaint else request.steps
        check_steps(made, request.sampler, SAMPLERS[request.sampler].min_steps)
        check_name("scheduler", request.scheduler, self.schedulers())
        tags.refuse(request.negative_prompt, "negative_prompt")
        if request.extra:
            raise InvalidInputError(
                f"extra holds {', '.join(sorted(request.extra))}, but the standalone host takes no extra values"
            )
        family = self._library.config(request.model).family
        self._loras.check(request.prompt, lambda: self._library.targets(request.model), family)
        shape = self.latent_shape(request.width, request.height, request.model)
        check_latents(request.latents, len(request.seeds), shape)
        if request.selection is not None:
            self._check_selection(request, request.selection)

    def generate(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[GeneratedImage]:
        """Yield images as they finish; see :meth:`Host.generate`.

        Args:
            request: what to generate.
            progress: called after every sampler step and every finished image.
            cancel: set it to stop.
            on_step: sees every sampler step and may replace rows of its tensors in place.
        """
        self.validate(request)
        return self._images(request, progress, cancel, on_step)

    def lora_dir(self) -> Path | None:
        return self._loras.path

    def unload(self) -> None:
        """Drop the loaded model once no request runs."""
        with self._lock:
            self._library.unload()

    def _images(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
        on_step: OnStep | None,
    ) -> Iterator[GeneratedImage]:
        from lib_rankopt.hosts.standalone_run import StandaloneRun

        with self._turn(cancel):
            model = self._library.load(request.model, self.device, self.dtype)
            loras = self._loras_of(request, model)
            run = StandaloneRun(model, self._library.identity(request.model), request, progress, cancel, on_step, loras)
            images = run.images() if request.selection is None else self._pool(run, request.selection).images()
        while True:
            # not held while the consumer has the image: one that never comes back must not block the others
            with self._turn(cancel):
                image = next(images, None)
            if image is None:
                return
            yield image

    def _loras_of(self, request: GenerationRequest, model: StableDiffusion) -> RequestLoras:
        """Read the LoRAs of a request; called in its turn, as what it returns."""
        from lib_rankopt.diffusion.lora.applied import AppliedLoras, summed
        from lib_rankopt.diffusion.lora.tags import split
        from lib_rankopt.diffusion.memory import within_memory

        asked, hashes = self._loras.open(request.prompt, lambda: self._library.targets(request.model), model.config.family)
        wanted, applied = summed(asked), self._applied.setdefault(model.unet, AppliedLoras())

        def put_on() -> None:
            within_memory(
                lambda: applied.use(model, wanted),
                model.device,
                lambda failure: GenerationError(f"out of memory while merging LoRAs: close what else uses memory ({failure})"),
            )

        return RequestLoras(split(request.prompt)[0], hashes, put_on)

    def _check_selection(self, request: GenerationRequest, selection: Selection) -> None:
        from lib_rankopt.diffusion.samplers import SAMPLERS, kept_steps
        from lib_rankopt.selection.create import SamplerRun, policy_of, seeds_of

        if selection.scorer and not selection.path:
            self.scorers.check(selection.scorer)
        sampler = SAMPLERS[request.sampler]
        steps = request.steps if request.init_image is None else kept_steps(request.steps, request.denoising_strength)
        eta = sampler.eta if request.eta is None or sampler.eta is None else request.eta
        run = SamplerRun(sampler.function, steps, eta, equal_start=request.latents is not None, name=sampler.name)
        for seed in request.seeds:
            policy_of(selection, run, seeds_of(selection, seed))

    def _pool(self, run: StandaloneRun, selection: Selection) -> StandalonePool:
        from lib_rankopt.diffusion import tiny_decoder
        from lib_rankopt.hosts.standalone_pool import Choosing, StandalonePool

        name = selection.scorer if not selection.path else ""
        folder = tiny_decoder.find(self._library.folder, run.model.config.family)
        if selection.decoder == "taesd" and folder is None:
            raise ModelError(
                "TAESD was asked for, but its folder (taesd or taesdxl, as published for diffusers) is not below the models folder: put it "
                "there, or take the decoder auto."
            )
        small = None
        if folder is not None and selection.decoder in ("auto", "taesd"):
            small = self._tiny.get(folder) or tiny_decoder.load(folder, self.device, self.dtype)
            self._tiny[folder] = small
        return StandalonePool(run, selection, Choosing(lambda: self._lent(name), self.picks, small, lambda: self._aside(run)))

    def _lent(self, name: str) -> contextlib.AbstractContextManager[Scorer | None]:
        return self.scorers.lent(name) if name else contextlib.nullcontext()

    def model_path(self, model: str | None = None) -> Path:
        return self._library.path(model)

    def trainer_place(self) -> TrainerPlace:
        return TrainerPlace(device=str(self.device))

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        with self._turn(None):
            self._library.unload()
            yield

    @contextlib.contextmanager
    def _aside(self, run: StandaloneRun) -> Iterator[None]:
        """Let other requests run meanwhile; called in the thread whose turn it is."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
        run.loras.put_on()  # the others may have left theirs on

    @contextlib.contextmanager
    def _turn(self, cancel: threading.Event | None) -> Iterator[None]:
        while not self._lock.acquire(timeout=_WAIT_SECONDS):
            if cancel is not None and cancel.is_set():
                raise GenerationInterrupted("interrupted while waiting for another request")
        try:
            yield
        finally:
            self._lock.release()
