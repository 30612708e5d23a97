"""Strengths of images from all comparisons at once: maximum a posteriori, with uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib_rankopt.errors import InvalidInputError, RankOptError
from lib_rankopt.evaluation.preferences.likelihood import Array, Piece, pieces
from lib_rankopt.evaluation.preferences.records import Comparisons
from lib_rankopt.evaluation.preferences.uncertainty import marginal_sd

PRIOR_SD = 1.5  # an image one sd above the average is preferred to it in 82 of 100 answers

_NEWTON_STEPS = 100
_CG_STEPS = 200
_LONGEST_STEP = 8.0  # in log-odds, of any one image; keeps the first steps of nearly free images in check
_TOLERANCE = 1e-5  # in log-odds; the error after a Newton step this short is far smaller


@dataclass(frozen=True)
class Ratings:
    """Strengths on the natural log-odds scale, around 0: P(i preferred to j) = 1 / (1 + exp(mean_j − mean_i)).

    Attributes:
        mean: maximum a posteriori strength, ``[n]``.
        sd: its standard deviation by Laplace's approximation, ``[n]``, in (0, prior sd].
        games: weighted number of answers each image took part in, ``[n]``.
        exact: whether ``sd`` is the inverse Hessian's own diagonal, ``[n]``; else it is a lower bound (``uncertainty.py``).
    """

    mean: Array
    sd: Array
    games: Array
    exact: NDArray[np.bool_]


def fit(comparisons: Comparisons, prior_sd: float = PRIOR_SD) -> Ratings:
    """Fit Bradley–Terry and Plackett–Luce strengths with independent Gaussian priors N(0, prior_sd²).

    The prior keeps an image finite that always won, ties images together that were never compared, and stands for "average" in likes
    and dislikes. The likelihood is in ``likelihood.py``. The posterior is concave; Newton's method finds its one maximum, each step
    solved by conjugate gradients with the diagonal as preconditioner (Nocedal and Wright, "Numerical Optimization", 2nd ed., alg. 7.1).

    Raises:
        InvalidInputError: a ``prior_sd`` that is not positive and finite.
        RankOptError: no convergence, which would be a fault.
    """
    if not 0.0 < prior_sd < math.inf:
        raise InvalidInputError(f"prior_sd is {prior_sd}; it must be positive and finite.")
    parts = pieces(comparisons)
    precision = prior_sd**-2
    mean = _maximise(parts, comparisons.n, precision)
    diagonal = _expand(parts, mean, precision)[1]
    sd, exact = marginal_sd(diagonal, [edges for piece in parts for edges in piece.edges()])
    return Ratings(mean, sd, comparisons.games, exact)


def _maximise(parts: Sequence[Piece], n: int, precision: float) -> Array:
    """Truncated Newton from 0."""

    def objective(s: Array) -> float:
        return sum(piece.value(s) for piece in parts) - 0.5 * precision * float(s @ s)

    def product(v: Array) -> Array:
        return sum((piece.product(v) for piece in parts), precision * v)

    s = np.zeros(n)
    if not parts:
        return s
    value = objective(s)
    first_norm = 0.0
    for _ in range(_NEWTON_STEPS):
        gradient, diagonal = _expand(parts, s, precision)
        norm = float(np.linalg.norm(gradient))
        first_norm = first_norm or norm
        if norm == 0.0:
            return s
        forcing = min(0.1, math.sqrt(norm / first_norm))
        step = _conjugate_gradients(product, gradient, diagonal, forcing * norm)
        length = float(np.abs(step).max())
        step *= min(1.0, _LONGEST_STEP / length)
        s, value = _line_search(objective, s, value, step, float(gradient @ step))
        if length <= _TOLERANCE:
            return s
    raise RankOptError(f"The strengths of {n} images did not converge in {_NEWTON_STEPS} Newton steps; the last was {length:.2g} long.")


def _expand(parts: Sequence[Piece], s: Array, precision: float) -> tuple[Array, Array]:
    """The posterior's gradient and the diagonal of H."""
    gradient, diagonal = -precision * s, np.full(len(s), precision)
    for piece in parts:
        slope, curvature = piece.expand(s)
        gradient += slope
        diagonal += curvature
    return gradient, diagonal


def _conjugate_gradients(product: Callable[[Array], Array], right: Array, diagonal: Array, tolerance: float) -> Array:
    """Solve H x = right until the residual's norm is below ``tolerance``; stopped early, x is still a direction of ascent."""
    x, residual = np.zeros_like(right), right.copy()
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = float(residual @ scaled)
    for _ in range(_CG_STEPS):
        image = product(direction)
        pace = energy / float(direction @ image)
        x += pace * direction
        residual -= pace * image
        if float(np.linalg.norm(residual)) <= tolerance:
            break
        scaled = residual / diagonal
        energy, before = float(residual @ scaled), energy
        direction = scaled + (energy / before) * direction
    return x


def _line_search(objective: Callable[[Array], float], s: Array, value: float, step: Array, slope: float) -> tuple[Array, float]:
    """Halve the step until the objective rises by Armijo's rule; what is below rounding counts as a rise."""
    noise = 1e-12 * (1.0 + abs(value))
    for halving in range(40):
        pace = 0.5**halving
        reached = objective(s + pace * step)
        if reached >= value + 1e-4 * pace * slope - noise:
            return s + pace * step, reached
    return s, value
