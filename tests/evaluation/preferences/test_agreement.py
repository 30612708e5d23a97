"""Agreement against counting by hand and against the krippendorff package."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation import wilson_interval
from lib_rankopt.evaluation.preferences import agreement, outcomes
from lib_rankopt.evaluation.preferences.agreement import Answer


def crowd(seed: int, raters: int = 4, images: int = 12, answers: int = 300) -> list[Answer]:
    """Raters of different care; the sides and the pairs are random, some come again."""
    rng = random.Random(seed)
    found: list[Answer] = []
    for _ in range(answers):
        rater = rng.randrange(raters)
        a, b = rng.sample(range(images), 2)
        outcome = rng.choice((-1, 0, 1)) if rng.random() < 0.15 * (rater + 1) else (1 if a < b else -1)
        found.append((f"rater {rater}", f"{a:02d}", f"{b:02d}", outcome))
    return found


def latest(answers: list[Answer]) -> dict[tuple[Any, Any], dict[Any, int]]:
    """Pair, rater → outcome, by plain dictionaries."""
    table: dict[tuple[Any, Any], dict[Any, int]] = {}
    for rater, a, b, outcome in answers:
        key, value = ((a, b), outcome) if str(a) < str(b) else ((b, a), -outcome)
        table.setdefault(key, {})[rater] = value
    return table


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
@pytest.mark.parametrize("seed", [0, 1])
def test_alpha_equals_the_package(level: str, seed: int) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    answers = crowd(seed)
    names = sorted({rater for rater, *_ in answers}, key=str)
    table = latest(answers)
    rows = np.full((len(names), 2 * len(table)), np.nan)
    for unit, votes in enumerate(table.values()):
        for rater, value in votes.items():
            rows[names.index(rater), 2 * unit : 2 * unit + 2] = value, -value
    expected = krippendorff.alpha(reliability_data=rows, level_of_measurement=level, value_domain=[-1, 0, 1])
    assert getattr(agreement(answers), f"alpha_{level}") == pytest.approx(expected, abs=1e-12)


def test_shares_equal_counting_by_hand() -> None:
    answers = crowd(2)
    found, table = agreement(answers), latest(answers)
    both = [x == y for votes in table.values() for x, y in itertools.combinations(votes.values(), 2)]
    assert found.percent is not None
    assert (found.percent.mean, found.percent.n) == (pytest.approx(sum(both) / len(both)), len(both))
    assert (found.pairs, found.shared) == (len(table), sum(len(votes) > 1 for votes in table.values()))
    for one in found.raters:
        hits: list[bool] = []
        for votes in table.values():
            if one.rater in votes:
                others = [value for rater, value in votes.items() if rater != one.rater]
                ranked = sorted((others.count(value), value) for value in set(others))
                if ranked and (len(ranked) == 1 or ranked[-1][0] > ranked[-2][0]):
                    hits.append(ranked[-1][1] == votes[one.rater])
        assert one.consensus is not None
        assert (one.consensus.mean, one.consensus.n) == (pytest.approx(np.mean(hits)), len(hits))
        assert (one.consensus.low, one.consensus.high) == wilson_interval(sum(hits), len(hits))
        assert one.answers == sum(rater == one.rater for rater, *_ in answers)
    careful = {one.rater: one.consensus.mean for one in found.raters if one.consensus}
    assert careful["rater 0"] > careful["rater 3"]


def test_repeats_compare_with_the_answer_before() -> None:
    answers: list[Answer] = [
        ("ann", 1, 2, 1),
        ("bo", 1, 2, -1),
        ("ann", 2, 1, -1),  # the same, sides changed
        ("ann", 1, 2, 0),  # another
        ("ann", 1, 2, 0),  # the same
        ("bo", 3, 2, 1),
    ]
    ann, bo = agreement(answers).raters
    assert (ann.rater, ann.answers, bo.answers) == ("ann", 4, 2)
    assert ann.repeats is not None
    assert (ann.repeats.mean, ann.repeats.n) == (pytest.approx(2 / 3), 3)
    assert bo.repeats is None


def test_naming_the_images_the_other_way_round_changes_nothing() -> None:
    answers = crowd(3)
    rng = random.Random(3)
    turned = [(r, b, a, -o) if rng.random() < 0.5 else (r, a, b, o) for r, a, b, o in answers]
    one, two = agreement(answers), agreement(turned)
    assert one.percent == two.percent
    assert one.raters == two.raters
    assert (one.alpha_nominal, one.alpha_ordinal) == pytest.approx((two.alpha_nominal, two.alpha_ordinal))


def test_chance_full_agreement_and_contradiction() -> None:
    rng = random.Random(4)
    pairs = list(itertools.combinations(range(80), 2))
    guess = agreement((rater, a, b, rng.choice((-1, 1))) for a, b in pairs for rater in "xy")
    assert guess.alpha_nominal == pytest.approx(0.0, abs=0.05)
    same = agreement((rater, a, b, 1 if (a * b) % 3 else 0) for a, b in pairs for rater in "xyz")
    assert (same.alpha_nominal, same.alpha_ordinal) == pytest.approx((1.0, 1.0))
    against = agreement((rater, a, b, 1 if rater == "x" else -1) for a, b in pairs for rater in "xy")
    assert against.alpha_nominal is not None
    assert against.alpha_nominal < -0.9
    assert against.percent is not None
    assert against.percent.mean == 0.0


def test_nobody_and_one_rater_agree_with_no_one() -> None:
    nobody = agreement([])
    assert (nobody.raters, nobody.pairs, nobody.percent, nobody.alpha_nominal) == ((), 0, None, None)
    single = agreement([("x", 1, 2, 1), ("x", 3, 2, 0)])
    assert (single.pairs, single.shared, single.percent, single.alpha_ordinal) == (2, 0, None, None)
    assert single.raters[0].consensus is None
    ties = agreement([("x", 1, 2, 0), ("y", 1, 2, 0)])
    assert (ties.alpha_nominal, ties.alpha_ordinal) == (None, None)


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        (((1,), (0,)), {(1, 0, 1)}),
        (((0, 1),), {(0, 1, 0)}),
        (((2, 0), (1, 3)), {(2, 0, 0), (2, 1, 1), (2, 3, 1), (0, 1, 1), (0, 3, 1)}),  # 1 and 3 were not ordered
        (((0, 1, 2),), set()),
    ],
)
def test_an_answer_in_tiers_two_by_two(tiers: tuple[tuple[int, ...], ...], said: set[tuple[int, int, int]]) -> None:
    found = list(outcomes(tiers))
    assert set(found) == said
    assert len(found) == len(said)


@pytest.mark.parametrize("answer", [("x", 1, 2, 2), ("x", 1, 1, 0)])
def test_unusable_answers_are_named(answer: Answer) -> None:
    with pytest.raises(InvalidInputError, match="Answer 1"):
        agreement([("x", 1, 2, 1), answer])
