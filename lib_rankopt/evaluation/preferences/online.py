"""The running estimate while somebody ranks: one Gaussian update an answer, a few microseconds a pair of images.

R. C. Weng and C.-J. Lin, "A Bayesian approximation method for online ranking", JMLR 12 (2011): algorithm 1 (Bradley–Terry, full pairs)
and algorithm 4 (Plackett–Luce), for teams of one. Each image has a Gaussian belief N(mean, sd²); an answer moves the means by Ω and
shrinks the variances by the factor max(1 − Δ, κ).

With β = 1/√2 two settled images (sd → 0) have P(i preferred to j) = 1 / (1 + exp(mean_j − mean_i)): the scale of ``fit``. The estimate is
an approximation that depends on the order of the answers; ``fit`` does not, and is what is exported.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.preferences.records import Tiers

Array = NDArray[np.float64]
Model = Literal["bradley_terry_full", "plackett_luce"]

BETA = 1.0 / math.sqrt(2.0)
KAPPA = 1e-4


def update(
    mean: ArrayLike, sd: ArrayLike, tiers: Tiers, *, weight: float = 1.0, model: Model = "bradley_terry_full", beta: float = BETA
) -> tuple[Array, Array]:
    """Return the beliefs after one answer; the arguments stay as they are.

    Only the images named change, by numbers that depend on nothing but their own beliefs: updating the whole array or the rows of the
    named images gives the same bits, and so does a stream of answers that is interrupted and resumed.

    Args:
        mean, sd: beliefs, ``[n]``; sd ≥ 0.
        tiers: the answer: indices in tiers, best first. Two images in a single tier are a tie. In longer rankings several images in the
            last tier are unordered: nothing is learnt about them from each other. Images in an earlier tier are tied.
        weight: scales Ω and Δ, as that power of the answer's likelihood does; ≥ 0.
        model: ``bradley_terry_full`` takes a ranking as all its pairs; ``plackett_luce`` as successive choices.
        beta: noise of a single answer.

    Raises:
        InvalidInputError: shapes that differ, an index out of range or named twice, fewer than two images, a negative weight.
    """
    means, sds = np.array(mean, np.float64), np.array(sd, np.float64)
    named, rank, unordered = _read(tiers, means.shape, sds.shape)
    if not 0.0 <= weight < math.inf:
        raise InvalidInputError(f"Weight {weight}; it must be finite and 0 or more.")
    step = _bradley_terry if model == "bradley_terry_full" else _plackett_luce
    variance = sds[named] ** 2
    omega, delta = step(means[named], variance, rank, unordered, beta)
    means[named] += weight * omega
    sds[named] = np.sqrt(variance * np.maximum(1.0 - weight * delta, KAPPA))
    return means, sds


def update_label(mean: float, sd: float, liked: bool, *, weight: float = 1.0, beta: float = BETA) -> tuple[float, float]:
    """Return one image's belief after a like or dislike: a win or loss against a virtual average image, N(0, 0), which stays there."""
    means, sds = update([mean, 0.0], [sd, 0.0], ((0,), (1,)) if liked else ((1,), (0,)), weight=weight, beta=beta)
    return float(means[0]), float(sds[0])


def _read(tiers: Tiers, means: tuple[int, ...], sds: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Indices of the named images, the rank of each, and whether it is in an unordered last tier."""
    filled = [tuple(tier) for tier in tiers if len(tier)]
    named = [item for tier in filled for item in tier]
    if len(means) != 1 or means != sds:
        raise InvalidInputError(f"Means of shape {means} and sds of shape {sds}; both must be flat and of one length.")
    if len(named) < 2 or len(set(named)) != len(named):
        raise InvalidInputError(f"An answer names the images {named}; it takes two different ones at least, each once.")
    if not 0 <= min(named) <= max(named) < means[0]:
        raise InvalidInputError(f"An answer names the images {named}, but there are only {means[0]} (numbered from 0).")
    rank = np.repeat(np.arange(len(filled)), [len(tier) for tier in filled])
    unordered = (rank == len(filled) - 1) & (len(filled[-1]) > 1) & (len(named) > 2)
    return np.array(named, np.intp), rank, unordered


def _bradley_terry(mean: Array, variance: Array, rank: NDArray[np.intp], unordered: NDArray[np.bool_], beta: float) -> tuple[Array, Array]:
    """Algorithm 1: c_iq² = σ_i² + σ_q² + 2β², Ω_i = Σ_q σ_i²/c_iq (s − p_iq), Δ_i = Σ_q γ_q σ_i²/c_iq² p_iq p_qi, γ_q = σ_i/c_iq."""
    c = np.sqrt(variance[:, None] + variance + 2.0 * beta**2)
    p = 1.0 / (1.0 + np.exp((mean - mean[:, None]) / c))
    outcome = np.where(rank > rank[:, None], 1.0, np.where(rank == rank[:, None], 0.5, 0.0))
    compared = ~(unordered[:, None] & unordered)
    np.fill_diagonal(compared, False)
    omega = np.where(compared, variance[:, None] / c * (outcome - p), 0.0).sum(1)
    delta = np.where(compared, np.sqrt(variance)[:, None] * variance[:, None] / c**3 * p * (1.0 - p), 0.0).sum(1)
    return omega, delta


def _plackett_luce(mean: Array, variance: Array, rank: NDArray[np.intp], unordered: NDArray[np.bool_], beta: float) -> tuple[Array, Array]:
    """Algorithm 4: c² = Σ (σ² + β²); Ω_i = σ_i²/c Σ_q (1[i=q] − p_iq)/A_q and Δ_i = γ σ_i²/c² Σ_q p_iq (1 − p_iq)/A_q over the q ranked
    no lower than i, with p_iq = exp(μ_i/c) / Σ_{ranked no higher than q} exp(μ/c), A_q the size of q's tier, γ = σ_i/c.
    """
    c = math.sqrt(float(np.sum(variance + beta**2)))
    e = np.exp((mean - mean.max()) / c)
    not_above = rank >= rank[:, None]  # [q, i]: i is still there when q is chosen
    p = np.where(not_above, e / (not_above * e).sum(1, keepdims=True), 0.0)
    share = np.where(unordered, 0.0, 1.0 / (rank == rank[:, None]).sum(1))[:, None]
    omega = variance / c * (share * (np.eye(len(mean)) - p)).sum(0)
    delta = np.sqrt(variance) / c * variance / c**2 * (share * p * (1.0 - p)).sum(0)
    return omega, delta
