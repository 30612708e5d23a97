"""Strengths against choix, their uncertainty against brute force, and the likelihood's pieces against finite differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.preferences import Builder, Comparisons, fit, uncertainty
from lib_rankopt.evaluation.preferences.likelihood import pieces
from tests.evaluation.preferences.made import from_pairs, tournament

Array = NDArray[np.float64]


def mixed(n: int, seed: int) -> Comparisons:
    """Everything at once: weighted pairs, ties, tiers of all kinds, likes and dislikes."""
    rng = np.random.default_rng(seed)
    builder = Builder()
    for _ in range(60):
        m = int(rng.integers(3, 9))
        items = rng.permutation(n)[:m]
        cuts = np.sort(rng.choice(np.arange(1, m), int(rng.integers(1, m)), replace=False))
        builder.ranking([tier.tolist() for tier in np.split(items, cuts)], float(rng.uniform(0.5, 2.0)))
    for _ in range(30):
        i, j = (int(k) for k in rng.choice(n, 2, replace=False))
        builder.win(i, j, float(rng.uniform(0.2, 2.0)))
        builder.tie(j, (i if rng.random() < 0.5 else (j + 1) % n))
    for _ in range(10):
        builder.like(int(rng.integers(n)), 0.3)
        builder.dislike(int(rng.integers(n)))
    return builder.finish(n)


def dense_hessian(comparisons: Comparisons, s: Array, prior_sd: float) -> Array:
    """By finite differences of the gradient."""
    parts, eps = pieces(comparisons), 1e-5

    def gradient(at: Array) -> Array:
        return np.sum([piece.expand(at)[0] for piece in parts], axis=0)

    rows = [(gradient(s - eps * unit) - gradient(s + eps * unit)) / (2 * eps) for unit in np.eye(len(s))]
    return np.array(rows) + np.eye(len(s)) / prior_sd**2


@pytest.mark.parametrize("prior_sd", [0.5, 1.5, 10.0])
def test_pairs_equal_choix(prior_sd: float) -> None:
    choix = pytest.importorskip("choix")
    _, pairs = tournament(30, 150, 0)
    expected = choix.opt_pairwise(30, pairs, alpha=0.5 / prior_sd**2, tol=1e-9)
    np.testing.assert_allclose(fit(from_pairs(30, pairs), prior_sd).mean, expected, atol=1e-4)


def test_pairs_equal_choix_without_a_prior() -> None:
    choix = pytest.importorskip("choix")
    _, pairs = tournament(12, 400, 1, spread=0.7)
    ours = fit(from_pairs(12, pairs), prior_sd=1000.0).mean
    np.testing.assert_allclose(ours - ours.mean(), choix.ilsr_pairwise(12, pairs, alpha=0.0, max_iter=1000), atol=1e-4)


def test_rankings_equal_choix() -> None:
    choix = pytest.importorskip("choix")
    rng = np.random.default_rng(2)
    rankings = [rng.permutation(20)[: int(rng.integers(3, 9))].tolist() for _ in range(60)]
    builder = Builder()
    for ranking in rankings:
        builder.ranking([[item] for item in ranking])
    expected = choix.opt_rankings(20, rankings, alpha=0.5, tol=1e-9)
    np.testing.assert_allclose(fit(builder.finish(20), 1.0).mean, expected, atol=1e-4)


def test_top_k_equals_choix() -> None:
    """A choice of one leaves the rest as one unordered tier."""
    choix = pytest.importorskip("choix")
    rng = np.random.default_rng(3)
    choices = [(shown[0], shown[1:]) for shown in (rng.permutation(15)[:5].tolist() for _ in range(80))]
    builder = Builder()
    for best, rest in choices:
        builder.ranking([[best], rest])
    expected = choix.opt_top1(15, choices, alpha=0.5, tol=1e-9)
    np.testing.assert_allclose(fit(builder.finish(15), 1.0).mean, expected, atol=1e-4)


def test_tier_is_near_the_average_over_its_orders() -> None:
    """Efron's form against the exact sum over all orders of a tier; equal strengths give the exact slope."""
    s = np.array([0.4, 0.4, 0.4, -0.3, 0.9])
    builder = Builder()
    builder.ranking([[0, 1, 2], [3, 4]])
    (piece,) = pieces(builder.finish(5))

    def exact(at: Array) -> float:
        e, total = np.exp(at), 0.0
        for order in itertools.permutations(range(3)):
            probability, left = 1.0, e.sum()
            for item in order:
                probability *= e[item] / left
                left -= e[item]
            total += probability
        return math.log(total)

    eps = 1e-6
    slopes = [(exact(s + eps * unit) - exact(s - eps * unit)) / (2 * eps) for unit in np.eye(5)]
    np.testing.assert_allclose(piece.expand(s)[0], slopes, atol=1e-8)
    other = s + np.array([0.3, -0.2, 0.0, 0.0, 0.0])
    assert piece.value(other) - piece.value(s) == pytest.approx(exact(other) - exact(s), abs=0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_slopes_and_curvature_equal_finite_differences(seed: int) -> None:
    data = mixed(12, seed)
    parts = pieces(data)
    s = np.random.default_rng(seed).normal(0.0, 1.5, 12)
    eps = 1e-5
    for piece in parts:
        numeric = [(piece.value(s + eps * unit) - piece.value(s - eps * unit)) / (2 * eps) for unit in np.eye(12)]
        np.testing.assert_allclose(piece.expand(s)[0], numeric, atol=1e-5)
    expected = dense_hessian(data, s, math.inf)
    diagonals = [piece.expand(s)[1] for piece in parts]
    np.testing.assert_allclose(np.sum(diagonals, axis=0), np.diag(expected), atol=1e-5)
    product = np.sum([[piece.product(unit) for unit in np.eye(12)] for piece in parts], axis=0)
    np.testing.assert_allclose(product, expected, atol=1e-5)
    off = np.zeros((12, 12))
    for edges in (edges for piece in parts for edges in piece.edges()):
        np.subtract.at(off, (edges.a, edges.b), edges.value)
        np.subtract.at(off, (edges.b, edges.a), edges.value)
    np.testing.assert_allclose(off, expected - np.diag(np.diag(expected)), atol=1e-5)


def test_sd_is_the_inverse_hessian() -> None:
    data = mixed(12, 4)
    ratings = fit(data, 1.3)
    assert ratings.exact.all()
    expected = np.sqrt(np.diag(np.linalg.inv(dense_hessian(data, ratings.mean, 1.3))))
    np.testing.assert_allclose(ratings.sd, expected, atol=1e-6)


def test_components_are_inverted_apart_and_together() -> None:
    """Sets that never meet have the sd they have alone, whatever their sizes and numbers."""
    rng = np.random.default_rng(5)
    names = rng.permutation(40)
    blocks = [names[:7], names[7:14], names[14:31], names[31:33]]  # seven images stay alone
    builder, alone = Builder(), np.full(40, 1.5)
    for block in blocks:
        size = len(block)
        _, pairs = tournament(size, 4 * size, int(block[0]))
        for winner, loser in pairs:
            builder.win(int(block[winner]), int(block[loser]))
        alone[block] = fit(from_pairs(size, pairs), 1.5).sd
    np.testing.assert_allclose(fit(builder.finish(40), 1.5).sd, alone, rtol=1e-6)


@pytest.mark.parametrize("kind", ["random", "ring"])
def test_large_components_get_a_close_lower_bound(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    rng = np.random.default_rng(6)
    n = 300
    i = rng.integers(0, n, 5 * n)
    j = (i + (rng.integers(1, n, len(i)) if kind == "random" else rng.integers(1, 4, len(i)))) % n
    builder = Builder()
    builder.wins(i, j)
    data = builder.finish(n)
    exact = fit(data)
    monkeypatch.setattr(uncertainty, "LARGEST_EXACT", 0)
    bound = fit(data)
    assert exact.exact.all()
    assert not bound.exact.any()
    ratio = bound.sd / exact.sd
    assert ratio.max() <= 1.0 + 1e-9
    assert ratio.min() >= (0.98 if kind == "random" else 0.8)
    diagonal = 1.5**-2 + np.sum([piece.expand(exact.mean)[1] for piece in pieces(data)], axis=0)
    assert (bound.sd >= diagonal**-0.5).all()
    assert np.median(1.0 - ratio) < 0.6 * np.median(1.0 - diagonal**-0.5 / exact.sd)


def test_bound_is_exact_on_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(k, (k - 1) // 2) for k in range(1, 31)] * 3
    exact = fit(from_pairs(31, pairs)).sd
    monkeypatch.setattr(uncertainty, "LARGEST_EXACT", 0)
    np.testing.assert_allclose(fit(from_pairs(31, pairs)).sd, exact, rtol=1e-4)


def test_intervals_cover_the_hidden_strengths() -> None:
    """Strengths drawn from the prior lie in the 95 % interval in about 95 % of cases."""
    hidden, pairs = tournament(800, 8000, 7)
    ratings = fit(from_pairs(800, pairs), 1.5)
    assert 0.92 <= float(np.mean(np.abs(ratings.mean - hidden) <= 1.96 * ratings.sd)) <= 0.97


def test_labels_are_comparisons_with_an_average_image() -> None:
    """One like of weight w against an own tiny fit: w·σ(−s) = s / prior_sd²."""
    builder = Builder()
    builder.like(0, 2.0)
    builder.dislike(1, 2.0)
    ratings = fit(builder.finish(3), 2.0)
    s = float(ratings.mean[0])
    assert 2.0 / (1.0 + math.exp(s)) == pytest.approx(s / 4.0, abs=1e-6)
    assert ratings.mean.tolist() == pytest.approx([s, -s, 0.0], abs=1e-9)
    assert ratings.sd[2] == pytest.approx(2.0)
    assert ratings.sd[0] < 2.0


def test_ties_pull_together_and_weights_are_counts() -> None:
    tied, plain = Builder(), Builder()
    for builder in (tied, plain):
        builder.win(0, 1, 3.0)
    tied.tie(0, 1, 4.0)
    close, far = fit(tied.finish()).mean, fit(plain.finish()).mean
    assert 0.0 < close[0] - close[1] < far[0] - far[1]
    np.testing.assert_allclose(fit(from_pairs(2, [(0, 1)] * 3)).mean, far, atol=1e-7)


@pytest.mark.parametrize("prior_sd", [0.01, 1.5, 300.0])
def test_one_sided_answers_stay_finite(prior_sd: float) -> None:
    chain = [(k, k + 1) for k in range(60)]
    ratings = fit(from_pairs(62, chain), prior_sd)
    assert (np.diff(ratings.mean[:61]) < 1e-6).all()
    assert ratings.mean[0] > 0.0 > ratings.mean[60]
    assert np.isfinite(ratings.mean).all()
    assert ratings.mean[61] == pytest.approx(0.0)
    assert (ratings.sd <= prior_sd * (1 + 1e-9)).all()


def test_nothing_answered_is_the_prior() -> None:
    ratings = fit(Builder().finish(3), 0.7)
    assert (ratings.mean.tolist(), ratings.sd.tolist()) == ([0.0] * 3, pytest.approx([0.7] * 3))
    assert fit(Builder().finish(0)).mean.shape == (0,)


@pytest.mark.parametrize("prior_sd", [0.0, -1.0, math.inf, math.nan])
def test_unusable_priors_are_refused(prior_sd: float) -> None:
    with pytest.raises(InvalidInputError, match="prior_sd"):
        fit(Builder().finish(3), prior_sd)


def test_rank_correlation_with_openskill() -> None:
    openskill = pytest.importorskip("openskill.models")
    stats = pytest.importorskip("scipy.stats")
    _, pairs = tournament(40, 1200, 8)
    model = openskill.BradleyTerryFull()
    players = [model.rating() for _ in range(40)]
    for winner, loser in pairs:
        [[players[winner]], [players[loser]]] = model.rate([[players[winner]], [players[loser]]])
    ours = fit(from_pairs(40, pairs)).mean
    assert stats.spearmanr(ours, [player.mu for player in players]).statistic > 0.97
