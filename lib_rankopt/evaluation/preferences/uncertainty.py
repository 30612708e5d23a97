"""Standard deviations of strengths: the diagonal of the inverse Hessian, exactly where that is cheap, from below elsewhere.

H, minus the Hessian of the log-posterior, is a weighted graph's Laplacian plus a positive diagonal. It falls apart into the graph's
connected components. A component of up to 2000 images is inverted (smallest first, while the cubes of their sizes sum to 4e10, some
ten seconds of one core). In the others the variances come from Gaussian belief propagation over the graph,

    v_i = 1 / (H_ii − Σ_j m_{j→i}),   m_{j→i} = H_ij² / (H_jj − Σ_{k≠i} m_{k→j}),

started from m = 0 and swept up to 50 times. It is exact on trees. Elsewhere it sums only those of the walks behind (H⁻¹)_ii that turn back
on themselves, and as all walks count positively here, every iterate is a lower bound of the variance, never worse than 1/H_ii
(D. Malioutov, J. Johnson and A. Willsky, "Walk-sums and belief propagation in Gaussian graphical models", JMLR 7 (2006), section 4).
On random pairs and lists it is within 1 % of the exact sd; where each image only meets its neighbours on a ring, up to 16 % short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from lib_rankopt.evaluation.preferences.likelihood import Array, Edges, Integers
from lib_rankopt.evaluation.preferences.records import slices

LARGEST_EXACT = 2000
_EXACT_BUDGET = 4e10
_SWEEPS = 50
_SETTLED = 1e-4  # relative change of the smallest denominators at which sweeps stop


@dataclass(frozen=True)
class _Graph:
    """Each edge once, a < b, as parallel arrays."""

    a: Integers
    b: Integers
    value: Array


def marginal_sd(diagonal: Array, edges: Sequence[Edges]) -> tuple[Array, NDArray[np.bool_]]:
    """Return the standard deviations ``[n]``, and where they are exact (elsewhere they are lower bounds).

    Args:
        diagonal: of H, ``[n]``, prior included, positive.
        edges: off-diagonal entries; the same pair may be named more than once.
    """
    n = len(diagonal)
    if not edges:
        return diagonal**-0.5, np.ones(n, bool)
    graph, component = _merged(n, edges)
    sizes = np.bincount(component)
    exact = _affordable(sizes)[component]
    variance = np.empty(n)
    _invert(diagonal, graph, component, exact, variance)
    if not exact.all():
        kept = ~exact[graph.a]
        loose = graph if kept.all() else _Graph(graph.a[kept], graph.b[kept], graph.value[kept])
        variance[~exact] = _propagate(diagonal, loose)[~exact]
    return np.sqrt(variance), exact


def _merged(n: int, edges: Sequence[Edges]) -> tuple[_Graph, Integers]:
    """Sum the parallel edges, and number the connected components."""
    low = np.concatenate([np.minimum(part.a, part.b) for part in edges], dtype=np.int32)
    high = np.concatenate([np.maximum(part.a, part.b) for part in edges], dtype=np.int32)
    matrix = sparse.coo_array((np.concatenate([part.value for part in edges]), (low, high)), (n, n)).tocsr()
    del low, high
    matrix.sum_duplicates()
    component = connected_components(matrix, directed=False)[1]
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(matrix.indptr))
    return _Graph(rows, matrix.indices, matrix.data), component


def _affordable(sizes: Integers) -> NDArray[np.bool_]:
    """Which components are inverted."""
    order = np.argsort(sizes, kind="stable")
    within = np.empty(len(sizes), bool)
    within[order] = np.cumsum(sizes[order].astype(np.float64) ** 3) <= _EXACT_BUDGET
    return within & (sizes <= LARGEST_EXACT)


def _invert(diagonal: Array, graph: _Graph, component: Integers, exact: NDArray[np.bool_], variance: Array) -> None:
    """Write the exact variances; components of one size are inverted together."""
    sizes = np.bincount(component)
    order = np.argsort(component, kind="stable")  # images, component by component
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    local = np.empty(len(diagonal), np.int64)
    local[order] = np.arange(len(diagonal)) - np.repeat(first, sizes)
    edge_order = np.argsort(component[graph.a], kind="stable")
    edge_first = np.concatenate([[0], np.cumsum(np.bincount(component[graph.a], minlength=len(sizes)))])
    taken = np.zeros(len(sizes), bool)
    taken[component[exact]] = True
    for size in np.unique(sizes[taken]):
        which = np.flatnonzero(taken & (sizes == size))
        for part in slices(len(which), max(1, (1 << 22) // int(size) ** 2)):
            group = which[part]
            images = order[first[group][:, None] + np.arange(size)]
            block = np.zeros((len(group), size, size))
            block[:, np.arange(size), np.arange(size)] = diagonal[images]
            counts = edge_first[group + 1] - edge_first[group]
            slot = np.repeat(np.arange(len(group)), counts)
            skipped = edge_first[group] - np.concatenate([[0], np.cumsum(counts)[:-1]])
            chosen = edge_order[np.repeat(skipped, counts) + np.arange(counts.sum())]
            i, j = local[graph.a[chosen]], local[graph.b[chosen]]
            block[slot, i, j] = block[slot, j, i] = -graph.value[chosen]
            variance[images] = np.diagonal(np.linalg.inv(block), axis1=1, axis2=2)


def _propagate(diagonal: Array, graph: _Graph) -> Array:
    """Variances by belief propagation; both messages of an edge are kept, in float64."""
    n = len(diagonal)
    to_b, to_a = np.zeros(len(graph.a)), np.zeros(len(graph.a))
    rest: Array = diagonal.copy()  # H_ii less all that flows in
    for _ in range(_SWEEPS):
        inflow = np.zeros(n)
        for part in slices(len(graph.a)):
            a, b, square = graph.a[part], graph.b[part], graph.value[part] ** 2
            new_b, new_a = square / (rest[a] + to_a[part]), square / (rest[b] + to_b[part])
            to_b[part], to_a[part] = new_b, new_a
            inflow += np.bincount(b, new_b, n) + np.bincount(a, new_a, n)
        now: Array = diagonal - inflow
        settled = float(np.max(1.0 - now / rest)) <= _SETTLED
        rest = now
        if settled:
            break
    variance: Array = 1.0 / rest
    return variance
