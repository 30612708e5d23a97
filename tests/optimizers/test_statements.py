"""Which statements follow from answers, by brute force: what they imply together is what was said, and no more."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lib_rankopt.optimizers._statements import Statement, Statements
from lib_rankopt.optimizers.base import RoundFeedback
from lib_rankopt.optimizers.ranking import Answer, check, scores_of, tiers_from_scores


def told(values: list[float], scale: str | None) -> Answer:
    """A checked ranking by ``values``; with a scale, told with its numbers."""
    scores = () if scale is None else (scores_of(values, scale),)
    return check(RoundFeedback(len(values), (tiers_from_scores(values),), scores=scores), len(values))


def implied(rows: list[Statement]) -> set[tuple[int, int]]:
    """All pairs of latents (better, worse) that follow by going from statement to statement."""
    pairs = {(p, q) for _, _, p, q in rows}
    while True:
        longer = pairs | {(a, d) for a, b in pairs for c, d in pairs if b == c}
        if longer == pairs:
            return pairs
        pairs = longer


def numbered(first: int, count: int) -> dict[int, int]:
    """Candidates of a round of new latents."""
    return {i: first + i for i in range(count)}


def test_numbers_order_all_images_of_all_rounds() -> None:
    values = np.random.default_rng(1).standard_normal(15).tolist()
    statements = Statements(120)
    for r in range(3):
        assert statements.add(told(values[5 * r : 5 * r + 5], "clip"), numbered(5 * r, 5)) == set()
    assert implied(statements.rows) == {(i, j) for i, j in itertools.permutations(range(15), 2) if values[i] > values[j]}
    assert len(statements.rows) == 14


def test_rankings_without_numbers_say_nothing_between_rounds() -> None:
    statements = Statements(120)
    statements.add(told([3.0, 2.0, 1.0], None), numbered(0, 3))
    statements.add(told([9.0, 8.0, 7.0], None), numbered(3, 3))
    assert implied(statements.rows) == {(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)}
    assert not statements.ordered


def test_scales_do_not_mix_and_a_person_beside_them_counts_for_the_round() -> None:
    statements = Statements(120)
    statements.add(told([1.0, 2.0], "clip"), numbered(0, 2))
    statements.add(told([30.0, 20.0], "hps"), numbered(2, 2))
    statements.add(told([0.0, 3.0], "clip"), numbered(4, 2))
    assert statements.ordered
    statements.add(told([1.0, 0.0], None), numbered(6, 2))
    assert not statements.ordered
    assert implied(statements.rows) == {(2, 3), (6, 7)} | {(5, 1), (5, 0), (5, 4), (1, 0), (1, 4), (0, 4)}


def test_an_image_shown_again_with_its_number_is_no_new_look() -> None:
    statements = Statements(120)
    statements.add(told([1.0, 2.0], "clip"), {0: 0, 1: 1})
    statements.add(told([2.0, 3.0], "clip"), {0: 1, 1: 2})
    assert [row[2:] for row in statements.rows] == [(2, 1), (1, 0)]


@pytest.mark.parametrize("count", [8, 40])
def test_equal_numbers_need_few_statements_that_are_all_true(count: int) -> None:
    """A scorer that says 0, 1 or 2."""
    values = [float(v) for v in np.random.default_rng(count).integers(0, 3, count)]
    statements = Statements(1000)
    for first in range(0, count, 8):
        statements.add(told(values[first : first + 8], "count"), numbered(first, 8))
    assert all(values[p] > values[q] for _, _, p, q in statements.rows)
    assert len(statements.rows) <= count
    named = {point for row in statements.rows for point in row[2:]}
    assert named == set(range(count))


def test_the_oldest_looks_leave_and_the_others_close_up() -> None:
    rng, statements, gone = np.random.default_rng(2), Statements(20), set[int]()
    values = rng.standard_normal(40).tolist()
    for r in range(5):
        gone |= statements.add(told(values[8 * r : 8 * r + 8], "clip"), numbered(8 * r, 8))
        assert len(statements.rows) <= 20 or r < 2
    left = range(24, 40)
    assert gone == set(range(24))  # every look here is of the latent of its number
    assert implied(statements.rows) == {(i, j) for i, j in itertools.permutations(left, 2) if values[i] > values[j]}
