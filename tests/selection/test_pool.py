"""A pool through a whole run: what is evaluated, what is kept, what is written down, and the same in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import extra_samplers, kdiffusion
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.placement import looking
from lib_rankopt.selection.policies import Follow, Greedy, Halving, Human, Policy, Resample
from lib_rankopt.selection.pool import Launch, PoolRun
from lib_rankopt.selection.record import SelectionRecord, parse_path
from tests.selection.toy import ROWS, SIGMAS, STEPS, Noise, denoiser

SEEDS = (11, 22, 33, 44)


def judge(latents: Tensor, _rows: Sequence[int], _step: int) -> Tensor:
    return latents[:, 0].mean((1, 2))


class Sampled:
    """One run of four rows; ``seen`` are the numbers of rows of the model calls."""

    def __init__(self, name: str, policy: Policy, at_once: int = 0, score: Callable[..., Tensor] = judge) -> None:
        self.name, self.seen = name, list[int]()
        self.noise = Noise()
        self.run = PoolRun(policy, score, looking(name))
        self.row, self.latent = self.run.sample(self.sampler, at_once)

    def sampler(self, launch: Launch) -> Tensor:
        place = looking(self.name)

        def ask(rows: tuple[int, ...], x: Tensor, sigma: Tensor) -> Tensor:
            self.seen.append(len(rows))
            assert len(x) == len(sigma) == len(rows)
            return denoiser(x, sigma)

        per_step = 2 if self.name == "sample_dpmpp_sde" else 1
        draw = self.noise.draws(lambda _: list(launch.rows), per_step)
        options = {} if self.name in ("sample_dpmpp_2m", "sample_heun") else {"noise_sampler": draw}
        assert place.place in ("callback", "model")
        function = getattr(extra_samplers, self.name, None) or getattr(kdiffusion.module(), self.name)
        return function(  # type: ignore[no-any-return]
            launch.model(ask), self.noise.start[list(launch.rows)], SIGMAS, disable=True, **options,
            callback=lambda state: launch.callback(state["i"], state["x"], state["denoised"]),
        )  # fmt: skip

    def record(self) -> SelectionRecord:
        return SelectionRecord("any", "toy", STEPS, SEEDS, tuple(self.run.looks), self.run.evaluated)


def plain(name: str) -> Tensor:
    """All four rows as they are without selection."""
    noise = Noise()
    options = {} if name in ("sample_dpmpp_2m", "sample_heun") else {"noise_sampler": noise.draws(lambda _: list(range(ROWS)), 1)}
    found: Tensor = getattr(kdiffusion.module(), name)(denoiser, noise.start.clone(), SIGMAS, disable=True, **options)
    return found


# -- halving
@pytest.mark.parametrize("name", ["sample_dpmpp_2m", "sample_euler_ancestral", "sample_dpmpp_3m_sde", "sample_lms", "sample_heun"])
@pytest.mark.parametrize("at_once", [0, 3, 1])
def test_halving_saves_evaluations_and_leaves_the_others_as_they_were(name: str, at_once: int) -> None:
    if name == "sample_lms":
        found = _without_noise(name, at_once)
    else:
        found = Sampled(name, Halving(ROWS, STEPS), at_once)
        assert torch.equal(found.latent[0], plain(name)[found.row])
    if name != "sample_heun":  # two calls a step
        assert sum(found.seen) == found.run.evaluated == Halving(ROWS, STEPS).evaluations() == ROWS // 2 * STEPS
    assert bool(torch.isfinite(found.latent).all())
    assert found.record().path_text() == str(SEEDS[found.row])


def _without_noise(name: str, at_once: int) -> Sampled:
    class Quiet(Sampled):
        def sampler(self, launch: Launch) -> Tensor:
            def ask(rows: tuple[int, ...], x: Tensor, sigma: Tensor) -> Tensor:
                self.seen.append(len(rows))
                return denoiser(x, sigma)

            found: Tensor = getattr(kdiffusion.module(), self.name)(
                launch.model(ask), self.noise.start[list(launch.rows)], SIGMAS, disable=True,
                callback=lambda state: launch.callback(state["i"], state["x"], state["denoised"]),
            )  # fmt: skip
            return found

    return Quiet(name, Halving(ROWS, STEPS), at_once)


def test_every_look_is_written_down() -> None:
    found = Sampled("sample_dpmpp_2m", Halving(ROWS, STEPS))
    first, second, last = found.run.looks
    assert (first.step, second.step, last.step) == (2, 5, STEPS)
    assert None not in first.scores
    assert [score is not None for score in second.scores] == list(first.alive)
    assert last.alive.index(True) == found.row
    kept = [row for row in range(ROWS) if first.alive[row]]
    assert min(first.scores[row] for row in kept) > max(first.scores[row] for row in range(ROWS) if row not in kept)  # type: ignore[type-var]


# -- parts
COPYING = [
    "sample_euler_ancestral", "sample_dpm_2_ancestral", "sample_dpmpp_sde", "sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde", "sample_lcm",
]  # fmt: skip
POLICIES: dict[str, Callable[[], Policy]] = {
    "greedy": lambda: Greedy(ROWS, STEPS, every=2),
    "resample": lambda: Resample(ROWS, STEPS, generator=torch.Generator().manual_seed(1), every=2, threshold=1.0),
    "halving": lambda: Halving(ROWS, STEPS),
}


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", COPYING)
def test_a_pool_in_parts_is_the_pool(name: str, policy: str, at_once: int) -> None:
    whole, parts = Sampled(name, POLICIES[policy]()), Sampled(name, POLICIES[policy](), at_once)
    assert whole.row == parts.row
    assert (whole.latent - parts.latent).abs().max() == 0.0
    assert [(one.step, one.scores, one.parents, one.alive) for one in whole.run.looks] == [
        (one.step, one.scores, one.parents, one.alive) for one in parts.run.looks
    ]
    assert max(parts.seen) <= at_once
    assert whole.run.evaluated == parts.run.evaluated


@pytest.mark.parametrize("at_once", [0, 1])
def test_gradients_are_afterwards_as_they_were(at_once: int) -> None:
    Sampled("sample_euler_ancestral", Greedy(ROWS, STEPS, every=2), at_once)
    assert torch.is_grad_enabled()


def test_a_part_that_fails_ends_the_others() -> None:
    ended = []

    def sampler(launch: Launch) -> Tensor:
        try:
            for step in range(STEPS):
                if launch.rows == (1,) and step == 4:
                    raise RuntimeError("no more memory")
                launch.callback(step, torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))
            return torch.zeros(1, 2, 3, 3)
        finally:
            ended.append(launch.rows)

    run = PoolRun(Greedy(3, STEPS, every=2), judge, looking("sample_euler_ancestral"))
    with pytest.raises(RuntimeError, match="no more memory"):
        run.sample(sampler, 1)
    assert sorted(ended) == [(0,), (1,), (2,)]


# -- paths
@pytest.mark.parametrize("at_once", [0, 1])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", COPYING)
def test_the_recorded_path_makes_the_image_again(name: str, policy: str, at_once: int) -> None:
    chosen = Sampled(name, POLICIES[policy]())
    path = tuple((step, SEEDS.index(seed)) for step, seed in parse_path(chosen.record().path_text()))
    again = Sampled(name, Follow(ROWS, STEPS, path), at_once)
    assert (again.latent - chosen.latent).abs().max() == 0.0
    assert max(again.seen) == 1
    assert again.record().path() == chosen.record().path()


# -- what the policies are for
def test_greedy_goes_on_from_the_best_and_ends_higher() -> None:
    found = Sampled("sample_euler_ancestral", Greedy(ROWS, STEPS, every=1))
    before = plain("sample_euler_ancestral")
    assert judge(found.latent, (), 0) > judge(before, (), 0).max()
    for look in found.run.looks[:-1]:
        assert look.parents == (look.scores.index(max(look.scores)),) * ROWS  # type: ignore[type-var]


def test_steering_by_a_reward_raises_it_on_average() -> None:
    ends = []
    for seed in range(8):
        policy = Resample(ROWS, STEPS, generator=torch.Generator().manual_seed(seed), every=2, threshold=1.0)
        ends.append(torch.tensor(Sampled("sample_euler_ancestral", policy).run.looks[-1].scores).mean())
    assert torch.stack(ends).mean() > judge(plain("sample_euler_ancestral"), (), 0).mean()


@pytest.mark.parametrize("copies", [True, False])
def test_a_person_picks_and_the_run_goes_on_from_there(copies: bool) -> None:
    marks = {2: [0.0, 1.0, 1.0, 0.0], 5: [1.0, 1.0, 1.0, 1.0]}

    def person(_latents: Tensor, rows: Sequence[int], step: int) -> Tensor:
        wanted = marks.get(step, [0.0, 0.0, 1.0, 0.0])
        return torch.tensor([wanted[row] for row in rows])

    found = Sampled("sample_euler_ancestral", Human(ROWS, STEPS, copies, (0.25, 0.5)), 0, person)
    first, second, _ = found.run.looks
    assert first.parents == ((1, 1, 2, 2) if copies else None)
    assert first.alive == ((True,) * 4 if copies else (False, True, True, False))
    assert second.parents is None
    assert found.row == 2


def test_a_scorer_that_fails_stops_the_run_with_its_own_words() -> None:
    with pytest.raises(InvalidInputError, match="candidate 1"):
        Sampled("sample_euler_ancestral", Greedy(ROWS, STEPS), 0, lambda latents, *_: torch.full((len(latents),), torch.nan))
