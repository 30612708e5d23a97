"""Samplers that k-diffusion's file lacks, in its calling convention: ``(model, x, sigmas, …, callback,
noise_sampler)``.

As there, the callback comes before ``x`` and ``denoised`` are used, so that a row of either may be replaced
in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.diffusion.noise import NoiseSampler

Model = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[dict[str, Any]], None]


@torch.no_grad()
def sample_lcm(
    model: Model, x: Tensor, sigmas: Tensor, callback: Callback, noise_sampler: NoiseSampler, **_: Any
) -> Tensor:
    """Latent consistency sampling (arXiv 2310.04378): predict the clean latent, noise it again, less."""
    ones = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones)
        callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = denoised
        if sigmas[i + 1] > 0:
            x = x + sigmas[i + 1] * noise_sampler(sigmas[i], sigmas[i + 1])
    return x


@torch.no_grad()
def sample_ddim(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    callback: Callback,
    noise_sampler: NoiseSampler,
    eta: float = 0.0,
    **_: Any,
) -> Tensor:
    """DDIM (arXiv 2010.02502) on the webui's timesteps.

    Written in sigma, with ``x`` divided by the root of alpha, DDIM's step *is* the Euler ancestral step: its
    variance ``eta² (1-a')/(1-a) (1-a/a')`` is the ancestral ``eta² s'² (s²-s'²)/s²`` there. What remains of
    DDIM is that it starts from noise at the variance-preserving scale and ends at its last timestep, not at
    level 0.

    Args:
        sigmas: levels of the timesteps, decreasing, the last above 0.
    """
    euler = kdiffusion.module().sample_euler_ancestral
    x = euler(model, x, sigmas, callback=callback, disable=True, eta=eta, noise_sampler=noise_sampler)
    return x / (1 + sigmas[-1] ** 2) ** 0.5


def ddim_timesteps(steps: int, total: int = 1000) -> list[int]:
    """Increasing timesteps of the webui's DDIM.

    One more than it evaluates, and more than ``steps`` where they do not divide ``total``.
    """
    return [min(t + 1, total - 1) for t in range(0, total, total // steps)]
