"""The samplers under the webui's names (its version 1.10.1): which function, noise and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from lib_rankopt.diffusion import extra_samplers, kdiffusion, schedules
from lib_rankopt.diffusion.denoiser import NoiseSchedule


@dataclass(frozen=True)
class Sampler:
    """One entry of the table.

    Attributes:
        function: name in k-diffusion's ``sampling.py`` or in :mod:`extra_samplers`.
        scheduler: what ``Automatic`` means for it; ``None`` is evenly spaced timesteps.
        noise: what it draws inside the run: nothing, standard normal per image, or a Brownian tree per image.
        eta: default noise multiplier; ``None`` for a sampler without one.
        evaluations: of the model, per ordinary step.
        discard_penultimate: drop the last level above 0, as the webui does for some second-order samplers.
        own_schedule: the sampler brings its levels, a scheduler cannot be chosen.
        min_steps: fewer cannot run: DDIM makes one evaluation less than it has steps, and k-diffusion's 2M
            SDE and 3M SDE fail at one.
    """

    name: str
    function: str
    scheduler: str | None = None
    noise: Literal["none", "image", "brownian"] = "none"
    eta: float | None = None
    evaluations: int = 1
    discard_penultimate: bool = False
    own_schedule: bool = False
    min_steps: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def resolve(self) -> Callable[..., Tensor]:
        """The sampler function itself."""
        own = getattr(extra_samplers, self.function, None)
        return own if own is not None else getattr(kdiffusion.module(), self.function)


_HEUN = {"solver_type": "heun"}
_TABLE = (
    Sampler("DPM++ 2M", "sample_dpmpp_2m", "Karras"),
    Sampler("DPM++ SDE", "sample_dpmpp_sde", "Karras", "brownian", 1.0, 2),
    Sampler("DPM++ 2M SDE", "sample_dpmpp_2m_sde", "Exponential", "brownian", 1.0, min_steps=2),
    Sampler(
        "DPM++ 2M SDE Heun", "sample_dpmpp_2m_sde", "Exponential", "brownian", 1.0, min_steps=2, options=_HEUN
    ),
    Sampler("DPM++ 2S a", "sample_dpmpp_2s_ancestral", "Karras", "image", 1.0, 2),
    Sampler(
        "DPM++ 3M SDE",
        "sample_dpmpp_3m_sde",
        "Exponential",
        "brownian",
        1.0,
        discard_penultimate=True,
        min_steps=2,
    ),
    Sampler("Euler a", "sample_euler_ancestral", None, "image", 1.0),
    Sampler("Euler", "sample_euler"),
    Sampler("LMS", "sample_lms"),
    Sampler("Heun", "sample_heun", evaluations=2),
    Sampler("DPM2", "sample_dpm_2", "Karras", evaluations=2, discard_penultimate=True),
    Sampler("DPM2 a", "sample_dpm_2_ancestral", "Karras", "image", 1.0, 2, discard_penultimate=True),
    Sampler("DPM fast", "sample_dpm_fast", None, "image", 0.0, own_schedule=True),
    Sampler("DDIM", "sample_ddim", None, "image", 0.0, own_schedule=True, min_steps=2),
    Sampler("LCM", "sample_lcm", None, "image"),
)
SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in _TABLE}
NAMES: tuple[str, ...] = tuple(SAMPLERS)


@dataclass(frozen=True)
class Plan:
    """A sampler with its levels for one run.

    Attributes:
        scheduler: the schedule's name once ``Automatic`` is resolved, itself ``Automatic`` where the sampler
            has no favourite.
        sigmas: decreasing, float32 ``[k + 1]``, CPU.
        start_scale: factor from unit noise to the first ``x``.
        steps: callbacks that the run will make.
        eta: noise multiplier, ``None`` where the sampler has none.
        evaluations: model evaluations asked for, for the sampler that counts those and not steps.
    """

    sampler: Sampler
    scheduler: str
    sigmas: Tensor
    start_scale: float
    steps: int
    eta: float | None
    evaluations: int


def plan(
    name: str,
    scheduler: str,
    steps: int,
    levels: NoiseSchedule,
    *,
    family: str = "sd1",
    eta: float | None = None,
) -> Plan:
    """Work out a run.

    Args:
        name: a key of :data:`SAMPLERS`.
        scheduler: one of :data:`schedules.NAMES`.
        steps: 1 … 150.
        levels: the model's noise levels, for LCM its 50.
        family: model family.
        eta: noise multiplier, ``None`` for the sampler's default.
    """
    sampler = SAMPLERS[name]
    eta = sampler.eta if eta is None or sampler.eta is None else eta
    if name == "DDIM":
        t = torch.tensor(extra_samplers.ddim_timesteps(steps, len(levels.sigmas)))
        sigmas = levels.sigmas[t].flip(0)
        return Plan(
            sampler,
            schedules.AUTOMATIC,
            sigmas,
            math.sqrt(1 + float(sigmas[0]) ** 2),
            len(sigmas) - 1,
            eta,
            steps,
        )
    if name == "DPM fast":
        sigmas = torch.tensor([levels.sigma_max, levels.sigma_min])
        return Plan(sampler, schedules.AUTOMATIC, sigmas, levels.sigma_max, _fast_steps(steps), eta, steps)
    chosen = sampler.scheduler if scheduler == schedules.AUTOMATIC else scheduler
    count = steps + int(sampler.discard_penultimate)
    sigmas = schedules.sigmas(chosen or "Uniform", count, levels, family)
    if sampler.discard_penultimate:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    return Plan(sampler, chosen or schedules.AUTOMATIC, sigmas, float(sigmas[0]), len(sigmas) - 1, eta, steps)


def repainting(whole: Plan, steps: int, strength: float, levels: NoiseSchedule) -> Plan:
    """The end of a run, for img2img: as many of its last steps as ``strength`` says, as the webui counts them.

    Args:
        whole: plan of the run from noise alone, in ``steps`` steps.
        strength: above 0, up to 1; 1 keeps all levels, and still starts from the image with the first level's noise on it.
        levels: the model's noise levels.
    """
    kept = kept_steps(steps, strength)
    if whole.sampler.function == "sample_dpm_fast":
        sigmas = levels.uniform_sigmas(steps)[-kept - 1 :]
        ends = torch.stack([sigmas[0], sigmas[-2] if kept > 1 else sigmas[0] * 0.5])
        return replace(whole, sigmas=ends, start_scale=float(ends[0]), steps=_fast_steps(kept), evaluations=kept)
    sigmas = whole.sigmas[-min(kept + 1, len(whole.sigmas)) :]
    return replace(whole, sigmas=sigmas, start_scale=float(sigmas[0]), steps=len(sigmas) - 1, evaluations=kept)


def kept_steps(steps: int, strength: float) -> int:
    """How many of ``steps`` an img2img run makes (the webui's ``setup_img2img_steps``)."""
    return int(min(strength, 0.999) * steps) + 1


def _fast_steps(evaluations: int) -> int:
    """DPM fast spends its evaluations three to a step and ends with shorter ones."""
    return evaluations // 3 + 1
