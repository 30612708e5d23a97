"""How many pairs until a set is ranked: the chosen comparisons against random ones and against "least compared first".

Images have hidden strengths; a noisy rater prefers i to j with probability 1 / (1 + exp(s_j − s_i)). The running estimate is the online
one, as on the board; every ``--every`` pairs all answers are fitted together, and Kendall's τ between fit and hidden strengths is taken,
the same way for every strategy. No strategy asks for a pair twice. Two numbers come out for each: pairs until τ first reaches the goal,
and how well ``progress`` foretells τ there.

Choosing among all pairs of 500 images takes about 40 ms, so a seed takes some minutes.

    python -m benchmarks.next_comparison --images 500 --seeds 3 --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from lib_rankopt.evaluation.preferences import PRIOR_SD, Builder, Pool, choose, fit, progress, update

Array = NDArray[np.float64]


@dataclass
class State:
    """What a strategy sees."""

    mean: Array
    sd: Array
    games: NDArray[np.int64]
    rng: np.random.Generator
    already: set[frozenset[int]] = field(default_factory=set)


def chosen(state: State) -> tuple[int, int]:
    """The pair with the most to learn."""
    pair = choose(Pool(state.mean, state.sd), state.already, 2, state.rng)
    assert pair is not None, "every pair was compared before the goal was reached"
    return pair[0], pair[1]


def at_random(state: State) -> tuple[int, int]:
    """Any new pair."""
    while True:
        i, j = (int(k) for k in state.rng.choice(len(state.mean), 2, replace=False))
        if frozenset((i, j)) not in state.already:
            return i, j


def least_compared(state: State) -> tuple[int, int]:
    """The two images shown least often, ties at random: everybody gets the same number of comparisons."""
    order = np.lexsort((state.rng.random(len(state.games)), state.games))
    i = int(order[0])
    return next((i, int(j)) for j in order[1:] if frozenset((i, int(j))) not in state.already)


STRATEGIES: dict[str, Callable[[State], tuple[int, int]]] = {"chosen": chosen, "random": at_random, "least compared": least_compared}


@dataclass(frozen=True)
class Run:
    """One strategy and seed: pairs until the goal, τ there and what was foretold, and the median milliseconds to choose."""

    pairs: int
    tau: float
    foretold: float
    choose_ms: float


def rank(strategy: Callable[[State], tuple[int, int]], images: int, spread: float, goal: float, every: int, seed: int) -> Run:
    """Compare until τ reaches the goal."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(0.0, spread, images)
    state = State(np.zeros(images), np.full(images, PRIOR_SD), np.zeros(images, np.int64), rng)
    answers: list[tuple[int, int]] = []
    times: list[float] = []
    while True:
        for _ in range(every):
            begun = time.perf_counter()
            i, j = strategy(state)
            times.append(time.perf_counter() - begun)
            won = rng.random() < 1.0 / (1.0 + np.exp(hidden[j] - hidden[i]))
            first, second = (i, j) if won else (j, i)
            answers.append((first, second))
            state.already.add(frozenset((i, j)))
            state.games[[i, j]] += 1
            state.mean, state.sd = update(state.mean, state.sd, ((first,), (second,)))
        builder = Builder()
        for first, second in answers:
            builder.win(first, second)
        ratings = fit(builder.finish(images))
        tau = float(kendalltau(ratings.mean, hidden).statistic)
        if tau >= goal:
            foretold = progress(ratings.mean, ratings.sd, rng)
            assert foretold is not None
            return Run(len(answers), tau, foretold.expected_tau, 1e3 * median(times))


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--spread", type=float, default=1.5, help="standard deviation of the hidden strengths, in log-odds")
    parser.add_argument("--goal", type=float, default=0.8, help="Kendall's tau")
    parser.add_argument("--every", type=int, default=100, help="pairs between two looks at tau")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    runs = {
        name: [rank(strategy, args.images, args.spread, args.goal, args.every, seed) for seed in range(args.seeds)]
        for name, strategy in STRATEGIES.items()
    }
    pairs = {name: mean(run.pairs for run in of) for name, of in runs.items()}
    ratios = {f"{name} / chosen": pairs[name] / pairs["chosen"] for name in pairs if name != "chosen"}
    if args.json:
        print(json.dumps({"runs": {name: [vars(run) for run in of] for name, of in runs.items()}, "pairs": pairs, "ratios": ratios}))
        return 0
    print(f"{args.images} images, strengths of sd {args.spread}, until tau {args.goal}, {args.seeds} seeds")
    for name, of in runs.items():
        each = ", ".join(str(run.pairs) for run in of)
        foretold, ms = mean(run.foretold for run in of), median(run.choose_ms for run in of)
        print(f"{name:15s} {pairs[name]:8.0f} pairs ({each})   tau foretold {foretold:.3f}   {ms:6.2f} ms a choice")
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f} times the pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
