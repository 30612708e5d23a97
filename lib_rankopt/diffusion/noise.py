"""Noise with one source per image, so that no image depends on its batch or on its neighbours.

The webui does the same (``modules/rng.py`` with the randn source "CPU"): one generator per image gives the
start noise first and the noise inside the sampler after it; the SDE samplers get one Brownian tree per image
instead. Everything is drawn on the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion

NoiseSampler = Callable[[Tensor, Tensor], Tensor]
"""k-diffusion's noise source: ``(sigma, sigma_next) -> `` standard normal like x."""


class ImageNoise:
    """Standard normal noise for a batch, row ``i`` drawn from its own generator.

    Args:
        seeds: one per row, 0 … 2**63 - 1.
        shape: of one row, ``(C, h, w)``.
    """

    def __init__(self, seeds: Sequence[int], shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]

    def next(self) -> Tensor:
        """The next draw of every row, float32 ``[n, C, h, w]`` on the CPU; the first one is the start noise."""
        return torch.stack([torch.randn(self.shape, generator=g) for g in self._generators])


def start_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """The start noise of these seeds, float32 ``[n, C, h, w]``, unit variance."""
    if not seeds:
        return torch.empty((0, *shape))
    return ImageNoise(seeds, shape).next()


def image_noise_sampler(noise: ImageNoise, like: Tensor) -> NoiseSampler:
    """A k-diffusion noise sampler that draws from ``noise`` onto ``like``'s device."""
    return lambda sigma, sigma_next: noise.next().to(like)


def brownian_noise_sampler(seeds: Sequence[int], like: Tensor, sigmas: Tensor) -> NoiseSampler:
    """k-diffusion's Brownian tree with one tree per image over the schedule's positive range."""
    positive = sigmas[sigmas > 0].cpu()
    tree = kdiffusion.module().BrownianTreeNoiseSampler(
        torch.empty_like(like, device="cpu", dtype=torch.float32),
        positive.min(),
        positive.max(),
        seed=list(seeds),
    )

    def sampler(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        with warnings.catch_warnings():
            # torchsde keeps its ends as rounded decimals and warns of levels that are theirs but for the
            # rounding
            warnings.filterwarnings("ignore", message="Should have t[ab]")
            return tree(sigma.cpu(), sigma_next.cpu()).to(like)

    return sampler
