"""The preference model against brute force: draw the process, keep the draws that agree with every answer, and look at what is left."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lib_rankopt.optimizers.base import RoundFeedback
from lib_rankopt.optimizers.preference import PreferenceModel, climb
from lib_rankopt.optimizers.ranking import check, scores_of, tiers_from_scores

SCALE, NOISE = 0.7, 0.3


def sphere_points(count: int, seed: int) -> np.ndarray:
    """Cosines between points of a sphere in six dimensions, so that some are near."""
    x = np.random.default_rng(seed).standard_normal((count, 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x @ x.T)


def left_by(gram: np.ndarray, better: list[tuple[int, int]], draws: int = 3_000_000) -> np.ndarray:
    """Draws of f at the points for which every look of ``better`` was seen above the other; each point is looked at once."""
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(np.exp((gram - 1.0) / SCALE**2) + 1e-9 * np.eye(len(gram)))
    f = rng.standard_normal((draws, len(gram))) @ root.T
    seen = f + NOISE * rng.standard_normal(f.shape)
    kept = np.ones(draws, dtype=bool)
    for i, j in better:
        kept &= seen[:, i] > seen[:, j]
    return np.asarray(f[kept])


@pytest.mark.parametrize("with_numbers", [False, True], ids=["rounds apart", "one order"])
def test_mean_and_evidence_are_those_of_the_draws_that_agree(with_numbers: bool) -> None:
    gram, values = sphere_points(6, 3), [0.2, 1.4, -0.3, 0.9, 2.0, 0.1]
    model = PreferenceModel()
    for first in (0, 3):
        part = values[first : first + 3]
        scores = (scores_of(part, "judge"),) if with_numbers else ()
        answer = check(RoundFeedback(3, (tiers_from_scores(part),), scores=scores), 3)
        model.add(answer, {i: first + i for i in range(3)})
    fit = model.fit(gram, SCALE, NOISE, 20, "only")
    model.keep(fit)
    groups = [range(6)] if with_numbers else [range(3), range(3, 6)]
    better = [(i, j) for group in groups for i in group for j in group if values[i] > values[j]]
    kept = left_by(gram, better)
    assert len(kept) > 2000
    mean = np.exp((gram - 1.0) / SCALE**2) @ model.alpha(6)
    np.testing.assert_allclose(mean, kept.mean(axis=0), atol=0.04)
    assert fit.log_evidence == pytest.approx(math.log(len(kept) / 3_000_000), abs=0.05)


def test_the_climb_ends_where_no_turn_is_higher() -> None:
    gram, rng = sphere_points(5, 8), np.random.default_rng(1)
    alpha = rng.standard_normal(5)

    def height(beta: np.ndarray) -> float:
        beta = beta / math.sqrt(beta @ gram @ beta)
        return float(alpha @ np.exp((gram @ beta - 1.0) / SCALE**2))

    start = np.zeros(5)
    start[int(np.argmax(np.exp((gram - 1.0) / SCALE**2) @ alpha))] = 1.0
    beta, top = climb(gram, alpha, SCALE, start)
    assert height(beta) == pytest.approx(top)
    assert top >= height(start)
    assert all(height(beta + 0.02 * rng.standard_normal(5)) <= top + 1e-6 for _ in range(200))
