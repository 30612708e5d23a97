"""The host inside the AUTOMATIC1111 webui and its forks: the person's checkpoint, samplers, VAE, LoRAs and folders."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import rng, sd_models, sd_samplers, shared

from lib_rankopt.diffusion.checkpoint import read_shapes
from lib_rankopt.diffusion.families import detect
from lib_rankopt.diffusion.pocket.paths import checkpoint_path
from lib_rankopt.errors import ModelError, NotFoundError
from lib_rankopt.hosts.base import (
    GeneratedImage,
    GenerationRequest,
    Host,
    HostDefaults,
    ModelIdentity,
    ProgressCallback,
    TrainerPlace,
)
from lib_rankopt.hosts.gallery import named_file
from lib_rankopt.hosts.pocket import pocket_defaults
from lib_rankopt.hosts.validation import check_latents, check_name, check_settings, check_size
from lib_rankopt.hosts.webui import feedback_options, gallery_folders, moving, options, probes, surroundings

if TYPE_CHECKING:
    from torch import Tensor

    from lib_rankopt.hosts.picks import PickBoard
    from lib_rankopt.hosts.webui.feedback import GalleryFeedback
    from lib_rankopt.scorers.shelf import ScorerShelf
    from lib_rankopt.selection.settings import Selection

_FACTOR = 8  # pixels per element of a latent
_SIZES = {"sdxl": 1024, "sd3": 1024}


class WebuiHost(Host):
    """Generates through the webui's own ``process_images``, with whatever checkpoint is loaded.

    A study belongs to the checkpoint that it was made with. Another one is never loaded behind the person's back: a round then fails
    with a sentence that says which one is wanted.

    Args:
        script_args: makes the default arguments of the webui's always-visible scripts, of img2img where it is given true; it takes the
            webui's user interface.
        feedback: takes notice of what is done with images of the webui's galleries.
    """

    name = "webui"

    def __init__(self, script_args: Callable[[bool], list[Any]], feedback: GalleryFeedback | None = None) -> None:
        self._script_args = cache(script_args)
        self._feedback = feedback

    def samplers(self) -> tuple[str, ...]:
        return tuple(sd_samplers.visible_sampler_names())

    def schedulers(self) -> tuple[str, ...]:
        return probes.scheduler_labels()

    def styles(self) -> tuple[str, ...]:
        return tuple(shared.prompt_styles.styles)

    def models(self) -> tuple[str, ...]:
        current = self._current()
        # by name: a refreshed list has new objects
        others = (info.name for info in sd_models.checkpoints_list.values() if not current or info.name != current.name)
        return ((current.name,) if current else ()) + tuple(others)

    def loaded(self) -> str | None:
        current = self._current()
        return current.name if current else None

    def defaults(self, model: str | None = None) -> HostDefaults:
        info = self._current() if model is None else self._info(model)
        if info is not None and self._is_pocket(info):
            return pocket_defaults()
        side = _SIZES.get(_family(info), 512) if info is not None else 512  # the page must open without any checkpoint
        return HostDefaults(side, side, 20, "DPM++ 2M", "Automatic", 7.0)

    def identity(self, model: str | None = None) -> ModelIdentity:
        info = self._info(model)
        if info.sha256 is None:
            info.calculate_shorthash()
        prediction = "v_prediction" if _is_of(shared.sd_model, info) and probes.predicts_v(shared.sd_model) else "epsilon"
        return ModelIdentity(info.name, info.sha256 or info.hash, _family(info), prediction)

    def latent_shape(self, width: int, height: int, model: str | None = None) -> tuple[int, int, int]:
        check_size(width, height)
        loaded = shared.sd_model if _is_of(shared.sd_model, self._info(model)) else None
        return probes.latent_channels(loaded), height // _FACTOR, width // _FACTOR

    def initial_noise(self, seeds: tuple[int, ...], shape: tuple[int, int, int]) -> Tensor:
        noise: Tensor = rng.ImageRNG(shape, list(seeds)).next()
        return noise.detach().float().cpu()

    def validate(self, request: GenerationRequest) -> None:
        check_settings(request)
        check_name("sampler", request.sampler, tuple(sd_samplers.all_samplers_map))
        check_name("scheduler", request.scheduler, self.schedulers())
        self._info(request.model)
        options.check(request.extra)
        shape = self.latent_shape(request.width, request.height, request.model)
        check_latents(request.latents, len(request.seeds), shape)
        if request.selection is not None:
            self._check_selection(request, request.selection)

    def pin(self, request: GenerationRequest) -> GenerationRequest:
        return options.pinned(super().pin(request))

    def generate(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[GeneratedImage]:
        self.validate(request)
        return self._images(request, progress, cancel)

    @property
    def picks(self) -> PickBoard:
        """Where runs ask a person."""
        from lib_rankopt.hosts.webui import selection

        return selection.picks()

    @property
    def scorers(self) -> ScorerShelf:  # type: ignore[override]
        return surroundings.scorers()

    def lora_dir(self) -> Path | None:
        return Path(shared.cmd_opts.lora_dir)

    def find_loras(self) -> None:
        moving.find_loras()

    def model_path(self, model: str | None = None) -> Path:
        return Path(self._info(model).filename)

    def trainer_place(self) -> TrainerPlace:
        own = getattr(shared.cmd_opts, "rankopt_trainer_python", None)
        # the webui has k-diffusion as a checkout, and Forge as a folder of its own without __init__.py; only their processes find it
        samplers = next(iter(getattr(sys.modules.get("k_diffusion"), "__path__", ())), None)
        paths = (str(Path(samplers).resolve().parent),) if samplers else ()
        return TrainerPlace(own or sys.executable, str(shared.device), paths)

    def gallery_file(self, name: str) -> Path:
        if self._feedback is not None:
            self._feedback.look()
        return named_file(name, gallery_folders.images(), gallery_folders.grids())

    def wants(self, file: Path, kind: str, source: str) -> bool:
        return super().wants(file, kind, source) if self._feedback is None else self._feedback.wants(file, kind, source)

    def implicit_weights(self) -> dict[str, float]:
        return feedback_options.weights()

    def away(self) -> AbstractContextManager[None]:
        return moving.away()

    @staticmethod
    def _check_selection(request: GenerationRequest, wanted: Selection) -> None:
        from lib_rankopt.hosts.webui import selection

        steps = request.steps
        if request.init_image is not None:
            steps = selection.kept_steps(steps, request.denoising_strength)
        for seed in request.seeds:
            selection.check(wanted, request.sampler, steps, request.eta, seed, equal_start=request.latents is not None)

    def _images(
        self, request: GenerationRequest, progress: ProgressCallback | None, cancel: threading.Event | None
    ) -> Iterator[GeneratedImage]:
        from lib_rankopt.hosts.webui.run import WebuiRun

        checkpoint = self._loaded_for(request).filename
        return WebuiRun(request, self._script_args(request.init_image is not None), cancel, checkpoint).stream(progress)

    def _loaded_for(self, request: GenerationRequest) -> Any:
        """The loaded checkpoint, where it is the request's.

        Raises:
            ModelError: which one is loaded, and what to do.
        """
        wanted, current = self._info(request.model), self._current()
        if current is None or wanted.filename != current.filename:
            raise ModelError(
                f"The webui has {self.loaded() or 'no checkpoint'} loaded, and this study was made with {wanted.name}. "
                f"Choose {wanted.name} in the webui's checkpoint menu and try again, or go on with the loaded one in a new study."
            )
        return wanted

    # -- the webui's models
    def _current(self) -> Any:
        """The loaded checkpoint, or the one that is going to be loaded; ``None`` where there is no checkpoint at all."""
        model = sd_models.model_data.sd_model
        info = probes.waiting_checkpoint(sd_models.model_data) or getattr(model, "sd_checkpoint_info", None)
        if info is not None:
            return info
        chosen = sd_models.get_closet_checkpoint_match(shared.opts.sd_model_checkpoint or "")
        return chosen or next(iter(sd_models.checkpoints_list.values()), None)

    def _info(self, model: str | None) -> Any:
        """The checkpoint of that name, or the current one.

        Raises:
            NotFoundError: there is none.
        """
        if model is None:
            found = self._current()
        else:
            found = sd_models.get_closet_checkpoint_match(model) if model in sd_models.checkpoint_aliases else None
        if found is None:
            wanted = f"'{model}'" if model else "a checkpoint"
            folder = shared.cmd_opts.ckpt_dir or sd_models.model_path
            raise NotFoundError(f"The webui does not have {wanted}: put it into {folder} and refresh the checkpoint menu.")
        return found

    @staticmethod
    def _is_pocket(info: Any) -> bool:
        path = Path(info.filename)
        # its size will do: hashing our own file at every start takes longer than the rest of the tab
        return path.name == "pocket.safetensors" and path.is_file() and path.stat().st_size == checkpoint_path().stat().st_size


def _is_of(model: Any, info: Any) -> bool:
    """Whether the model in memory is that checkpoint's: Forge has an earlier one, or an empty one, until its next run."""
    own = getattr(model, "sd_checkpoint_info", None)
    return own is not None and bool(own.filename == info.filename)


def _family(info: Any) -> str:
    """``sd1``, ``sd2``, ``sdxl`` or ``sd3``: of the loaded model, or by the names in the file, so that nothing is loaded to know it."""
    model = sd_models.model_data.sd_model
    if _is_of(model, info):
        return next((name for name in ("sdxl", "sd3", "sd2") if getattr(model, f"is_{name}", False)), "sd1")
    if not info.is_safetensors:
        return "sd1"
    try:
        return detect(read_shapes(Path(info.filename)), info.name)
    except ModelError:
        return "sd1"  # the webui may know it all the same
