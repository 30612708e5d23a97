"""Policies: what they keep, compared with the formulas by brute force."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.policies import Decision, Greedy, Halving, Policy, Resample, systematic


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def resample(pool: int = 4, steps: int = 20, **options: object) -> Resample:
    return Resample(pool, steps, generator=generator(), **options)  # type: ignore[arg-type]


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values)


ALL = [lambda pool=4, steps=20: Halving(pool, steps), lambda pool=4, steps=20: Greedy(pool, steps), resample]


# -- the contract
@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("steps", [4, 7, 20, 50])
def test_decisions_come_in_order_and_never_at_the_last_step(make: type[Policy], steps: int) -> None:
    found = make(4, steps).decides_at()
    assert list(found) == sorted(set(found))
    assert 0 <= found[0] <= found[-1] < steps - 1


@pytest.mark.parametrize("make", ALL)
def test_every_decision_is_whole(make: type[Policy]) -> None:
    policy = make(8)
    draws = generator(5)
    for _ in policy.decides_at():
        decision = policy.decide(torch.randn(8, generator=draws))
        assert len(decision.alive) == 8
        assert any(decision.alive)
        if decision.parents is not None:
            assert all(0 <= parent < 8 and decision.alive[parent] for parent in decision.parents)
            assert policy.needs_noise
    last = torch.arange(8.0)
    assert policy.best(last) == max(row for row in range(8) if decision.alive[row])


@pytest.mark.parametrize("make", ALL)
def test_equal_scores_change_nothing_that_they_need_not(make: type[Policy]) -> None:
    decision = make(4).decide(torch.ones(4))
    assert decision.parents in (None, (0, 0, 0, 0))
    assert decision.alive[0]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("broken", [(1.0, math.nan, 2.0, 3.0), (1.0, math.inf, 2.0, 3.0), (1.0, 2.0, 3.0)])
def test_broken_scores_are_refused(make: type[Policy], broken: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"candidate 2|3 scores"):
        make(4).decide(scores(*broken))


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(("pool", "steps"), [(1, 20), (4, 1)])
def test_what_is_too_small_is_refused(make: type[Policy], pool: int, steps: int) -> None:
    with pytest.raises(InvalidInputError):
        make(pool, steps)


# -- halving
@pytest.mark.parametrize("pool", [4, 6, 8, 16])
@pytest.mark.parametrize("steps", [4, 12, 20, 50])
def test_halving_keeps_the_best_and_costs_half_of_its_pool(pool: int, steps: int) -> None:
    policy, values = Halving(pool, steps), torch.randn(3, pool, generator=generator(pool + steps))
    alive, spent, turn = list(range(pool)), 0, 0
    for step in range(steps):
        spent += len(alive)
        if step in policy.decides_at():
            decision = policy.decide(values[turn])
            alive = sorted(alive, key=lambda row: -float(values[turn, row]))[: len(alive) // 2]
            assert [row for row in range(pool) if decision.alive[row]] == sorted(alive)
            turn += 1
    assert spent == Halving(pool, steps).evaluations()
    if pool % 4 == 0 and steps % 4 == 0:
        assert spent == pool // 2 * steps
    assert policy.best(values[2]) == max(alive, key=lambda row: float(values[2, row]))


def test_a_dropped_row_may_have_any_score() -> None:
    policy = Halving(4, 20)
    assert policy.decide(scores(1, 4, 3, 2)).alive == (False, True, True, False)
    assert policy.decide(scores(math.nan, 1, 2, math.nan)).alive == (False, False, True, False)


# -- greedy
def test_greedy_goes_on_from_the_best() -> None:
    policy = Greedy(4, 20, every=4)
    assert policy.decides_at() == (4, 8, 12, 16)
    assert policy.decide(scores(1, 3, 2, 3)) == Decision((1, 1, 1, 1), (True,) * 4)


# -- resampling
def test_systematic_resampling_draws_in_proportion() -> None:
    draws = generator(7)
    for _ in range(200):
        weights = torch.softmax(2 * torch.randn(6, generator=draws), 0)
        parents = systematic(weights, draws)
        for row, weight in enumerate(weights.tolist()):
            assert math.floor(6 * weight - 1e-6) <= parents.count(row) <= math.ceil(6 * weight + 1e-6)
            assert parents[row] == row or row not in parents


def test_systematic_resampling_is_right_on_average() -> None:
    weights, draws, counts = torch.tensor([0.05, 0.6, 0.15, 0.2]), generator(8), Counter[int]()
    for _ in range(4000):
        counts.update(systematic(weights, draws))
    assert [counts[row] / 16000 for row in range(4)] == pytest.approx(weights.tolist(), abs=0.01)


@pytest.mark.parametrize("potential", ["diff", "max", "sum"])
def test_weights_are_those_of_the_paper(potential: str) -> None:
    """Without resampling the weight of a path is the product of its potentials; λ is in units of the first pool's deviation."""
    rows = torch.randn(4, 5, generator=generator(9)).double()
    policy = resample(5, potential=potential, strength=1.5, threshold=0.0)
    unit = float(rows[0].std())
    product = torch.ones(5, dtype=torch.float64)
    for turn in range(4):
        value = policy.decide(rows[turn]).values["effective sample size"]
        before = rows[turn - 1] if turn else rows[0]
        grown = {
            "diff": rows[turn] - before,
            "max": rows[: turn + 1].max(0).values,
            "sum": rows[: turn + 1].sum(0),
        }[potential]
        product *= torch.exp(1.5 * grown / unit)
        weights = product / product.sum()
        assert value == pytest.approx(float(1 / (weights**2).sum()), rel=1e-9)


def test_a_path_takes_its_history_along() -> None:
    policy = resample(3, potential="max", strength=50.0, threshold=1.0)
    assert policy.decide(scores(0, 0, 9)).parents == (2, 2, 2)
    # the maximum of all three is 9 now: what is shown since counts for nothing
    assert policy.decide(scores(1, 2, 3)).parents == (0, 1, 2)


def test_the_trigger_waits_and_the_skipped_weights_are_carried_on() -> None:
    policy = resample(4, potential="sum", strength=0.5, threshold=0.5)
    turns = [policy.decide(scores(0, 0, 0, 1)) for _ in range(4)]
    assert turns[0].parents is None
    assert any(turn.parents is not None for turn in turns)
    sizes = [turn.values["effective sample size"] for turn in turns]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_scorers_scale_does_not_matter(scale: float) -> None:
    values = torch.randn(4, 8, generator=generator(11)).double()
    plain, scaled = resample(8), resample(8)
    for row in values:
        assert plain.decide(row).parents == scaled.decide(scale * row).parents


@pytest.mark.parametrize(("every", "start"), [(0, 0.2), (4, 1.0)])
def test_impossible_schedules_are_refused(every: int, start: float) -> None:
    with pytest.raises(InvalidInputError, match="take"):
        Greedy(4, 20, every, start)
