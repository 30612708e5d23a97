"""One request on the standalone host: batches, progress, previews, interruption, memory."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib_rankopt import __version__
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.decode import decode, encode, preview
from lib_rankopt.diffusion.denoiser import CFGDenoiser, Conditioning, Denoiser, LCMDenoiser, LCMSchedule
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.memory import is_out_of_memory, release, within_memory
from lib_rankopt.diffusion.noise import start_noise
from lib_rankopt.diffusion.samplers import Plan, plan, repainting
from lib_rankopt.diffusion.sampling import OnStep, Step, sample
from lib_rankopt.errors import GenerationError, GenerationInterrupted
from lib_rankopt.hosts.base import (
    GeneratedImage,
    GenerationRequest,
    ModelIdentity,
    ProgressCallback,
)
from lib_rankopt.hosts.infotext import infotext
from lib_rankopt.hosts.loras import RequestLoras
from lib_rankopt.hosts.reporter import Reporter

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger("rankopt.hosts")


class StandaloneRun:
    """Generates the images of one checked request with a loaded model.

    Args:
        model: loaded.
        identity: of the model, for the parameters text.
        request: already validated.
        progress: called after every sampler step and every finished image.
        cancel: checked before every model evaluation and every decode.
        on_step: sees every sampler step of every batch.
        loras: what the prompt's tags ask for.
    """

    def __init__(
        self,
        model: StableDiffusion,
        identity: ModelIdentity,
        request: GenerationRequest,
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
        on_step: OnStep | None = None,
        loras: RequestLoras | None = None,
    ) -> None:
        self.loras = loras or RequestLoras(request.prompt)
        self.model, self.identity, self.request = model, identity, request
        self.reporter = Reporter(len(request.seeds), progress)
        self._cancel = cancel
        self._on_step = on_step
        self._latents = self._start_latents()
        self.start = self._encoded_start()
        self.plan, self.denoiser = self._prepare()

    def images(self) -> Iterator[GeneratedImage]:
        """Yield the images in order.

        Raises:
            GenerationInterrupted: cancelled.
            GenerationError: out of memory with a single image, or not-a-number values.
        """
        size = self.request.batch_size
        first, total = 0, len(self.request.seeds)
        while first < total:
            rows = range(first, min(first + size, total))
            clean = self._sampled(rows)
            if clean is None:
                size = max(1, len(rows) // 2)
                logger.warning("out of memory with %d images at once; going on with %d", len(rows), size)
                continue
            for index in rows:
                yield self._finished(index, clean[index - first])
            first += len(rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one latent, ``(C, h, w)``."""
        config = self.model.config
        return config.latent_channels, self.request.height // config.downscale, self.request.width // config.downscale

    def stopped(self) -> bool:
        """Whether the run is to stop."""
        return self._cancel is not None and self._cancel.is_set()

    def step_of_pool(self, index: int, step: Step, shown: int | None) -> None:
        """Report one step of a part of image ``index``'s pool; row ``shown`` of it is its preview."""
        if self._on_step is not None:
            self._on_step(step)
        wanted = shown is not None and self._previewed(step)
        previews = {index: preview(self.model, step.denoised[shown])} if wanted and shown is not None else {}
        self.reporter.report(1, step.index + 1, step.steps, previews)

    def _start_latents(self) -> Tensor:
        request = self.request
        if request.latents is not None:
            return request.latents.detach().to("cpu", torch.float32).clone()
        return start_noise(request.seeds, self.shape)

    def _encoded_start(self) -> Tensor | None:
        image = self.request.init_image
        if image is None:
            return None
        return within_memory(
            lambda: encode(self.model, image),
            self.model.device,
            lambda failure: GenerationError(f"out of memory while encoding the image: choose a smaller size ({failure})"),
        )

    def _prepare(self) -> tuple[Plan, CFGDenoiser]:
        request, model = self.request, self.model
        self.loras.put_on()
        cond, uncond = self._encoded()
        lcm = request.sampler == "LCM"
        schedule = LCMSchedule(model.schedule.alphas_cumprod) if lcm else model.schedule
        kind = LCMDenoiser if lcm else Denoiser
        denoiser = kind(model.predict, schedule, model.config.prediction_type or "epsilon")
        whole = plan(
            request.sampler,
            request.scheduler,
            request.steps,
            schedule,
            family=model.config.family,
            eta=request.eta,
        )
        repaint = request.init_image is not None
        steps = repainting(whole, request.steps, request.denoising_strength, schedule) if repaint else whole
        return steps, CFGDenoiser(denoiser, cond, uncond, request.cfg_scale, self.check)

    def _encoded(self) -> tuple[Conditioning, Conditioning]:
        request, size = self.request, (self.request.width, self.request.height)
        advice = "shorten it or choose a smaller model"
        return within_memory(
            lambda: encode_prompts(self.model, self.loras.text, request.negative_prompt, size, request.clip_skip or 1),
            self.model.device,
            lambda failure: GenerationError(f"out of memory while encoding the prompt: {advice} ({failure})"),
        )

    def check(self) -> None:
        """Raise :class:`GenerationInterrupted` where the run is to stop."""
        if self.stopped():
            raise GenerationInterrupted(
                f"interrupted after {self.reporter.done} of {self.reporter.total} images; nothing half-finished was kept"
            )

    def _sampled(self, rows: range) -> Tensor | None:
        """Clean latents of these images, or ``None`` when memory ran out and a smaller batch may do."""

        def on_step(step: Step) -> None:
            self.check()
            if self._on_step is not None:
                self._on_step(step)
            self.reporter.report(len(rows), step.index + 1, step.steps, self._previews(rows, step))

        seeds = [self.request.seeds[i] for i in rows]
        self.loras.put_on()  # others had their turn since
        try:
            with torch.inference_mode():
                return sample(
                    self.plan,
                    self.denoiser,
                    self._latents[rows.start : rows.stop],
                    seeds,
                    on_step,
                    self.model.device,
                    self.start,
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = str(error)
        # outside the handler, so that the traceback no longer holds the tensors of the failed batch
        self.denoiser.forget()
        release(self.model.device)
        if len(rows) == 1:
            raise GenerationError(
                f"out of memory with a single image of {self.request.width}×{self.request.height}: "
                f"choose a smaller size or model ({failure})"
            )
        return None

    def _previews(self, rows: range, step: Step) -> dict[int, Image.Image]:
        if not self._previewed(step):
            return {}
        return {index: preview(self.model, step.denoised[i]) for i, index in enumerate(rows)}

    def _previewed(self, step: Step) -> bool:
        every = self.request.preview_every
        return bool(every) and (step.index + 1) % every == 0 and step.index + 1 < step.steps

    def _finished(self, index: int, clean: Tensor) -> GeneratedImage:
        self.check()
        image = self._decoded(clean)
        self.reporter.done += 1
        self.reporter.report(0, self.plan.steps, self.plan.steps)
        return GeneratedImage(
            index, image, self._latents[index], self.request.seeds[index], self.parameters(index, self.request.seeds[index], {})
        )

    def _decoded(self, clean: Tensor) -> Image.Image:
        what = f"{self.request.width}×{self.request.height}: choose a smaller size"
        return within_memory(
            lambda: decode(self.model, clean),
            self.model.device,
            lambda failure: GenerationError(f"out of memory while decoding {what} ({failure})"),
        )

    def parameters(self, index: int, seed: int, chosen: dict[str, Any]) -> str:
        """Parameters text of an image that was made with this noise seed; ``chosen`` are entries on how it was chosen."""
        request, eta = self.request, self.plan.eta
        own_latent = request.latents is not None
        digest = hashlib.sha256(self._latents[index].numpy().tobytes()).hexdigest() if own_latent else None
        default_eta = self.plan.sampler.eta
        return infotext(
            request.prompt,
            request.negative_prompt,
            {
                "Steps": request.steps,
                "Sampler": request.sampler,
                "Schedule type": self.plan.scheduler,
                "CFG scale": float(request.cfg_scale),
                "Seed": seed,
                "Size": f"{request.width}x{request.height}",
                "Denoising strength": float(request.denoising_strength) if request.init_image is not None else None,
                "Model hash": self.identity.sha256[:10],
                "Model": self.identity.name.rsplit("/", 1)[-1]
                .removesuffix(".safetensors")
                .removesuffix(".ckpt"),
                "Clip skip": request.clip_skip
                if (request.clip_skip or 1) > 1 and self.model.config.family == "sd1"
                else None,
                "RNG": "CPU",
                "Eta DDIM" if request.sampler == "DDIM" else "Eta": eta if eta != default_eta else None,
                **self.loras.parameters(),
                **chosen,
                "Rank-Optimize latent": digest,
                **(request.notes[index] if request.notes else {}),
                "Version": f"Rank-Optimize {__version__}",
            },
        )
