"""The Gaussian shell: where initial noise lives.

x ~ N(0, I) in d dimensions has a norm within about 0.7 of √d, and a diffusion model treats any other norm as another noise
level. So every proposal is put back on ‖x‖ = √d. Distances are angles: adding μ·ξ with independent noise ξ and renormalising
turns x by arctan μ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InvalidInputError

_SEED_LIMIT = 2**63


def dimension(shape: tuple[int, int, int]) -> int:
    """Return d = C·h·w.

    Raises:
        InvalidInputError: not three positive integers, or fewer than two elements in all.
    """
    if (
        len(shape) != 3
        or any(not isinstance(v, int) or isinstance(v, bool) or v < 1 for v in shape)
        or math.prod(shape) < 2
    ):
        raise InvalidInputError(f"a latent shape is three positive integers (channels, height, width), not {shape!r}")
    return math.prod(shape)


def generator(seed: int) -> torch.Generator:
    """Return a CPU generator seeded with ``seed``.

    Raises:
        InvalidInputError: not an integer in 0 … 2⁶³−1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < _SEED_LIMIT:
        raise InvalidInputError(f"a seed is an integer from 0 to {_SEED_LIMIT - 1}, not {seed!r}")
    return torch.Generator(device="cpu").manual_seed(seed)


def norm(x: Tensor) -> float:
    """Return the Euclidean norm of all elements, summed in float64."""
    return math.sqrt(float(x.double().square().sum()))


def project(x: Tensor) -> Tensor:
    """Return ``x`` scaled to ‖x‖ = √d, float32, same shape.

    Raises:
        InvalidInputError: the norm is zero or not finite, so that no direction is left.
    """
    length = norm(x)
    if not (math.isfinite(length) and length > 0.0):
        raise InvalidInputError(f"a latent of norm {length} cannot be put on the shell")
    return (x.double() * (math.sqrt(x.numel()) / length)).float()


def fresh(shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
    """Return new noise ``[C, h, w]`` on the shell."""
    return project(torch.randn(shape, generator=rng, dtype=torch.float32))


def perturb(x: Tensor, mu: float, rng: torch.Generator) -> Tensor:
    """Return ``x`` + ``mu``·ξ put back on the shell, ξ ~ N(0, I)."""
    return project(x.double() + mu * torch.randn(x.shape, generator=rng, dtype=torch.float32).double())


def lag1_autocorrelation(latent: Tensor) -> float:
    """Return the larger in size of the horizontal and vertical lag-1 correlations of a latent ``[C, h, w]``.

    White noise has 0 ± 1/√d. A search that builds up spatial structure, which the denoiser would show as smears, exceeds that
    long before the norm shows anything.
    """
    x = latent.double() - latent.double().mean()
    total = float(x.square().sum())
    if total == 0.0:
        return 0.0
    across = float((x[:, :, 1:] * x[:, :, :-1]).sum()) / total
    down = float((x[:, 1:, :] * x[:, :-1, :]).sum()) / total
    return max((across, down), key=abs)
