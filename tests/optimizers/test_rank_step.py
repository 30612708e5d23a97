"""What is particular to the default optimiser: when it shows the incumbent, where it looks, and what it learns."""

from __future__ import annotations

import math

import pytest
import torch

from lib_rankopt.optimizers import Proposal, RoundFeedback, create
from lib_rankopt.optimizers.ranking import tiers_from_scores
from tests.optimizers.conformance import DIMENSION, SHAPE, Judge, linear_judge, play, ranked, same, scored


def with_incumbent(rounds: list[list[Proposal]]) -> list[int]:
    """The rounds, counted from 1, that hold an incumbent."""
    return [r for r, proposals in enumerate(rounds, start=1) if any(p.origin == "incumbent" for p in proposals)]


@pytest.mark.parametrize(("every", "rounds"), [(6, [2, 8]), (1, list(range(2, 11))), (0, [])])
def test_the_incumbent_comes_in_the_second_round_and_then_at_its_interval(every: int, rounds: list[int]) -> None:
    optimizer = create("rank_step", SHAPE, 1, {"incumbent_every": every})
    assert with_incumbent(play(optimizer, linear_judge(), 10)) == rounds


def test_the_incumbent_was_seen_before_and_was_the_best_of_its_round() -> None:
    judge = linear_judge()
    rounds = play(create("rank_step", SHAPE, 1), judge, 2)
    best = max(rounds[0], key=lambda p: judge(p.latent))
    assert torch.equal(rounds[1][0].latent, best.latent)


def test_neighbours_surround_the_centre() -> None:
    """All at the angle of the spread, and the mean of their directions is the centre's own."""
    optimizer = create("rank_step", SHAPE, 3, {"incumbent_every": 0})
    play(optimizer, linear_judge(), 5)  # a fifth move has no probe after it
    centre, angle = optimizer.incumbent, optimizer.state().values["spread"]
    assert centre is not None
    latents = [p.latent.double() for p in optimizer.ask(8)]
    for x in latents:
        assert math.acos(float((x * centre).sum()) / DIMENSION) == pytest.approx(angle, rel=1e-4)
    mean = sum(latents[1:], latents[0]) / 8
    # single directions are made equally long after their mean was taken out, which leaves a little
    assert float((mean - math.cos(angle) * centre.double()).norm()) / DIMENSION**0.5 < 0.1 * math.sin(angle)


def test_a_probe_stands_next_to_the_centre() -> None:
    optimizer = create("rank_step", SHAPE, 3)
    play(optimizer, linear_judge(), 2)
    centre = optimizer.incumbent
    assert centre is not None
    turns = [math.acos(min(1.0, float((p.latent.double() * centre).sum()) / DIMENSION)) for p in optimizer.ask(8)]
    assert turns[0] == pytest.approx(0.1 * turns[1], rel=1e-3)


def test_consistent_answers_lower_the_noise_and_narrow_the_search() -> None:
    exact, careless = create("rank_step", SHAPE, 5), create("rank_step", SHAPE, 5)
    play(exact, linear_judge(), 12)
    dice = torch.Generator().manual_seed(0)
    play(careless, lambda _x: float(torch.rand(1, generator=dice)), 12)
    learned, doubted = exact.state().values, careless.state().values
    assert learned["noise"] < 0.15 < doubted["noise"]
    assert learned["expected_reward"] > 1.5 * doubted["expected_reward"]


def test_given_values_are_not_learned() -> None:
    optimizer = create("rank_step", SHAPE, 5, {"noise": 0.5, "length_scale": 0.9})
    play(optimizer, linear_judge(), 6)
    assert optimizer.state().values["noise"] == 0.5
    assert optimizer.state().values["length_scale"] == 0.9


def test_the_number_of_threads_cannot_be_seen() -> None:
    before, seen = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            seen.append(play(create("rank_step", (4, 64, 64), 2), lambda x: float(x.flatten()[:50].double().sum()), 8))
    finally:
        torch.set_num_threads(before)
    assert all(same(a, b) for a, b in zip(*seen, strict=True))


def test_old_rounds_leave_the_fit_but_not_the_memory() -> None:
    """More statements than are fitted anew: the climb goes on."""
    optimizer, judge = create("rank_step", SHAPE, 8), linear_judge()
    play(optimizer, judge, 18)
    assert optimizer.incumbent is not None
    halfway = judge(optimizer.incumbent)
    for _ in range(10):
        optimizer.tell(ranked(optimizer.ask(8), judge))
    assert judge(optimizer.incumbent) > halfway


def test_none_is_better_brings_the_incumbent_and_then_counts() -> None:
    optimizer = create("rank_step", SHAPE, 4)
    play(optimizer, linear_judge(), 2)
    rounds, states = [], []
    for _ in range(6):
        rounds.append(optimizer.ask(8))
        optimizer.tell(RoundFeedback(8, none_better=True))
        states.append(optimizer.state().values["moves"])
    assert with_incumbent(rounds) == [2, 4, 6]
    assert states[-1] == states[0] + 3


def test_a_skip_does_not_bring_the_incumbent() -> None:
    optimizer = create("rank_step", SHAPE, 4)
    play(optimizer, linear_judge(), 2)
    optimizer.ask(8)
    optimizer.tell(RoundFeedback(8))
    assert with_incumbent([optimizer.ask(8)]) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("spread", "length_scale"), [(0.01, 0.05), (0.005, 0.2), (0.05, 0.05)])
def test_candidates_too_near_to_be_told_apart_do_not_break_the_model(seed: int, spread: float, length_scale: float) -> None:
    optimizer = create("rank_step", (4, 8, 8), seed, {"spread": spread, "length_scale": length_scale})
    dice = torch.Generator().manual_seed(seed)
    for _ in range(10):
        n = len(optimizer.ask(8))
        rankings = tuple(tiers_from_scores(torch.rand(n, generator=dice).tolist()) for _ in range(1 + seed % 3))
        optimizer.tell(RoundFeedback(n, rankings))
    assert optimizer.incumbent is not None
    assert bool(torch.isfinite(optimizer.incumbent).all())
    assert all(math.isfinite(v) for v in optimizer.state().values.values())


def wavy_judge(seed: int, scale: float = 0.5, waves: int = 400) -> Judge:
    """A random field on the shell with standard deviation 1 that changes over an angle of ``scale``."""
    rng = torch.Generator().manual_seed(seed)
    w = torch.randn(waves, DIMENSION, generator=rng, dtype=torch.float64) / (scale * DIMENSION**0.5)
    a, b = torch.randn(waves, generator=rng, dtype=torch.float64), 2.0 * math.pi * torch.rand(waves, generator=rng, dtype=torch.float64)
    return lambda x: float(math.sqrt(2.0 / waves) * (a * torch.cos(w @ x.double().flatten() + b)).sum())


def test_numbers_lead_higher_than_the_ranks_of_single_rounds() -> None:
    """The best image of 12 rounds, mean over eight fields."""
    best = {ranked: 0.0, scored: 0.0}
    for seed in range(8):
        judge = wavy_judge(seed)
        for answer in best:
            rounds = play(create("rank_step", SHAPE, seed), judge, 12, answer=answer)
            best[answer] += max(judge(p.latent) for p in rounds[-1]) / 8
    assert best[scored] > best[ranked] + 0.3


def test_where_numbers_order_the_rounds_all_candidates_are_new() -> None:
    """Until a person takes over: ranks of single rounds need the incumbent for that."""
    optimizer, judge = create("rank_step", SHAPE, 1), linear_judge()
    assert with_incumbent(play(optimizer, judge, 7, answer=scored)) == []
    assert with_incumbent([optimizer.ask(8)]) == []
    optimizer.tell(RoundFeedback(8, none_better=True))
    assert with_incumbent([optimizer.ask(8)]) == [1]


def test_given_values_are_not_learned_from_numbers_either() -> None:
    optimizer = create("rank_step", SHAPE, 5, {"noise": 0.3, "length_scale": 0.9})
    play(optimizer, linear_judge(), 6, answer=scored)
    assert optimizer.state().values["noise"] == 0.3
    assert optimizer.state().values["length_scale"] == 0.9


def test_careless_numbers_are_seen_to_be_careless() -> None:
    exact, careless = create("rank_step", SHAPE, 5), create("rank_step", SHAPE, 5)
    play(exact, linear_judge(), 12, answer=scored)
    dice = torch.Generator().manual_seed(0)
    play(careless, lambda _x: float(torch.rand(1, generator=dice)), 12, answer=scored)
    assert exact.state().values["noise"] < 0.1 < 0.4 < careless.state().values["noise"]


def test_a_long_climb_by_numbers_goes_on() -> None:
    optimizer, judge = create("rank_step", SHAPE, 8), linear_judge()
    play(optimizer, judge, 18, answer=scored)
    assert optimizer.incumbent is not None
    halfway = judge(optimizer.incumbent)
    play(optimizer, judge, 10, answer=scored)
    assert judge(optimizer.incumbent) > halfway
