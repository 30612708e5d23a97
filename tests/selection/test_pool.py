"""A pool through a whole run: what is evaluated, what is kept, and what is written down."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.policies import Greedy, Halving, Policy, Resample
from lib_rankopt.selection.pool import PoolRun
from lib_rankopt.selection.rows import CallbackRows
from tests.selection.toy import ROWS, SIGMAS, STEPS, Noise, denoiser


def judge(latents: Tensor) -> Tensor:
    return latents[:, 0].mean((1, 2))


def run(name: str, policy: Policy | None, seen: list[int] | None = None) -> tuple[Tensor, PoolRun | None]:
    """One run of four rows; ``seen`` gets the number of rows of every model call."""
    noise = Noise()

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        if seen is not None:
            seen.append(len(x))
        return denoiser(x, sigma)

    pool = PoolRun(policy, judge) if policy else None
    rows = CallbackRows(pool.choose) if pool else None
    options = {} if name == "sample_dpmpp_2m" else {"noise_sampler": noise.draws(lambda _: list(range(ROWS)), 1)}
    latents = getattr(kdiffusion.module(), name)(
        pool.over(model) if pool else model, noise.start.clone(), SIGMAS, disable=True, **options,
        callback=lambda state: rows(state["i"], state["x"], state["denoised"]) if rows else None,
    )  # fmt: skip
    return latents, pool


@pytest.mark.parametrize("name", ["sample_dpmpp_2m", "sample_euler_ancestral", "sample_dpmpp_3m_sde"])
def test_halving_saves_evaluations_and_leaves_the_others_as_they_were(name: str) -> None:
    plain, _ = run(name, None)
    seen: list[int] = []
    thinned, pool = run(name, Halving(ROWS, STEPS), seen)
    assert pool is not None
    best = pool.finish(thinned)
    assert torch.equal(thinned[best], plain[best])
    assert sum(seen) == pool.evaluated == Halving(ROWS, STEPS).evaluations() == ROWS // 2 * STEPS
    assert bool(torch.isfinite(thinned).all())


def test_every_look_is_written_down() -> None:
    latents, pool = run("sample_dpmpp_2m", Halving(ROWS, STEPS))
    assert pool is not None
    best = pool.finish(latents)
    first, second, last = pool.looks
    assert (first.step, second.step, last.step) == (2, 5, STEPS)
    assert None not in first.scores
    assert [score is not None for score in second.scores] == list(first.alive)
    assert last.alive.index(True) == best
    kept = [row for row in range(ROWS) if first.alive[row]]
    assert min(first.scores[row] for row in kept) > max(first.scores[row] for row in range(ROWS) if row not in kept)  # type: ignore[type-var]


def test_greedy_goes_on_from_the_best_and_ends_higher() -> None:
    plain, _ = run("sample_euler_ancestral", None)
    latents, pool = run("sample_euler_ancestral", Greedy(ROWS, STEPS, every=1))
    assert pool is not None
    best = pool.finish(latents)
    assert judge(latents)[best] > judge(plain).max()
    for look in pool.looks[:-1]:
        assert look.parents == (look.scores.index(max(look.scores)),) * ROWS  # type: ignore[type-var]


def test_steering_by_a_reward_raises_it_on_average() -> None:
    plain, _ = run("sample_euler_ancestral", None)
    ends = []
    for seed in range(8):
        policy = Resample(ROWS, STEPS, generator=torch.Generator().manual_seed(seed), every=2, threshold=1.0)
        ends.append(judge(run("sample_euler_ancestral", policy)[0]).mean())
    assert torch.stack(ends).mean() > judge(plain).mean()


def test_a_scorer_that_fails_stops_the_run_with_its_own_words() -> None:
    pool = PoolRun(Greedy(ROWS, STEPS), lambda latents: torch.full((len(latents),), torch.nan))
    with pytest.raises(InvalidInputError, match="candidate 1"):
        pool.choose(pool._policy.decides_at()[0], Noise().start, Noise().start)
