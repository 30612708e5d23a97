"""What is foretold of a ranking must come true on average."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.preferences import fit, progress
from tests.evaluation.preferences.made import from_pairs, tournament


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_nothing_known_and_all_known() -> None:
    fresh = progress(np.zeros(20), np.full(20, 1.5), rng())
    assert fresh is not None
    assert (fresh.settled, fresh.expected_tau, fresh.pairs) == (0.0, 0.0, 190)
    done = progress(np.arange(20.0), np.full(20, 0.01), rng())
    assert done is not None
    assert done.settled == 1.0
    assert done.expected_tau == pytest.approx(1.0)


def test_two_images_by_hand() -> None:
    found = progress(np.array([0.0, 1.0]), np.array([0.6, 0.8]), rng())
    assert found is not None
    assert found.expected_tau == pytest.approx(math.erf(1.0 / math.sqrt(2.0)))
    assert found.settled == 0.0
    assert progress(np.array([0.0, 1.0]), np.array([0.6, 0.8]), rng(), confidence=0.84).settled == 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize("per_image", [2, 4, 20])
def test_foretold_tau_comes_true(per_image: int) -> None:
    """On average over sets, and rather too low than too high, as the docstring says."""
    foretold, true = [], []
    for seed in range(6):
        hidden, pairs = tournament(150, 75 * per_image, seed)
        ratings = fit(from_pairs(150, pairs), 1.5)
        found = progress(ratings.mean, ratings.sd, rng())
        assert found is not None
        foretold.append(found.expected_tau)
        true.append(float(kendalltau(ratings.mean, hidden).statistic))
        sure = np.abs(ratings.mean[:, None] - ratings.mean) / np.hypot(ratings.sd[:, None], ratings.sd) >= 1.2815516
        assert found.settled == pytest.approx(float(sure.sum()) / (150 * 149), abs=1e-3)
        order_right = np.sign(ratings.mean[:, None] - ratings.mean) == np.sign(hidden[:, None] - hidden)
        assert float(order_right[sure].mean()) > 0.9, "settled pairs are right at least that often"
    assert -0.07 < np.mean(foretold) - np.mean(true) < 0.01


def test_groups_are_ranked_apart() -> None:
    mean, sd = np.array([0.0, 9.0, 0.0, 9.0, 5.0]), np.full(5, 1e-3)
    group = np.array([7, 3, 3, 7, 1])
    found = progress(mean, sd, rng(), group)
    assert found is not None
    assert (found.pairs, found.settled) == (2, 1.0)
    assert progress(mean, sd, rng(), np.arange(5)) is None
    assert progress(np.zeros(0), np.zeros(0), rng()) is None


def test_a_sample_says_what_all_pairs_say(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(4)
    mean, sd, group = draw.normal(size=400), draw.uniform(0.1, 0.8, 400), draw.integers(0, 5, 400) ** 2
    everything = progress(mean, sd, rng(), group)
    monkeypatch.setitem(progress.__globals__, "ALL_PAIRS_UP_TO", 10_000)
    sample = progress(mean, sd, rng(), group)
    assert everything is not None
    assert sample is not None
    assert (everything.sampled, sample.sampled, sample.pairs) == (everything.pairs, 10_000, everything.pairs)
    assert sample.settled == pytest.approx(everything.settled, abs=0.02)
    assert sample.expected_tau == pytest.approx(everything.expected_tau, abs=0.02)
    assert sample == progress(mean, sd, rng(), group)


@pytest.mark.parametrize(("sd", "confidence"), [(np.ones(2), 0.9), (np.ones(3), 0.5), (np.ones(3), 1.0)])
def test_unusable_input_is_refused(sd: np.ndarray, confidence: float) -> None:
    with pytest.raises(InvalidInputError):
        progress(np.zeros(3), sd, rng(), confidence=confidence)
