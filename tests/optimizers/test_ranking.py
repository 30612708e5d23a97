"""The ranking algebra against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.optimizers.base import RoundFeedback, Scores
from lib_rankopt.optimizers.ranking import (
    cancel,
    check,
    complete_tiers,
    rank_weights,
    scores_of,
    tiers_from_labels,
    tiers_from_scores,
    weights,
)


def brute_force(size: int, rankings: list[list[list[int]]], pairs: list[tuple[int, int]], shown: list[int]) -> np.ndarray:
    """Count edges one by one, cancel opposite ones one against one, sum."""
    edges = list(pairs)
    for tiers in rankings:
        place = {i: a for a, tier in enumerate(tiers) for i in tier}
        last = len(tiers)
        edges += [(i, j) for i in shown for j in shown if place.get(i, last) < place.get(j, last)]
    for edge in list(edges):
        if edge in edges and edge[::-1] in edges:
            edges.remove(edge)
            edges.remove(edge[::-1])
    out = np.zeros(size)
    for better, worse in edges:
        out[better] += 1 / len(edges)
        out[worse] -= 1 / len(edges)
    return out


MK = [(m, k) for m in range(2, 10) for k in range(1, m + 1)]


@pytest.mark.parametrize(("m", "k"), MK)
def test_every_m_k_equals_the_published_estimator(m: int, k: int) -> None:
    order = np.random.default_rng([m, k]).permutation(m).tolist()
    got = rank_weights([[i] for i in order[:k]], m)
    pairs = [(order[a], order[b]) for a in range(k) for b in range(a + 1, m)]
    assert len(pairs) == k * m - k * (k + 1) // 2
    want = np.zeros(m)
    for better, worse in pairs:  # (1/|E|)·Σ (x_better − x_worse)
        want[better] += 1 / len(pairs)
        want[worse] -= 1 / len(pairs)
    np.testing.assert_allclose(got, want, atol=1e-12)
    assert abs(got.sum()) < 1e-12
    closed = [(m - 1 - 2 * r) / len(pairs) for r in range(k)] + [-k / len(pairs)] * (m - k)
    np.testing.assert_allclose(got[order], closed, atol=1e-12)


def test_best_of_all_equals_leaving_the_last_one_unranked() -> None:
    np.testing.assert_allclose(rank_weights([[0], [1], [2], [3]], 4), rank_weights([[0], [1], [2]], 4))


def test_a_known_example_with_a_tie() -> None:
    np.testing.assert_allclose(rank_weights([[2], [0, 1]], 5), [0.125, 0.125, 0.5, -0.375, -0.375])


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, list[list[list[int]]], list[tuple[int, int]], list[int]]:
    size = draw(st.integers(2, 7))
    shown = sorted(draw(st.sets(st.integers(0, size - 1), min_size=2)))
    rankings = []
    for _ in range(draw(st.integers(0, 3))):
        named = draw(st.permutations(shown))[: draw(st.integers(0, len(shown)))]
        cuts = draw(st.lists(st.booleans(), min_size=len(named), max_size=len(named)))
        tiers: list[list[int]] = []
        for i, new in zip(named, cuts, strict=True):
            if new or not tiers:
                tiers.append([])
            tiers[-1].append(i)
        rankings.append(tiers)
    pairs = draw(st.lists(st.permutations(shown).map(lambda p: (p[0], p[1])), max_size=6))
    return size, rankings, pairs, shown


@settings(max_examples=200, deadline=None)
@given(answers())
def test_tiers_pairs_raters_and_hidden_candidates_equal_brute_force(
    answer: tuple[int, list[list[list[int]]], list[tuple[int, int]], list[int]],
) -> None:
    size, rankings, pairs, shown = answer
    feedback = RoundFeedback(
        size, tuple(tuple(tuple(t) for t in tiers) for tiers in rankings), tuple(pairs), tuple(shown)
    )
    got = weights(check(feedback, size))
    np.testing.assert_allclose(got, brute_force(size, rankings, pairs, shown), atol=1e-12)
    assert abs(got.sum()) < 1e-12
    assert all(got[i] == 0 for i in range(size) if i not in shown)


def test_opposite_pairs_cancel_one_against_one() -> None:
    assert cancel([(0, 1), (1, 0), (0, 1), (2, 1)]) == ((0, 1), (2, 1))
    assert not weights(check(RoundFeedback(3, pairs=((0, 1), (1, 0))), 3)).any()
    opposite = RoundFeedback(3, (((0,), (1,), (2,)), ((2,), (1,), (0,))))
    assert not weights(check(opposite, 3)).any()


def test_all_tied_is_no_move() -> None:
    assert not rank_weights([[0, 1, 2, 3]], 4).any()
    assert not rank_weights([], 4).any()


def test_none_better_puts_the_incumbent_above_the_others() -> None:
    feedback = RoundFeedback(4, none_better=True)
    np.testing.assert_allclose(weights(check(feedback, 4, incumbent=1)), rank_weights([[1]], 4))
    assert not weights(check(feedback, 4)).any()
    assert not check(RoundFeedback(4, none_better=True), 4).is_skip
    assert check(RoundFeedback(4), 4).is_skip


def test_labels_become_tiers() -> None:
    assert tiers_from_labels([3, 1], [0], range(5)) == ((3, 1), (2, 4), (0,))
    assert tiers_from_labels([], [0], range(3)) == ((1, 2), (0,))
    assert tiers_from_labels([], [], range(2)) == ((0, 1),)
    with pytest.raises(InvalidInputError, match="candidate 1 is both"):
        tiers_from_labels([1], [1], range(3))
    with pytest.raises(InvalidInputError, match="7"):
        tiers_from_labels([7], [], range(3))


def test_scores_become_tiers() -> None:
    assert tiers_from_scores([0.5, 2.0, 0.5, -math.inf]) == ((1,), (0, 2), (3,))
    assert tiers_from_scores([1.0, 3.0], ids=[4, 6]) == ((6,), (4,))
    assert tiers_from_scores([]) == ()
    with pytest.raises(InvalidInputError, match="candidate 1 is not a number"):
        tiers_from_scores([0.0, math.nan])
    with pytest.raises(InvalidInputError, match="2 scores for 1"):
        tiers_from_scores([0.0, 1.0], ids=[3])


def test_unnamed_candidates_are_the_last_tier() -> None:
    assert complete_tiers([[2], [], [0]], range(4)) == ((2,), (0,), (1, 3))
    for wrong, named in (([[2], [2]], "2"), ([[9]], "9"), ([[None]], "None")):
        with pytest.raises(InvalidInputError, match=named):
            complete_tiers(wrong, range(4))  # type: ignore[arg-type]


def test_norm_of_a_full_ranking() -> None:
    """E‖Σ w_i·ξ_i‖²/d = Σ w_i² = 4(m+1)/(3m(m−1))."""
    for m in (4, 8, 12):
        assert np.sum(rank_weights([[i] for i in range(m)], m) ** 2) == pytest.approx(4 * (m + 1) / (3 * m * (m - 1)))


# c(m, k): progress of one step on a linear reward of unit standard deviation, per √d of step
TABLE = {
    (4, 1): 1.19, (4, 2): 1.42, (4, 4): 1.51, (5, 3): 1.72, (6, 2): 1.71, (6, 6): 2.02, (8, 1): 1.52, (8, 2): 1.90,
    (8, 3): 2.11, (8, 4): 2.25, (8, 8): 2.44, (10, 5): 2.58, (12, 12): 3.11, (16, 3): 2.63, (16, 16): 3.67,
}  # fmt: skip


@pytest.mark.parametrize(("m", "k"), TABLE)
def test_what_a_ranking_is_worth(m: int, k: int) -> None:
    """A linear reward sees ξ_i only through one N(0, 1) number z_i; the step's direction is Σ w_i·ξ_i / ‖w‖."""
    z = torch.randn(40_000, m, generator=torch.Generator().manual_seed(m * 100 + k), dtype=torch.float64)
    by_rank = torch.from_numpy(rank_weights([[i] for i in range(k)], m))
    slope = (z.sort(dim=1, descending=True).values @ by_rank).mean() / by_rank.norm()
    assert float(slope) == pytest.approx(TABLE[m, k], rel=0.03)


def test_every_ranking_of_four_sums_to_zero() -> None:
    for order in itertools.permutations(range(4)):
        w = rank_weights([[i] for i in order], 4)
        assert abs(w.sum()) < 1e-12
        assert list(np.argsort(-w)) == list(order)


def test_numbers_go_with_the_tiers_made_from_them() -> None:
    values = [0.5, 2.0, 0.5, -1.0]
    scores = scores_of(values, "clip")
    assert scores == Scores("clip", (2.0, 0.5, -1.0))
    answer = check(RoundFeedback(4, (tiers_from_scores(values),), scores=(scores,)), 4)
    assert dict(zip(answer.rankings[0], answer.scores[0].values, strict=True)) == {(1,): 2.0, (0, 2): 0.5, (3,): -1.0}  # type: ignore[union-attr]


def test_none_better_is_a_ranking_without_numbers() -> None:
    values = [3.0, 2.0, 1.0]
    feedback = RoundFeedback(3, (tiers_from_scores(values),), none_better=True, scores=(scores_of(values, "clip"),))
    answer = check(feedback, 3, incumbent=1)
    assert [s is None for s in answer.scores] == [False, True]
    assert len(answer.rankings) == 2
