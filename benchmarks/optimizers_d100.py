"""ZO-RankSGD on the test functions of its paper: quadratic and Rosenbrock in 100 dimensions, by points ranked.

Quadratic ‖x‖² from x = 1 (f = 100), and Rosenbrock from x = 0 (f = 99). Each row is one (m, k) oracle; η is the best of a coarse grid
by the value after the last checkpoint, so rows that differ by less than a factor of two are ties. A point of a gradient round or of a
line search counts once; the images that a line-search round shows again do not count. The peer is ``cma`` with full covariance, fed
ranks.

    python -m benchmarks.optimizers_d100 --points 10000 --seeds 3
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks._memory import peak_mib
from lib_rankopt.optimizers import RoundFeedback
from lib_rankopt.optimizers.ranking import rank_weights, tiers_from_scores
from lib_rankopt.optimizers.zo_ranksgd import ZORankSGD, ZORankSGDSettings

DIMENSION = 100
CHECKPOINTS = (1000, 2000, 5000, 10000, 20000)
MU = 0.01  # the last values are proportional to it or to its square
Objective = Callable[[Tensor], float]


def quadratic(x: Tensor) -> float:
    """‖x‖²."""
    return float(x.double().square().sum())


def rosenbrock(x: Tensor) -> float:
    """Σ 100·(x_{i+1} − x_i²)² + (1 − x_i)²."""
    v = x.double().flatten()
    return float((100.0 * (v[1:] - v[:-1] ** 2) ** 2 + (1.0 - v[:-1]) ** 2).sum())


@dataclass(frozen=True)
class Row:
    """One oracle and its grid of η; ``line`` trial points per line search (0: none)."""

    m: int
    k: int
    line: int = 0
    shrink: float = 0.5


ROWS = (
    Row(10, 1), Row(10, 5), Row(10, 10), Row(15, 1), Row(15, 15), Row(100, 1), Row(100, 10), Row(100, 100),
    Row(10, 10, 5, 0.5), Row(10, 1, 5, 0.5), Row(10, 10, 5, 0.1),
)  # fmt: skip
PROBLEMS: dict[str, tuple[Objective, float, tuple[float, ...]]] = {
    "quadratic": (quadratic, 1.0, (0.005, 0.01, 0.02, 0.05, 0.1, 0.4, 1.0)),
    "rosenbrock": (rosenbrock, 0.0, (0.001, 0.003, 0.01, 0.03, 0.1)),
}


def descend(row: Row, problem: str, eta: float, points: int, seed: int) -> list[float]:
    """f at each checkpoint that ``points`` reaches, for one run."""
    objective, start, _ = PROBLEMS[problem]
    wanted = ZORankSGDSettings(mu=MU, step=eta, line_search=row.line > 0, shrink=row.shrink, renormalize=False)
    optimizer = ZORankSGD((1, 10, DIMENSION // 10), seed, wanted)
    optimizer.start_at(torch.full((1, 10, DIMENSION // 10), start))
    used, curve, searching, value = 0, [], False, math.inf
    for checkpoint in (c for c in CHECKPOINTS if c <= points):
        while used < checkpoint:
            proposals = optimizer.ask(row.line + 2 if searching else row.m)
            values = [objective(p.latent) for p in proposals]
            tiers = tiers_from_scores([-v for v in values])
            named = tiers if searching else tiers[: row.k]
            optimizer.tell(RoundFeedback(len(proposals), (named,)))
            used += row.line if searching else row.m
            searching = row.line > 0 and not searching
        assert optimizer.incumbent is not None
        value = objective(optimizer.incumbent)
        curve.append(value)
    return curve


def best_of_grid(row: Row, problem: str, points: int, seeds: int) -> tuple[float, list[float]]:
    """The η with the lowest last value, and its mean curve."""
    best: tuple[float, list[float]] = (math.nan, [math.inf])
    for eta in PROBLEMS[problem][2]:
        curves = np.asarray([descend(row, problem, eta, points, s) for s in range(seeds)])
        mean = np.nan_to_num(curves.mean(axis=0), nan=math.inf).tolist()
        if mean[-1] < best[1][-1]:
            best = (eta, mean)
    return best


def rank_fed_cma(problem: str, points: int, seeds: int) -> list[float]:
    """Mean curve of ``cma`` with full covariance, told ranks only."""
    import cma

    objective, start, _ = PROBLEMS[problem]
    curves = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        options = {"popsize": 17, "randn": lambda *n, g=rng: g.standard_normal(n), "seed": math.nan, "verbose": -9}
        sigma = 0.3 if problem == "quadratic" else 0.1
        strategy = cma.CMAEvolutionStrategy(np.full(DIMENSION, start), sigma, options)
        used, curve = 0, []
        for checkpoint in (c for c in CHECKPOINTS if c <= points):
            while used < checkpoint:
                asked = strategy.ask()
                values = [objective(torch.from_numpy(x)) for x in asked]
                ranks = rank_weights(tiers_from_scores([-v for v in values]), len(asked))
                strategy.tell(asked, (-ranks).tolist())
                used += len(asked)
            curve.append(objective(torch.from_numpy(strategy.mean)))
        curves.append(curve)
    return [float(v) for v in np.asarray(curves).mean(axis=0)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--points", type=int, default=10000, help="points to rank in each run")
    parser.add_argument("--seeds", type=int, default=3, help="runs per setting")
    parser.add_argument("--problem", choices=sorted(PROBLEMS), nargs="+", default=sorted(PROBLEMS))
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    for problem in options.problem:
        peer = rank_fed_cma(problem, options.points, options.seeds)
        _show(options.json, problem, "pycma, full, ranks only", math.nan, peer, peer)
        for row in ROWS:
            eta, curve = best_of_grid(row, problem, options.points, options.seeds)
            line = f" + line search l={row.line}, gamma={row.shrink}" if row.line else ""
            _show(options.json, problem, f"({row.m},{row.k}){line}", eta, curve, peer)
    if not options.json:
        print(f"peak memory {peak_mib():.0f} MiB")


def _show(as_json: bool, problem: str, name: str, eta: float, curve: list[float], peer: list[float]) -> None:
    if as_json:
        print(json.dumps({"problem": problem, "row": name, "eta": eta, "f": curve, "peer": peer}), flush=True)
        return
    figures = " ".join(f"{v:10.4g}" for v in curve)
    print(f"{problem:10} {name:38} eta {eta:5.2g} {figures}  f/f(cma) {curve[-1] / max(peer[-1], 1e-300):9.3g}", flush=True)


if __name__ == "__main__":
    main()
