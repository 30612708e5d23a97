"""Run a sampler on one batch, with hooks at every step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_rankopt.diffusion.noise import ImageNoise, NoiseSampler, brownian_noise_sampler, image_noise_sampler
from lib_rankopt.diffusion.samplers import Plan
from lib_rankopt.errors import GenerationError


@dataclass(frozen=True)
class Step:
    """What a sampler knows when it has evaluated the model at the start of a step.

    ``x`` and ``denoised`` are the sampler's own tensors: in-place edits take effect for the samplers whose
    callback comes before their use (Euler a, DPM2 a, 2S a, SDE, 2M, 2M SDE, 3M SDE, LCM, DDIM); clone what
    you keep.

    Attributes:
        index: 0 … steps - 1.
        steps: in this run.
        sigma: noise level of ``x``.
        x: ``[n, C, h, w]``.
        denoised: prediction of the clean latent, guidance applied.
    """

    index: int
    steps: int
    sigma: float
    x: Tensor
    denoised: Tensor


OnStep = Callable[[Step], None]


def sample(
    plan: Plan,
    model: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
    device: torch.device | str = "cpu",
    start: Tensor | None = None,
) -> Tensor:
    """Denoise a batch.

    Each row depends on its own noise and seed only. The generator of a row is advanced past the start noise
    that its seed would have given, so that the noise inside the run does not depend on whether ``noise`` was
    supplied.

    Args:
        plan: sampler and levels.
        model: guidance denoiser, ``(x, sigma) ->`` predicted clean latents.
        noise: start noise, ``[n, C, h, w]``, unit variance.
        seeds: one per row, for the noise inside the run.
        on_step: called at every step; may raise to stop.
        device: where to run.
        start: clean latent ``[C, h, w]`` that all rows begin at, with the first level's noise on it (img2img).

    Returns:
        Clean latents, float32 ``[n, C, h, w]`` on ``device``.

    Raises:
        GenerationError: a latent became infinite or not-a-number.
    """
    x = noise.to(device, torch.float32) * plan.start_scale
    if start is not None:
        x = x + start.to(x)
    sigmas = plan.sigmas.to(x.device)
    arguments: dict[str, Any] = {
        "callback": _callback(plan, on_step),
        "disable": True,
        **plan.sampler.options,
    }
    if plan.eta is not None:
        arguments["eta"] = plan.eta
    source = _noise_sampler(plan, x, seeds)
    if source is not None:
        arguments["noise_sampler"] = source
    function = plan.sampler.resolve()
    if "sigma_min" in inspect.signature(function).parameters:
        bounds = {"sigma_min": sigmas[-1].item(), "sigma_max": sigmas[0].item(), "n": plan.evaluations}
        latents = function(model, x, **bounds, **arguments)
    else:
        latents = function(model, x, sigmas, **arguments)
    _require_finite(latents, "the last step")
    return latents


def _noise_sampler(plan: Plan, x: Tensor, seeds: Sequence[int]) -> NoiseSampler | None:
    if plan.sampler.noise == "none":
        return None
    if plan.sampler.noise == "brownian":
        return brownian_noise_sampler(seeds, x, plan.sigmas)
    noise = ImageNoise(seeds, x.shape[1:])
    noise.next()
    return image_noise_sampler(noise, x)


def _callback(plan: Plan, on_step: OnStep | None) -> Callable[[dict[str, Any]], None]:
    def callback(state: dict[str, Any]) -> None:
        _require_finite(state["denoised"], f"step {state['i'] + 1} of {plan.steps}")
        if on_step is not None:
            on_step(Step(state["i"], plan.steps, float(state["sigma"]), state["x"], state["denoised"]))

    return callback


def _require_finite(latents: Tensor, where: str) -> None:
    if not torch.isfinite(latents).all():
        raise GenerationError(
            f"the latents hold not-a-number or infinite values at {where}; if the model runs in half precision, try float32, "
            "otherwise lower the CFG scale or check the checkpoint"
        )
