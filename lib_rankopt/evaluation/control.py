"""The control of every comparison: the best of as many fresh seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.hosts.base import GenerationRequest

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lib_rankopt.hosts.base import Host

ScoreFunction = Callable[["Sequence[Image.Image]"], "Tensor"]

# The optimiser's own first round is drawn from the study's seed; an offset keeps the control's draws apart from it.
_SEED_OFFSET = 7_919_000


@dataclass(frozen=True)
class ControlResult:
    """Outcome of :func:`best_of_n`: the best score, its image and every score in the order of the draws."""

    best: float
    image: Image.Image
    scores: tuple[float, ...]


def best_of_n(host: Host, request: GenerationRequest, score: ScoreFunction, n: int) -> ControlResult:
    """Generate ``n`` images from fresh start noise and keep the best by ``score``.

    Everything but the start noise is as in ``request``: prompt, sampler, and the sampler's own noise (the seed of ``request.seeds[0]``
    for all images), so that the comparison with an optimiser differs in the start noise alone.

    Args:
        request: template; its ``latents`` are ignored and its first seed decides the draws.
        score: images to float32 ``[n]``, higher is better.
        n: number of images, as many as the optimiser has shown.

    Raises:
        InvalidInputError: ``n`` below 1. Errors of the host and the scorer pass through.
    """
    if n < 1:
        raise InvalidInputError(f"Best of {n}: at least one image is needed.")
    seed = request.seeds[0]
    shape = host.latent_shape(request.width, request.height, request.model)
    generator = torch.Generator().manual_seed((seed + _SEED_OFFSET) % 2**63)
    scores: list[float] = []
    best: tuple[float, Image.Image] | None = None
    for start in range(0, n, request.batch_size):
        count = min(request.batch_size, n - start)
        latents = torch.randn(count, *shape, generator=generator)
        part = dataclasses.replace(request, seeds=(seed,) * count, latents=latents)
        images = [made.image for made in host.generate(part)]
        values = [float(v) for v in score(images)]
        scores += values
        top = max(range(count), key=values.__getitem__)
        if best is None or values[top] > best[0]:
            best = (values[top], images[top])
    assert best is not None
    return ControlResult(best[0], best[1], tuple(scores))
