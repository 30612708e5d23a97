"""What a person likes, as a function of the latent: a Gaussian process that knows only who beat whom.

Model (Thurstone 1927; Chu and Ghahramani, "Preference Learning with Gaussian Processes", ICML 2005): the reward f over the shell is
a Gaussian process of mean 0 and covariance

    k(x, x') = exp(−(1 − cos∠(x, x')) / ℓ²)        (on the shell this is exp(−‖x − x'‖² / (2·ℓ²·d))),

a rater sees y = f(x) + ε, ε ~ N(0, σ²) anew at every look, and an answer says y_i > y_j for all pairs of neighbouring tiers, of a round
or, with numbers, of all rounds (:mod:`._statements`). These statements cut a Gaussian by half-spaces; expectation propagation (Minka
2001; Cunningham, Hennig and Lacoste-Julien, "Gaussian Probabilities and Expectation Propagation", 2011) gives its mean and the
probability of all answers, which is what chooses ℓ and σ. The posterior mean of f is Σ_i α_i·k(x, x_i). Everything needs inner products
of latents only, so the number of dimensions costs nothing; and only element-wise NumPy in a fixed order is used, so that results do not
depend on the number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._statements import Statement, Statements
from .ranking import Answer

Floats = NDArray[np.float64]
_SITE_BUDGET = 120  # statements that are fitted anew; older ones keep the coefficients they had
_JITTER = 1e-4  # least σ: two looks at the same latent, ranked in one round, must not be a contradiction


@dataclass(frozen=True)
class Fit:
    """Result of one fit: ``tau``, ``nu`` are the sites' Gaussian parameters, ``coefficients`` α·(±1) of each statement."""

    tau: Floats
    nu: Floats
    coefficients: Floats
    log_evidence: float


@dataclass(frozen=True)
class _Columns:
    """Statements by columns: (look of the better, look of the worse) and the latents that these looks were at."""

    better: NDArray[np.int64]
    worse: NDArray[np.int64]
    better_point: NDArray[np.int64]
    worse_point: NDArray[np.int64]


class PreferenceModel:
    """Collects answers and fits the process. Latents are numbered by the caller; ``gram`` holds the cosines between them."""

    def __init__(self) -> None:
        self._statements = Statements(_SITE_BUDGET)
        self._sites: dict[str, dict[tuple[int, int], tuple[float, float]]] = {}  # tau, nu of the last fit under each name
        self._columns = _columns_of([])
        self._fitted: list[Statement] = []
        self._coefficients = np.zeros(0)
        self._frozen: dict[int, float] = {}

    @property
    def ordered(self) -> bool:
        """Whether the newest answer was placed in an order that reaches over rounds."""
        return self._statements.ordered

    def add(self, answer: Answer, points: dict[int, int]) -> None:
        """Add an answer; ``points`` maps its candidates to latents. The oldest looks keep the coefficients they had."""
        gone = self._statements.add(answer, points)
        self._columns = _columns_of(self._statements.rows)
        for (look, other, p, q), c in zip(self._fitted, self._coefficients, strict=True):
            if look in gone:
                self._frozen[p] = self._frozen.get(p, 0.0) + float(c)
            if other in gone:
                self._frozen[q] = self._frozen.get(q, 0.0) - float(c)

    def fit(self, gram: Floats, scale: float, noise: float, sweeps: int, name: str) -> Fit:
        """Fit with length scale ``scale`` (ℓ) and answer noise ``noise`` (σ), starting where the last fit called ``name`` ended."""
        columns, rows = self._columns, self._statements.rows
        kernel = np.exp((gram - 1.0) / scale**2)
        covariance = _difference_covariance(kernel, columns, max(noise, _JITTER))
        frozen = self._frozen_vector(len(gram))
        value = np.einsum("ij,j->i", kernel, frozen)
        offset = value[columns.better_point] - value[columns.worse_point]
        known = self._sites.get(name, {})
        start = np.asarray([known.get(row[:2], (0.0, 0.0)) for row in rows], dtype=np.float64).reshape(-1, 2)
        fit = _propagate(covariance, offset, start[:, 0], start[:, 1], sweeps)
        sites = zip(fit.tau.tolist(), fit.nu.tolist(), strict=True)
        self._sites[name] = {row[:2]: site for row, site in zip(rows, sites, strict=True)}
        return fit

    def keep(self, fit: Fit) -> None:
        """Let ``fit``, of all answers so far, answer :meth:`alpha`."""
        self._fitted, self._coefficients = self._statements.rows, fit.coefficients

    def alpha(self, count: int) -> Floats:
        """Return α of each of ``count`` latents for the kept fit."""
        total = self._frozen_vector(count)
        np.add.at(total, self._columns.better_point, self._coefficients)
        np.add.at(total, self._columns.worse_point, -self._coefficients)
        return total

    def _frozen_vector(self, count: int) -> Floats:
        out = np.zeros(count)
        for point, value in self._frozen.items():
            out[point] = value
        return out


def _columns_of(rows: list[Statement]) -> _Columns:
    table = np.asarray(rows, dtype=np.int64).reshape(-1, 4)
    return _Columns(table[:, 0], table[:, 1], table[:, 2], table[:, 3])


def _difference_covariance(kernel: Floats, looks: _Columns, noise: float) -> Floats:
    """Return the prior covariance of all y_better − y_worse, ``[statements, statements]``."""
    p, q = looks.better_point, looks.worse_point
    signal = kernel[np.ix_(p, p)] - kernel[np.ix_(p, q)] - kernel[np.ix_(q, p)] + kernel[np.ix_(q, q)]
    i, j = looks.better[:, None], looks.worse[:, None]
    shared = (i == i.T).astype(np.float64) - (i == j.T) - (j == i.T) + (j == j.T)
    return np.asarray(signal + noise**2 * shared, dtype=np.float64)


def _propagate(covariance: Floats, offset: Floats, tau: Floats, nu: Floats, sweeps: int) -> Fit:
    """Expectation propagation for a ~ N(offset, covariance) given a > 0, one rank-one update per statement and sweep."""
    tau, nu = tau.copy(), nu.copy()
    sigma, mean, log_det = covariance.copy(), offset.copy(), 0.0
    for known in np.flatnonzero(tau).tolist():
        step = _update(sigma, mean, known, float(tau[known]), float(nu[known]))
        if step is None:
            tau[known] = nu[known] = 0.0
        else:
            log_det += step
    for _ in range(sweeps):
        change = 0.0
        for s in range(len(tau)):
            centre, variance, cavity = float(mean[s]), float(sigma[s, s]), _cavity(sigma, tau, s)
            if cavity is None:
                continue
            at = cavity * (centre / variance - nu[s])
            tilted_mean, tilted_variance = _truncate(at, cavity)
            new_tau = max(1.0 / tilted_variance - 1.0 / cavity, 1e-12)
            new_nu = tilted_mean / tilted_variance - at / cavity
            step = _update(sigma, mean, s, new_tau - tau[s], new_nu - nu[s])
            if step is None:
                continue
            log_det += step
            tau[s], nu[s] = new_tau, new_nu
            change = max(change, abs(tilted_mean - centre) / math.sqrt(variance))
        if change < 1e-3:
            break
    coefficients = nu - tau * mean
    evidence = _log_evidence(sigma, mean, tau, nu) + 0.5 * float(np.sum(nu * mean) + np.sum(offset * coefficients) - log_det)
    return Fit(tau, nu, coefficients, evidence)


def _cavity(sigma: Floats, tau: Floats, s: int) -> float | None:
    """Variance of a_s without its own site; ``None`` where rounding has worn it out, and the site is left as it is.

    Latents much nearer to each other than ℓ differ by less than the rounded cosines can say, and their covariance is then indefinite.
    """
    variance = float(sigma[s, s])
    precision = 1.0 / variance - float(tau[s]) if variance > 0.0 else 0.0
    return 1.0 / precision if precision > 0.0 else None


def _update(sigma: Floats, mean: Floats, s: int, tau: float, nu: float) -> float | None:
    """Multiply the Gaussian by exp(nu·a_s − tau·a_s²/2), in place; return the log of the determinant's ratio.

    ``None`` where the result would be no Gaussian; then nothing is changed.
    """
    column = sigma[:, s].copy()
    factor = 1.0 + tau * float(column[s])
    if not factor > 0.0:
        return None
    mean += column * ((nu - tau * mean[s]) / factor)
    sigma -= np.multiply.outer(column, column * (tau / factor))
    return math.log(factor)


def _truncate(mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of N(mean, variance) cut to positive values."""
    z = mean / math.sqrt(variance)
    ratio = math.exp(-0.5 * z * z - _log_cdf(z)) / math.sqrt(2.0 * math.pi)
    return mean + math.sqrt(variance) * ratio, variance * max(1.0 - ratio * (ratio + z), 1e-9)


def _log_cdf(z: float) -> float:
    """Logarithm of the standard normal distribution function."""
    if z > -8.0:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2.0)))
    inverse = 1.0 / (z * z)  # asymptotic series (Abramowitz and Stegun 26.2.12)
    series = 1.0 - inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse)))
    return -0.5 * z * z - math.log(-z * math.sqrt(2.0 * math.pi)) + math.log(series)


def _log_evidence(sigma: Floats, mean: Floats, tau: Floats, nu: Floats) -> float:
    """Sum of the logarithms of the site constants."""
    total = 0.0
    for s in range(len(tau)):
        cavity = _cavity(sigma, tau, s)
        if cavity is None:
            continue
        at = cavity * (mean[s] / float(sigma[s, s]) - nu[s])
        width = 1.0 + tau[s] * cavity
        shape = at * nu[s] + 0.5 * nu[s] ** 2 * cavity - 0.5 * tau[s] * at**2
        total += _log_cdf(at / math.sqrt(cavity)) + 0.5 * math.log(width) - shape / width
    return total


def climb(gram: Floats, alpha: Floats, scale: float, start: Floats, steps: int = 200) -> tuple[Floats, float]:
    """Climb the posterior mean on the shell, within the span of all latents, from the combination ``start``.

    Returns:
        The combination of latents (of unit norm in ``gram``) at the top, and the posterior mean there.
    """
    beta, cosines = _unit(gram, start)
    kernel = np.exp((cosines - 1.0) / scale**2)
    top, length = float(np.sum(alpha * kernel)), 1.0
    for _ in range(steps):
        pull = alpha * kernel
        uphill = pull - beta * float(np.sum(pull * cosines))
        slope = float(np.sum(uphill * np.einsum("ij,j->i", gram, uphill)))
        if slope < 1e-8 * top * top:
            break
        # the process falls off as top/ℓ² in every direction it knows nothing about: a Newton step
        trial, trial_cosines = _unit(gram, beta + uphill * (length / max(abs(top), 0.3)))
        trial_kernel = np.exp((trial_cosines - 1.0) / scale**2)
        value = float(np.sum(alpha * trial_kernel))
        if value > top:
            beta, cosines, kernel, top, length = trial, trial_cosines, trial_kernel, value, min(1.3 * length, 4.0)
        else:
            length *= 0.4
            if length < 1e-4:
                break
    return beta, top


def _unit(gram: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Return ``beta`` scaled to unit norm, and its cosines with all latents."""
    product = np.einsum("ij,j->i", gram, beta)
    size = math.sqrt(max(float(np.sum(beta * product)), 1e-30))
    return beta / size, product / size
