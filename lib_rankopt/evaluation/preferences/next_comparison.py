"""Which images to show next, so that the answer teaches most.

The gain of a pair is the mutual information of the answer y and the difference d of the two strengths, d ~ N(μ, τ²):

    I(y; d) = h(E σ(d)) − E h(σ(d)),   h the entropy of a coin, in nats,

the expected information gain of D. V. Lindley, "On a measure of the information provided by an experiment", Ann. Math. Statist. 27
(1956), as used for pairs by X. Chen et al., "Pairwise ranking aggregation in a crowdsourced setting", WSDM 2013, and A. Mikhailiuk et
al., "Active sampling for pairwise comparisons via approximate message passing and information gain maximization", ICPR 2020. The
expectations are taken by Gauss–Hermite quadrature. Strengths are taken as independent: τ² = sd_i² + sd_j².
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib_rankopt.errors import InvalidInputError

Array = NDArray[np.float64]

SMALLEST, LARGEST = 2, 8
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_SAME = 1e-9  # gains closer than this are a tie


@dataclass(frozen=True)
class Pool:
    """Images to choose from, up to a few hundred: gains of all pairs are computed (about 10 ms for 300 images).

    Attributes:
        mean, sd: beliefs on the log-odds scale, ``[n]``, from ``online`` or ``fit``.
        group: prompt of each image as a number, ``[n]``; only images of one group are compared. None: all with all.
    """

    mean: Array
    sd: Array
    group: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        shapes = {np.shape(self.mean), np.shape(self.sd), np.shape(self.mean if self.group is None else self.group)}
        if len(shapes) != 1 or len(np.shape(self.mean)) != 1:
            raise InvalidInputError(f"A pool's columns must be flat and of one length; their shapes are {sorted(shapes)}.")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.sd).all() and (np.asarray(self.sd) >= 0).all()):
            raise InvalidInputError("A pool's means and sds must be finite, and sds 0 or more.")


def information(difference: Array, spread: Array) -> Array:
    """Return I(y; d) in nats, between 0 and log 2, for d ~ N(difference, spread²); the arrays broadcast.

    The quadrature is right to 0.002 nats up to a spread of 3 (two fresh images under the default prior: 2.1), to 0.012 up to 4.2.
    """
    weights = _WEIGHTS / _WEIGHTS.sum()
    centre, width = np.broadcast_arrays(np.abs(difference), spread)
    won, noise = np.zeros(centre.shape), np.zeros(centre.shape)
    for node, weight in zip(_NODES, weights, strict=True):
        d = centre + node * width
        distance = np.abs(d)
        e = np.exp(-distance)
        likelier = 1.0 / (1.0 + e)
        won += weight * np.where(d > 0, likelier, e * likelier)
        noise += weight * (np.log1p(e) + distance * e * likelier)  # the entropy of a coin with log-odds d
    gain: Array = np.maximum(_coin(won) - noise, 0.0)
    return gain


def choose(pool: Pool, already: Collection[frozenset[int]], size: int, rng: np.random.Generator) -> tuple[int, ...] | None:
    """Return the images to show, as places in the pool, or None when every pair has been compared.

    A pair is the one of the highest gain among those not compared yet; ``rng`` decides between equals. A longer list starts from that pair
    and takes, one by one, the image with the most gain in its pairs with those already in (pairs compared before count nothing), as long
    as it has any new pair. It is shorter than ``size`` where the group has no more such images.

    Args:
        pool: the images.
        already: pairs of places compared before; a ranking of m images is all its m(m−1)/2 pairs.
        size: 2 … 8.
        rng: for ties.

    Raises:
        InvalidInputError: a size out of range, or a pair that is no pair of the pool.
    """
    if not SMALLEST <= size <= LARGEST:
        raise InvalidInputError(f"{size} images to compare; it must be {SMALLEST} to {LARGEST}.")
    gains = _gains(pool, already)  # −1 where a pair may not be shown
    n = len(gains)
    if n < 2 or gains.max() < 0:
        return None
    best = np.flatnonzero(gains >= gains.max() - _SAME)
    chosen = [int(k) for k in np.unravel_index(int(rng.choice(best)), gains.shape)]
    reachable = np.ones(n, bool) if pool.group is None else np.asarray(pool.group) == np.asarray(pool.group)[chosen[0]]
    while len(chosen) < size:
        rows = gains[chosen]
        total = np.where(reachable & (rows >= 0).any(0), np.maximum(rows, 0.0).sum(0), -1.0)
        total[chosen] = -1.0
        if total.max() < 0:
            break
        chosen.append(int(rng.choice(np.flatnonzero(total >= total.max() - _SAME))))
    return tuple(chosen)


def _gains(pool: Pool, already: Collection[frozenset[int]]) -> Array:
    """Gain of each pair, ``[n, n]``, symmetric; −1 on the diagonal, across groups and where it was compared before."""
    n = len(pool.mean)
    i, j = np.triu_indices(n, 1)
    if pool.group is not None:
        same = np.asarray(pool.group)[i] == np.asarray(pool.group)[j]
        i, j = i[same], j[same]
    mean, sd = np.asarray(pool.mean, np.float64), np.asarray(pool.sd, np.float64)
    gains = np.full((n, n), -1.0)
    gains[i, j] = gains[j, i] = information(mean[i] - mean[j], np.hypot(sd[i], sd[j]))
    for pair in already:
        if len(pair) != 2 or not 0 <= min(pair) < max(pair) < n:
            raise InvalidInputError(f"{sorted(pair)} is no pair of the pool's {n} images.")
        a, b = pair
        gains[a, b] = gains[b, a] = -1.0
    return gains


def _coin(p: Array) -> Array:
    """Entropy of a coin, in nats."""
    inside = np.clip(p, 1e-300, 1.0 - 1e-16)
    entropy: Array = -(inside * np.log(inside) + (1.0 - inside) * np.log1p(-inside))
    return entropy
