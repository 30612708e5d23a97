"""How fast do optimisers climb a reward on the Gaussian shell? A toy with the dimensions of a latent, and no image model.

The reward is a random field over the initial noise x, ‖x‖ = √d, d = 16,384 (Stable Diffusion 1.5 at 512 × 512):

    f(x) = √(2/F)·Σ_j a_j·cos(w_j·x / (ℓ·√d) + b_j),    F = 1500,   a, w standard normal, b uniform on 0 … 2π

so that f over random x has mean 0 and standard deviation about 1 (the unit σ of all figures), and changes over an angle of ℓ radians.
Every optimiser shows 8 images a round; an incumbent that is shown again counts as one of the 8. Columns: the best reward *shown* so far
after 16, 40, 80 and 160 images with exact rankings; and the reward of the incumbent after 96 images when every look at an image
adds independent noise of 0.5σ to what the rater sees.

"A scorer ranks": the numbers behind the rankings are told as well, so that images of different rounds compare (only their order is
used). An image has one number, with its one error where there is noise, and costs as many images as any other.

    python -m benchmarks.optimizers_shell --fields 8 --first 100 --length 0.5 1 --json
    python -m benchmarks.optimizers_shell --cost
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks._memory import peak_mib
from lib_rankopt.optimizers import Optimizer, OptimizerSettings, OptimizerState, Proposal, RoundFeedback, create, shell
from lib_rankopt.optimizers._protocol import RoundOptimizer
from lib_rankopt.optimizers.ranking import Answer, scores_of, tiers_from_scores, weights

SHAPE = (4, 64, 64)
DIMENSION = 4 * 64 * 64
FEATURES = 1500
PER_ROUND = 8
CHECKPOINTS = (2, 5, 10, 20)  # rounds, = 16, 40, 80, 160 images
NOISY_ROUNDS, NOISE = 12, 0.5


class Field:
    """One random reward; the same features serve every length scale."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 2303])
        self._w = torch.from_numpy(rng.standard_normal((FEATURES, DIMENSION), dtype=np.float32))
        self._a = rng.standard_normal(FEATURES)
        self._b = rng.uniform(0.0, 2.0 * np.pi, FEATURES)

    def __call__(self, latents: list[Tensor], length: float) -> NDArray[np.float64]:
        """Return the reward of each latent."""
        x = torch.stack([v.flatten() for v in latents]).float()
        phase = (x @ self._w.T).double().numpy() / (length * math.sqrt(DIMENSION))
        return np.asarray(math.sqrt(2.0 / FEATURES) * (np.cos(phase + self._b) @ self._a))


class ShellStep(RoundOptimizer):
    """The plain rank-weighted step: fresh seeds, then x + μ·ξ and a step of s·√d/(1 + decay·round), without memory."""

    name = "shell_step"
    settings_type = OptimizerSettings

    def __init__(self, shape: tuple[int, int, int], seed: int, mu: float, step: float, decay: float) -> None:
        super().__init__(shape, seed, None)
        self._mu, self._step, self._decay = mu, step, decay
        self._x: Tensor | None = None

    def _propose(self, n: int) -> list[Proposal]:
        if self._x is None:
            return [Proposal(shell.fresh(self._shape, self._rng), "fresh") for _ in range(n)]
        return [Proposal(shell.perturb(self._x, self._mu, self._rng), "explore") for _ in range(n)]

    def _learn(self, proposals: list[Proposal], answer: Answer) -> None:
        weight = weights(answer)
        if self._x is None:
            self._x = proposals[int(np.argmax(weight))].latent
            return
        g = sum(float(w) * (p.latent - self._x).double() for w, p in zip(weight, proposals, strict=True))
        assert isinstance(g, Tensor)
        step = self._step / (1.0 + self._decay * self._rounds) * math.sqrt(self._dimension)
        self._x = shell.project(self._x + g * (step / shell.norm(g)))

    @property
    def incumbent(self) -> Tensor | None:
        """The centre."""
        return self._x

    def state(self) -> OptimizerState:
        """Rounds only."""
        return OptimizerState(self._rounds)


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    name: str
    make: Callable[[int], Optimizer]
    peer: bool = True
    scores: bool = False  # it is told the numbers behind the rankings, as by a scorer


def _named(name: str, **settings: Any) -> Callable[[int], Optimizer]:
    return lambda seed: create(name, SHAPE, seed, settings)


def _plain(mu: float, step: float, decay: float) -> Callable[[int], Optimizer]:
    return lambda seed: ShellStep(SHAPE, seed, mu, step, decay)


METHODS = (
    Method("rank_step, a scorer ranks", _named("rank_step"), peer=False, scores=True),
    Method("rank_step", _named("rank_step"), peer=False),
    Method("rank_step, noise=0 given", _named("rank_step", noise=0.0), peer=False),
    Method("rank_step, noise=0.5 given", _named("rank_step", noise=0.5), peer=False),
    Method("shell step, mu .3, s .5/(1+.1 round)", _plain(0.3, 0.5, 0.1)),
    Method("shell step, mu .3, s .3", _plain(0.3, 0.3, 0.0)),
    Method("shell step, mu .5, s .4", _plain(0.5, 0.4, 0.0)),
    Method("ZO-RankSGD, line search", _named("zo_ranksgd")),
    Method("ZO-RankSGD, no line search", _named("zo_ranksgd", line_search=False)),
    Method("ZO-RankSGD, mu .1 step 2, no shell", _named("zo_ranksgd", mu=0.1, step=0.2, renormalize=False)),
    Method("sep-CMA", _named("cma")),
    Method("random search", _named("random_search")),
)


def answer(seen: NDArray[np.float64], scores: bool) -> RoundFeedback:
    """What a ranker says who sees these numbers, and whether it tells them."""
    numbers = seen.tolist()
    told = (scores_of(numbers, "field"),) if scores else ()
    return RoundFeedback(len(numbers), (tiers_from_scores(numbers),), scores=told)


def exact_run(method: Method, field: Field, length: float, seed: int) -> tuple[list[float], float]:
    """Best shown reward at each checkpoint under exact rankings, and seconds per ask + tell."""
    optimizer, best, curve, spent = method.make(seed), -math.inf, [], 0.0
    for r in range(1, max(CHECKPOINTS) + 1):
        begin = time.perf_counter()
        proposals = optimizer.ask(PER_ROUND)
        spent += time.perf_counter() - begin
        values = field([p.latent for p in proposals], length)
        best = max(best, float(values.max()))
        begin = time.perf_counter()
        optimizer.tell(answer(values, method.scores))
        spent += time.perf_counter() - begin
        if r in CHECKPOINTS:
            curve.append(best)
    return curve, spent / max(CHECKPOINTS)


def noisy_run(method: Method, field: Field, length: float, seed: int) -> float:
    """Reward of the incumbent after 12 rounds of rankings with noise."""
    optimizer, rng = method.make(seed), np.random.default_rng([seed, 96])
    for _ in range(NOISY_ROUNDS):
        proposals = optimizer.ask(PER_ROUND)
        seen = field([p.latent for p in proposals], length) + NOISE * rng.standard_normal(len(proposals))
        optimizer.tell(answer(seen, method.scores))
    assert optimizer.incumbent is not None
    return float(field([optimizer.incumbent], length)[0])


def measure(methods: tuple[Method, ...], seeds: range, lengths: list[float]) -> list[dict[str, Any]]:
    """Run everything; one record per method and length."""
    exact: dict[tuple[str, float], list[list[float]]] = {}
    noisy: dict[tuple[str, float], list[float]] = {}
    seconds: dict[tuple[str, float], list[float]] = {}
    for seed in seeds:
        field = Field(seed)
        for length in lengths:
            for method in methods:
                key = (method.name, length)
                curve, spent = exact_run(method, field, length, seed)
                exact.setdefault(key, []).append(curve)
                seconds.setdefault(key, []).append(spent)
                noisy.setdefault(key, []).append(noisy_run(method, field, length, seed))
        print(f"field {seed} done", file=sys.stderr, flush=True)
    return [_record(name, length, exact[name, length], noisy[name, length], seconds[name, length])
            for name, length in exact]  # fmt: skip


def _record(
    name: str, length: float, exact: list[list[float]], noisy: list[float], seconds: list[float]
) -> dict[str, Any]:
    table = np.asarray(exact)
    return {
        "method": name,
        "length": length,
        "fields": len(exact),
        "shown": dict(zip((PER_ROUND * r for r in CHECKPOINTS), table.mean(axis=0).round(3).tolist(), strict=True)),
        "shown_se": round(_standard_error(table[:, -1]), 3),
        "noisy_centre_96": round(float(np.mean(noisy)), 3),
        "noisy_centre_se": round(_standard_error(np.asarray(noisy)), 3),
        "seconds_per_round": round(float(np.mean(seconds)), 4),
    }


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def print_table(records: list[dict[str, Any]], methods: tuple[Method, ...]) -> None:
    """Print the table with each row's ratio to the best peer of the same run."""
    peers = {m.name for m in methods if m.peer}
    for length in sorted({r["length"] for r in records}):
        rows = [r for r in records if r["length"] == length]
        best = max((r["shown"][160] for r in rows if r["method"] in peers), default=math.nan)
        best_noisy = max((r["noisy_centre_96"] for r in rows if r["method"] in peers), default=math.nan)
        print(f"\nlength {length}, {rows[0]['fields']} fields; ratios are to the best of the peers")
        print(f"{'method':38} {'16':>6} {'40':>6} {'80':>6} {'160':>6} {'s.e.':>5} {'ratio':>5}"
              f" | {'noisy':>6} {'s.e.':>5} {'ratio':>5} | s/round")  # fmt: skip
        for r in rows:
            shown = " ".join(f"{v:6.2f}" for v in r["shown"].values())
            print(f"{r['method']:38} {shown} {r['shown_se']:5.2f} {r['shown'][160] / best:5.2f}"
                  f" | {r['noisy_centre_96']:6.2f} {r['noisy_centre_se']:5.2f}"
                  f" {r['noisy_centre_96'] / best_noisy:5.2f} | {r['seconds_per_round']:.3f}")  # fmt: skip


def cost(rounds: int = 50) -> list[dict[str, Any]]:
    """Seconds of ask + tell under a random ranker, by wall clock and by processor, and memory; ``ratio`` is to sep-CMA's processor time.

    Each runs in a process of its own, because the peak of a process never falls.
    """
    out = []
    for shape in ((4, 64, 64), (4, 128, 128)):
        records = []
        for name, scores in (("rank_step", True), ("rank_step", False), ("zo_ranksgd", False), ("random_search", False), ("cma", False)):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
                records.append(own.submit(_cost_of, name, scores, shape, rounds).result())
        peer = records[-1]["mean_cpu_s"]
        out += [{**record, "ratio": round(record["mean_cpu_s"] / peer, 2)} for record in records]
    return out


def _cost_of(name: str, scores: bool, shape: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    optimizer, rng, times = create(name, shape, 0), np.random.default_rng(0), []
    before, processor = peak_mib(), time.process_time()
    for _ in range(rounds):
        begin = time.perf_counter()
        n = len(optimizer.ask(PER_ROUND))
        optimizer.tell(answer(rng.standard_normal(n), scores))
        times.append(time.perf_counter() - begin)
    processor = (time.process_time() - processor) / rounds
    return {
        "optimizer": name, "scores": scores, "d": math.prod(shape),
        "mean_s": round(float(np.mean(times)), 4), "mean_cpu_s": round(processor, 4),
        "last_s": round(float(np.mean(times[-5:])), 4), "worst_s": round(max(times), 4), "peak_growth_mib": round(peak_mib() - before, 1),
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--fields", type=int, default=8, help="number of random rewards")
    parser.add_argument("--first", type=int, default=100, help="seed of the first one")
    parser.add_argument("--length", type=float, nargs="+", default=[0.5, 1.0], help="length scales of the reward")
    parser.add_argument("--only", default="", help="run the methods whose name contains this")
    parser.add_argument("--cost", action="store_true", help="time and memory instead of rewards")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    methods = tuple(m for m in METHODS if options.only in m.name)
    seeds = range(options.first, options.first + options.fields)
    records = cost() if options.cost else measure(methods, seeds, options.length)
    if options.json or options.cost:
        for record in records:
            print(json.dumps(record))
    else:
        print_table(records, methods)
        print(f"\npeak memory {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
