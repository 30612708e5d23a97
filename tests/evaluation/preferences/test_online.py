"""The running update against openskill, and what must hold whatever the constants."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.preferences import update, update_label
from lib_rankopt.evaluation.preferences.online import Model

ANSWERS = [
    [[0], [1]],
    [[2, 1]],
    [[3], [0], [4], [1]],
    [[1, 4], [2], [0]],
    [[2], [3, 0, 1], [4]],
]


@pytest.mark.parametrize(("model", "name"), [("bradley_terry_full", "BradleyTerryFull"), ("plackett_luce", "PlackettLuce")])
def test_equals_openskill(model: Model, name: str) -> None:
    openskill = pytest.importorskip("openskill.models")
    beta = 0.8
    peer = getattr(openskill, name)(beta=beta, kappa=1e-4, tau=0.0)
    mean, sd = np.array([0.0, 0.7, -1.1, 0.2, 2.0]), np.array([1.5, 1.0, 0.4, 2.0, 0.9])
    players = [peer.rating(mu=m, sigma=s) for m, s in zip(mean, sd, strict=True)]
    for tiers in ANSWERS:
        named = [k for tier in tiers for k in tier]
        ranks = [rank for rank, tier in enumerate(tiers) for _ in tier]
        for k, (player,) in zip(named, peer.rate([[players[k]] for k in named], ranks=ranks), strict=True):
            players[k] = player
        mean, sd = update(mean, sd, tiers, model=model, beta=beta)
        np.testing.assert_allclose(mean, [player.mu for player in players], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(sd, [player.sigma for player in players], rtol=1e-10)


@pytest.mark.parametrize("model", ["bradley_terry_full", "plackett_luce"])
def test_rows_apart_and_streams_cut_in_two_give_the_same_bits(model: Model) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=9), rng.uniform(0.3, 2.0, 9)
    whole = start
    apart = start[0].copy(), start[1].copy()
    for tiers in ANSWERS:
        whole = update(*whole, tiers, model=model)
        named = [k for tier in tiers for k in tier]
        place = {k: p for p, k in enumerate(named)}
        apart[0][named], apart[1][named] = update(
            apart[0][named], apart[1][named], [[place[k] for k in tier] for tier in tiers], model=model
        )
    assert whole[0].tobytes() == apart[0].tobytes()
    assert whole[1].tobytes() == apart[1].tobytes()
    assert (whole[0][5:] == start[0][5:]).all()


@pytest.mark.parametrize("model", ["bradley_terry_full", "plackett_luce"])
def test_unordered_last_tier_teaches_nothing_inside(model: Model) -> None:
    mean, sd = update([0.0, 1.0, -1.0, 0.0], [1.5] * 4, [[0], [1, 2]], model=model)
    assert mean[0] > 0.0
    assert mean[1] < 1.0
    assert mean[2] < -1.0, "it lost, and is not drawn towards its stronger neighbour"
    assert (sd[:3] < 1.5).all()
    assert (mean[3], sd[3]) == (0.0, 1.5)


@pytest.mark.parametrize("model", ["bradley_terry_full", "plackett_luce"])
def test_arguments_stay_and_weight_zero_changes_nothing(model: Model) -> None:
    mean, sd = np.array([0.3, -0.3]), np.array([1.0, 1.2])
    same = update(mean, sd, [[0], [1]], weight=0.0, model=model)
    np.testing.assert_allclose(same, (mean, sd), rtol=1e-15)
    light, full = (update(mean, sd, [[0], [1]], weight=w, model=model) for w in (0.25, 1.0))
    np.testing.assert_allclose(light[0] - mean, 0.25 * (full[0] - mean))
    assert mean.tolist() == [0.3, -0.3]


def test_settled_strengths_are_log_odds() -> None:
    """A long stream at its own odds leaves the difference near the log-odds that made it."""
    rng = np.random.default_rng(1)
    mean, sd = np.zeros(2), np.full(2, 1.5)
    for _ in range(4000):
        mean, sd = update(mean, sd, [[0], [1]] if rng.random() < 0.8 else [[1], [0]])
    assert mean[0] - mean[1] == pytest.approx(math.log(4.0), abs=0.25)


def test_labels_move_one_image_only() -> None:
    up, narrower = update_label(0.0, 1.5, True)
    down, _ = update_label(0.0, 1.5, False)
    assert up == pytest.approx(-down)
    assert up > 0.0
    assert narrower < 1.5
    weak, _ = update_label(0.0, 1.5, True, weight=0.3)
    assert weak == pytest.approx(0.3 * up)


@pytest.mark.parametrize(
    ("tiers", "weight"),
    [([[0]], 1.0), ([], 1.0), ([[0], [0]], 1.0), ([[0], [3]], 1.0), ([[-1], [0]], 1.0), ([[0], [1]], -1.0), ([[0], [1]], math.nan)],
)
def test_unusable_answers_are_refused(tiers: list[list[int]], weight: float) -> None:
    with pytest.raises(InvalidInputError):
        update(np.zeros(3), np.ones(3), tiers, weight=weight)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="shape"):
        update(np.zeros(3), np.ones(2), [[0], [1]])
