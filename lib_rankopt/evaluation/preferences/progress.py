"""How far a set of images is ranked, from beliefs alone: what a face may honestly say before the end is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from lib_rankopt.errors import InvalidInputError

Array = NDArray[np.float64]

SETTLED = 0.9
ALL_PAIRS_UP_TO = 250_000


@dataclass(frozen=True)
class Progress:
    """State of a ranking, under Gaussian beliefs; of the pairs that can be compared (one group each).

    Attributes:
        settled: share of pairs whose order is known with probability ``confidence`` or more, 0 … 1.
        expected_tau: expected Kendall τ between the order of the means and the order of the true strengths, 0 … 1:
            mean of 2 Φ(|mean_i − mean_j| / √(sd_i² + sd_j²)) − 1. With no answers it is 0.
        pairs: number of pairs that can be compared.
        sampled: number of pairs that ``settled`` and ``expected_tau`` were taken from; below ``pairs`` it is a random sample, and the
            shares have a standard error of at most 0.5 / √sampled.
        confidence: what counts as settled.
    """

    settled: float
    expected_tau: float
    pairs: int
    sampled: int
    confidence: float


def progress(
    mean: Array, sd: Array, rng: np.random.Generator, group: NDArray[np.integer] | None = None, confidence: float = SETTLED
) -> Progress | None:
    """Return how far the images are ranked; None where no two can be compared.

    Beliefs are taken as independent. Strengths that were compared with each other vary together, so the figures rather err on the low
    side (on random pairs, a τ foretold by 0.02 to 0.04 too small: tests). With ``sd`` from ``online``, or a lower bound
    (``Ratings.exact`` false), they can err on the high one, by as much as sd is short.

    Args:
        mean, sd: ``[n]``.
        rng: draws the sample where there are more than 250,000 pairs.
        group: prompt of each image as a number, ``[n]``; None: all in one.
        confidence: in (0.5, 1).

    Raises:
        InvalidInputError: shapes that differ, or a confidence out of range.
    """
    if not 0.5 < confidence < 1.0:
        raise InvalidInputError(f"Confidence {confidence} is outside (0.5, 1).")
    mean, sd = np.asarray(mean, np.float64), np.asarray(sd, np.float64)
    groups = np.zeros(mean.shape, np.int64) if group is None else np.asarray(group)
    if mean.ndim != 1 or not mean.shape == sd.shape == groups.shape:
        raise InvalidInputError(f"Means, sds and groups have the shapes {mean.shape}, {sd.shape} and {groups.shape}; they must agree.")
    order = np.argsort(groups, kind="stable")  # group by group
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[:1]] - 1)) if len(order) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(order)))
    total = int(np.sum(sizes * (sizes - 1) // 2))
    if total == 0:
        return None
    i, j = _all_pairs(starts, sizes) if total <= ALL_PAIRS_UP_TO else _some_pairs(starts, sizes, rng)
    certain = _certainty(mean[order], sd[order], i, j)
    return Progress(
        settled=float(np.mean(certain >= confidence)),
        expected_tau=float(np.mean(2.0 * certain - 1.0)),
        pairs=total,
        sampled=len(i),
        confidence=confidence,
    )


def _certainty(mean: Array, sd: Array, i: NDArray[np.intp], j: NDArray[np.intp]) -> Array:
    """Probability that the order of two means is that of the strengths, ½ … 1."""
    distance, spread = np.abs(mean[i] - mean[j]), np.hypot(sd[i], sd[j])
    z = np.divide(distance, spread, out=np.where(distance > 0, math.inf, 0.0), where=spread > 0)
    p: Array = ndtr(z)
    return p


def _all_pairs(starts: NDArray[np.intp], sizes: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    found = []
    for size in np.unique(sizes):  # groups of one size at once
        i, j = np.triu_indices(size, 1)
        first = starts[sizes == size][:, None]
        found.append(((first + i).ravel(), (first + j).ravel()))
    return np.concatenate([i for i, _ in found]), np.concatenate([j for _, j in found])


def _some_pairs(starts: NDArray[np.intp], sizes: NDArray[np.intp], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs drawn evenly, with replacement."""
    chance = sizes * (sizes - 1.0)
    group = rng.choice(len(sizes), ALL_PAIRS_UP_TO, p=chance / chance.sum())
    i = rng.integers(0, sizes[group])
    j = rng.integers(0, sizes[group] - 1)
    j += j >= i
    return starts[group] + i, starts[group] + j
