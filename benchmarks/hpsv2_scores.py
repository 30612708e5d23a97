"""HPSv2.1 at its real size with random weights: images a second against the published package and against a bare forward of open_clip.

The package scores one picture a call and reads its checkpoint every time; the bare forward gets the batch that our scorer makes, with
the same threads. Time to the first score begins before the weights are read. Memory is the process's resident set.

    python -m tools.scorers.random_weights hpsv2.1 --pt --out build/scorers
    python -m benchmarks.hpsv2_scores --weights build/scorers
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks._memory import peak_mib, resident_mib
from lib_rankopt.scorers import ScorerShelf

PROMPT = "a red fox in the snow, oil painting"
NAME = "hpsv2.1"


def pictures(count: int, side: int) -> list[Image.Image]:
    """Noise, ``side`` × ``side``."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)]


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(scorer: Any, images: list[Image.Image], repeats: int) -> tuple[float, float]:
    """Our images a second, and as a share of the bare forward's; both take turns."""
    pixels = torch.stack([scorer.prepare(image) for image in images])
    model, tokens = scorer._tower._network.module, scorer._tower._tokenize([PROMPT])

    def bare() -> None:
        model.encode_image(pixels, normalize=True) @ model.encode_text(tokens, normalize=True).T

    def ours() -> None:
        scorer._tower._texts.clear()  # the bare forward encodes the prompt every time
        scorer.score(images, PROMPT)

    with torch.inference_mode():
        pairs = [(timed(ours), timed(bare)) for _ in range(repeats)]
    return len(images) / median(one for one, _ in pairs), median(other / one for one, other in pairs)


def measure(weights: Path, count: int, repeats: int, calls: int) -> dict[str, float]:
    """All figures of one run."""
    import open_clip  # noqa: F401  (its own memory is not the scorer's)

    images = pictures(count, 512)
    shelf = ScorerShelf([weights])
    found = {"memory_before_mib": resident_mib()}
    found["first_score_s"] = timed(lambda: shelf.get(NAME).score(images[:1], PROMPT))
    found["ours_images_per_s"], found["of_bare_forward"] = compare(shelf.get(NAME), images, repeats)
    found["memory_during_mib"] = resident_mib()
    shelf.release()
    found["memory_after_mib"] = resident_mib()
    package = shelf.get(f"{NAME}:package")
    seconds = [timed(lambda: package.score(images[:1], PROMPT)) for _ in range(calls)]
    found["package_images_per_s"] = 1 / median(seconds)
    found["times_the_package"] = found["ours_images_per_s"] / found["package_images_per_s"]
    found["peak_memory_mib"] = peak_mib()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR", help="a folder with HPS_v2.1_compressed.pt")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calls", type=int, default=3, help="of the package")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    found = measure(options.weights, options.images, options.repeats, options.calls)
    if options.json:
        print(json.dumps(found))
    else:
        print(*(f"{name:24}{value:10.3f}" for name, value in found.items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
