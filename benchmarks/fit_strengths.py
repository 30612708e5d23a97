"""Strengths from pairs: seconds and memory at a million images, and the same fit by choix at a size that it can do.

choix's ``opt_pairwise`` finds the same maximum with the same prior; the two must agree. Both run in this process, one after the other.

    python -m benchmarks.fit_strengths --images 1000000 --pairs 10000000 --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from benchmarks._memory import peak_mib
from lib_rankopt.evaluation.preferences import PRIOR_SD, Builder, Comparisons, fit


def made(images: int, pairs: int, seed: int) -> Comparisons:
    """Random pairs answered by a Bradley–Terry rater whose strengths have a standard deviation of 1.5."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(0.0, 1.5, images)
    builder = Builder()
    for start in range(0, pairs, 1 << 20):
        count = min(1 << 20, pairs - start)
        i = rng.integers(0, images, count)
        j = (i + rng.integers(1, images, count)) % images
        won = rng.random(count) < 1.0 / (1.0 + np.exp(hidden[j] - hidden[i]))
        builder.wins(np.where(won, i, j), np.where(won, j, i))
    return builder.finish(images)


def against_choix(images: int, pairs: int) -> dict[str, float]:
    """Seconds of both, and the largest difference of a strength."""
    import choix

    data = made(images, pairs, seed=1)
    begun = time.perf_counter()
    ours = fit(data).mean
    ours_s = time.perf_counter() - begun
    listed = list(zip(data.wins.first.tolist(), data.wins.second.tolist(), strict=True))
    begun = time.perf_counter()
    theirs = choix.opt_pairwise(images, listed, alpha=0.5 / PRIOR_SD**2, tol=1e-8)
    theirs_s = time.perf_counter() - begun
    return {"ours_s": ours_s, "choix_s": theirs_s, "ratio": theirs_s / ours_s, "difference": float(np.abs(ours - theirs).max())}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--peer-images", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    data = made(args.images, args.pairs, seed=0)
    data_mib = peak_mib()
    begun = time.perf_counter()
    fit(data)
    seconds = time.perf_counter() - begun
    large = {"images": args.images, "pairs": args.pairs, "seconds": seconds, "peak_mib": peak_mib(), "data_mib": data_mib}
    peer = against_choix(args.peer_images, 10 * args.peer_images)
    if args.json:
        print(json.dumps({"large": large, "peer": peer}))
        return 0
    print(f"{args.images} images, {args.pairs} pairs: {seconds:.1f} s,", end=" ")
    print(f"peak {large['peak_mib']:.0f} MiB ({data_mib:.0f} with the data alone)")
    print(f"{args.peer_images} images, {10 * args.peer_images} pairs: ours {peer['ours_s']:.3f} s, choix {peer['choix_s']:.2f} s", end=" ")
    print(f"({peer['ratio']:.0f} times as long), largest difference {peer['difference']:.1e}; ours gives standard deviations too")
    return 0


if __name__ == "__main__":
    sys.exit(main())
