"""Noise of a pool in the webui: every row has its seed's own, as if it were the only image."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from modules import sd_samplers_common
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.hosts.webui.noise import PresetFirstNoise
from lib_rankopt.hosts.webui.shared_noise import SharedNoise


class PoolNoise:
    """Start noise and the noise inside the sampler for the rows of one pool.

    Args:
        given: the webui's generator of the image, or ours; stays as it is.
        seeds: of the rows, the image's own first.
        own: the image's start noise as it came, ``[1, C, h, w]``, perhaps scaled.
        scale: by which it was.

    Attributes:
        start: ``[rows, C, h, w]``, scaled.
        is_equal: whether all rows start from one latent, because another than the seed's own was given.
    """

    def __init__(self, given: Any, seeds: Sequence[int], own: Tensor, scale: float = 1.0) -> None:
        self.seeds = tuple(seeds)
        self._given, self._source = given, _source(given, self.seeds)
        self._first: Tensor = self._source.next()
        start = self._first * scale if scale != 1.0 else self._first
        is_preset = isinstance(given, PresetFirstNoise) and given.is_preset
        self.is_equal = is_preset or not torch.equal(own.to(start), start[:1])  # another extension may have put its own there
        self.start = own.expand(len(self.seeds), -1, -1, -1).clone() if self.is_equal else start.to(own)

    def chosen(self, row: int) -> None:
        """Note that the image was made from this row, and put everything where a plain run of its seed has it.

        The second pass of *Hires. fix* encodes with the global generator.
        """
        _source(self._given, (self.seeds[row],)).next()
        if isinstance(self._given, PresetFirstNoise) and not self.is_equal:
            self._given.chosen(self._first[row : row + 1])

    def inside(self, rows: Sequence[int]) -> Any:
        """Stand in for ``torch`` in k-diffusion, from the beginning of the run on."""
        source = copy.copy(self._source)
        source.seeds = [self.seeds[row] for row in rows]
        source.generators = [_copied(self._source.generators[row]) for row in rows]
        return sd_samplers_common.TorchHijack(SimpleNamespace(rng=source))

    def shared(self, rows: Sequence[int], device: torch.device) -> SharedNoise:
        """Stand in for ``torch`` where Forge draws from the one generator for all."""
        return SharedNoise([_left_in_torch(self._given, self.seeds[row]) for row in rows], device)

    def tree(self, rows: Sequence[int], x: Tensor, sigmas: Tensor) -> Any:
        """Make the Brownian noise of these rows, one tree for each."""
        seeds = [self.seeds[row] for row in rows]
        return kdiffusion.module().BrownianTreeNoiseSampler(
            x[:1].expand(len(seeds), *x.shape[1:]), sigmas[sigmas > 0].min(), sigmas.max(), seed=seeds
        )


def _source(given: Any, seeds: Sequence[int]) -> Any:
    """A generator like the given one, with other seeds."""
    base = given.base if isinstance(given, PresetFirstNoise) else given
    height, width = getattr(base, "seed_resize_from_h", 0), getattr(base, "seed_resize_from_w", 0)
    resized = {"seed_resize_from_h": height, "seed_resize_from_w": width} if height and width else {}
    return type(base)(base.shape, list(seeds), **resized)


def _left_in_torch(given: Any, seed: int) -> int:
    """Seed of torch's generator after a start noise: the image's own where that comes from elsewhere (*RNG: NV*)."""
    torch.manual_seed(seed)
    _source(given, (seed,)).next()
    return torch.initial_seed()


def _copied(generator: Any) -> Any:
    if not isinstance(generator, torch.Generator):
        return copy.deepcopy(generator)  # the webui's imitation of the GPU's
    own = torch.Generator(generator.device)
    own.set_state(generator.get_state())
    return own
