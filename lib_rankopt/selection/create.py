"""From a request's selection to the policy of one run, the noise seeds of its pool and the place in its sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.placement import INSTEAD, Placement, looking, placement, quiet
from lib_rankopt.selection.policies import BestOfN, Follow, Greedy, Halving, Human, Policy, Resample
from lib_rankopt.selection.record import parse_path
from lib_rankopt.selection.settings import Selection

_STRIDE = 1_000_003  # a prime far above the number of images that anybody makes with consecutive seeds


@dataclass(frozen=True)
class SamplerRun:
    """What matters of the run that a pool goes through.

    Attributes:
        function: name of the sampler's function. name: the sampler's own, for messages.
        steps: callbacks that it makes.
        eta: noise multiplier, ``None`` for the sampler's own default. churn: ``s_churn``.
        equal_start: whether all rows start from one latent.
    """

    function: str
    steps: int
    eta: float | None = None
    churn: float = 0.0
    equal_start: bool = False
    name: str = ""


def seeds_of(selection: Selection, seed: int) -> tuple[int, ...]:
    """Noise seeds of a pool's rows, the image's own first. They depend on nothing else, and images of neighbouring seeds share none.

    Along a given path they are the path's.

    Raises:
        InvalidInputError: the path cannot be read, or is that of another seed.
    """
    if not selection.path:
        return tuple((seed + row * _STRIDE) % 2**32 for row in range(selection.rows))
    path = parse_path(selection.path)
    if path[0][1] != seed:
        raise InvalidInputError(f"The path '{selection.path}' begins with seed {path[0][1]}, and the image's is {seed}.")
    return tuple(dict.fromkeys(number for _, number in path))


def policy_of(selection: Selection, run: SamplerRun, seeds: Sequence[int]) -> tuple[Policy, Placement]:
    """Make the policy of one run, and say where it looks.

    Args:
        seeds: as :func:`seeds_of` gave them; the first one also seeds what resampling draws.

    Raises:
        InvalidInputError: the sampler, the steps or the pool do not suit the policy; says what to use instead.
    """
    policy = _policy(selection, run, seeds)
    if len(set(seeds)) < len(seeds):
        raise InvalidInputError("The candidates of a pool have equal seeds, so they would be equal images.")
    if policy.needs_noise and len(seeds) > 1:
        return policy, placement(run.function, eta=run.eta, churn=run.churn, name=run.name)
    if run.equal_start and not selection.path and (why := quiet(run.function, eta=run.eta, churn=run.churn)):
        raise InvalidInputError(f"The candidates start from one latent and would stay equal in the sampler '{run.name}': {why}. {INSTEAD}.")
    return policy, looking(run.function, run.name)


def _policy(selection: Selection, run: SamplerRun, seeds: Sequence[int]) -> Policy:
    rows, steps, at = len(seeds), run.steps, selection.at
    if selection.path:
        path = parse_path(selection.path)
        return Follow(rows, steps, tuple((step, list(seeds).index(seed)) for step, seed in path))
    if selection.policy == "halving":
        return Halving(rows, steps, at or Halving.default_at)
    if selection.policy == "greedy":
        return Greedy(rows, steps, selection.every, selection.start, at)
    if selection.policy == "resample":
        generator = torch.Generator("cpu").manual_seed(seeds[0])
        return Resample(
            rows, steps, generator=generator, potential=selection.potential, strength=selection.strength,  # type: ignore[arg-type]
            every=selection.every, start=selection.start, at=at, threshold=selection.threshold,
        )  # fmt: skip
    if selection.policy == "human":
        return Human(rows, steps, copies=quiet(run.function, eta=run.eta, churn=run.churn) is None, at=at or Human.default_at)
    return BestOfN(rows, steps)
