"""Noise schedules under the webui's names (``modules/sd_schedulers.py`` of its version 1.10.1).

Each takes the number of steps and the model's noise levels and returns decreasing sigmas, float32 ``[n + 1]``
on the CPU. They end in 0, except KL Optimal, which ends at the lowest level.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.diffusion.denoiser import NoiseSchedule

AUTOMATIC = "Automatic"
_BETA_SHAPE = 0.6  # the webui's default for both parameters of its "Beta" schedule

# Published tables of "Align Your Steps" (arXiv 2404.14507), 10 steps
_ALIGNED = {
    "sd1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
}


def _ended(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas.float(), torch.zeros(1)])


def _uniform(n: int, levels: NoiseSchedule) -> Tensor:
    return levels.uniform_sigmas(n)


def _karras(n: int, levels: NoiseSchedule) -> Tensor:
    return kdiffusion.module().get_sigmas_karras(n, levels.sigma_min, levels.sigma_max)


def _exponential(n: int, levels: NoiseSchedule) -> Tensor:
    return kdiffusion.module().get_sigmas_exponential(n, levels.sigma_min, levels.sigma_max)


def _polyexponential(n: int, levels: NoiseSchedule) -> Tensor:
    return kdiffusion.module().get_sigmas_polyexponential(n, levels.sigma_min, levels.sigma_max)


def _timesteps(levels: NoiseSchedule, count: int) -> Tensor:
    first, last = (levels.sigma_to_t(torch.tensor(s)) for s in (levels.sigma_max, levels.sigma_min))
    return torch.linspace(float(first), float(last), count)


def _normal(n: int, levels: NoiseSchedule) -> Tensor:
    return _ended(levels.t_to_sigma(_timesteps(levels, n)))


def _sgm_uniform(n: int, levels: NoiseSchedule) -> Tensor:
    return _ended(levels.t_to_sigma(_timesteps(levels, n + 1)[:-1]))


def _kl_optimal(n: int, levels: NoiseSchedule) -> Tensor:
    low, high = (torch.tensor(s).arctan() for s in (levels.sigma_min, levels.sigma_max))
    done = torch.arange(n + 1) / n
    return (done * low + (1 - done) * high).tan()


def _simple(n: int, levels: NoiseSchedule) -> Tensor:
    total = len(levels.sigmas)
    return _ended(levels.sigmas[[total - 1 - int(i * (total / n)) for i in range(n)]])


def _ddim(n: int, levels: NoiseSchedule) -> Tensor:
    stride = max(len(levels.sigmas) // n, 1)
    return _ended(levels.sigmas[1::stride].flip(0))


def _beta(n: int, levels: NoiseSchedule) -> Tensor:
    from scipy import stats

    quantiles = [float(stats.beta.ppf(1 - i / max(n - 1, 1), _BETA_SHAPE, _BETA_SHAPE)) for i in range(n)]
    return _ended(levels.sigma_min + torch.tensor(quantiles) * (levels.sigma_max - levels.sigma_min))


def align_your_steps(n: int, family: str) -> Tensor:
    """The published schedule of ``sdxl`` or any other family, log-linear between its levels."""
    import numpy as np

    table = np.array(_ALIGNED["sdxl" if family == "sdxl" else "sd1"])
    if n != len(table):
        places = np.linspace(0, 1, n)
        table = np.exp(np.interp(places, np.linspace(0, 1, len(table)), np.log(table[::-1])))[::-1]
    return _ended(torch.from_numpy(table.copy()))


_SCHEDULES: dict[str, Callable[[int, NoiseSchedule], Tensor]] = {
    "Uniform": _uniform,
    "Karras": _karras,
    "Exponential": _exponential,
    "Polyexponential": _polyexponential,
    "SGM Uniform": _sgm_uniform,
    "KL Optimal": _kl_optimal,
    "Align Your Steps": lambda n, levels: align_your_steps(n, "sd1"),
    "Simple": _simple,
    "Normal": _normal,
    "DDIM": _ddim,
    "Beta": _beta,
}

NAMES: tuple[str, ...] = (AUTOMATIC, *_SCHEDULES)


def sigmas(name: str, n: int, levels: NoiseSchedule, family: str = "sd1") -> Tensor:
    """Sigmas of ``n`` steps, ``[n + 1]``; the DDIM schedule may have more, as in the webui, where 1,000 is no
    multiple of ``n``.

    Args:
        name: one of :data:`NAMES` but ``Automatic``, which the sampler resolves.
        n: steps, at least 1.
        levels: the model's noise levels.
        family: model family, for the schedules that were tuned per family.
    """
    if name == "Align Your Steps":
        return align_your_steps(n, family)
    return _SCHEDULES[name](n, levels)
