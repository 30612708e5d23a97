"""Does ranking help? 20 rounds of 8 under the pocket CLIP against the best of 160 fresh seeds, and what other judges say.

Both sides show the same number of images, and both choose by the guide (the pocket CLIP). The ground-truth judges were trained apart
and guide nothing: if the optimiser only learned to please its guide, they say so.

    python -m benchmarks.optimize_vs_best_of_n --pairs 32 --json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks._memory import peak_mib
from lib_rankopt import scorers
from lib_rankopt.diffusion import pocket
from lib_rankopt.evaluation import mean_interval
from lib_rankopt.evaluation.control import best_of_n
from lib_rankopt.hosts.standalone import StandaloneHost
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.settings import request
from lib_rankopt.studies.views import StudySettings

GUIDE = "clip"


def judge_scores(judges: Any, images: Sequence[Image.Image], prompt: str) -> tuple[float, float]:
    """Mean over the images of (mean log-probability of the asked concept, style and background; 1 if all three are right, else 0)."""
    target = judges.target(prompt)
    assert target is not None, f"{prompt!r} is no caption of the pocket world"
    seen = judges(list(images))
    heads = ((seen.concept, pocket.CONCEPTS), (seen.style, pocket.STYLES), (seen.background, pocket.BACKGROUNDS))
    logs, right = torch.zeros(len(images)), torch.ones(len(images), dtype=torch.bool)
    for (probabilities, names), wanted in zip(heads, target, strict=True):
        index = names.index(wanted)
        logs += probabilities[:, index].clamp_min(1e-6).log() / 3
        right &= probabilities.argmax(1) == index
    return float(logs.mean()), float(right.float().mean())


def prompts(count: int) -> list[str]:
    """``count`` captions spread over concepts, styles and backgrounds, always the same ones."""
    generator = torch.Generator().manual_seed(2303)
    order = torch.randperm(len(pocket.CONCEPTS), generator=generator).tolist()
    styles, grounds = pocket.STYLES, pocket.BACKGROUNDS
    return [
        pocket.caption(
            pocket.CONCEPTS[order[i % len(order)]], styles[i % len(styles)], grounds[(3 * i + i // 8) % len(grounds)]
        )
        for i in range(count)
    ]


def run_pair(service: StudyService, judges: Any, prompt: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One prompt and seed: optimise, then the control; scores of both under guide and judges."""
    started = time.perf_counter()
    settings = StudySettings(
        prompt=prompt, seed=seed, optimizer=options.optimizer, candidates=options.candidates, batch_size=options.candidates
    )
    study = service.create(settings)
    service.start_auto(study.id, GUIDE, options.rounds)
    version = -1
    while service.get(study.id).auto is not None:
        version = service.progress(study.id, since=version, timeout=2.0).version
    rounds = service.rounds(study.id)
    answered = [r for r in rounds if r.status == "answered"]
    if len(answered) != options.rounds:
        raise RuntimeError(f"{len(answered)} of {options.rounds} rounds: {[r.error for r in rounds if r.error]}")
    shown = {c.image: c.scores[GUIDE] for r in answered for c in r.candidates if c.image}
    best = max(shown, key=shown.__getitem__)
    first = max((c.scores[GUIDE] for c in answered[0].candidates), default=float("nan"))
    elapsed = time.perf_counter() - started
    scorer = scorers.create(GUIDE)
    control = best_of_n(
        service.host,
        request(study.settings, seeds=(study.settings.seed,)),
        lambda images: scorer.score(images, prompt),
        options.rounds * options.candidates,
    )
    with Image.open(service.image_path(best)) as opened:
        ours = opened.convert("RGB")
    return {
        "prompt": prompt,
        "seed": seed,
        "guide": shown[best],
        "guide_control": control.best,
        "guide_first_round": first,
        "judge": judge_scores(judges, [ours], prompt),
        "judge_control": judge_scores(judges, [control.image], prompt),
        "new_images": len(shown),
        "optimize_seconds": elapsed,
        "control_seconds": time.perf_counter() - started - elapsed,
    }


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with 95 % t intervals over pairs; ``wins`` is the share of pairs in which the optimiser beats its control on the guide."""

    def differences(pick: Any) -> dict[str, float]:
        estimate = mean_interval([pick(r, "") - pick(r, "_control") for r in results])
        return {"difference": estimate.mean, "low": estimate.low, "high": estimate.high}

    def mean(pick: Any, side: str) -> float:
        return mean_interval([pick(r, side) for r in results]).mean

    guide = lambda r, side: r["guide" + side]  # noqa: E731
    log_probability = lambda r, side: r["judge" + side][0]  # noqa: E731
    all_right = lambda r, side: r["judge" + side][1]  # noqa: E731
    return {
        "pairs": len(results),
        "wins_on_guide": sum(r["guide"] > r["guide_control"] for r in results) / len(results),
        "guide": {"optimizer": mean(guide, ""), "best_of_n": mean(guide, "_control"), **differences(guide)},
        "judge_log_probability": {
            "optimizer": mean(log_probability, ""), "best_of_n": mean(log_probability, "_control"), **differences(log_probability)
        },
        "judge_all_right": {"optimizer": mean(all_right, ""), "best_of_n": mean(all_right, "_control"), **differences(all_right)},
        "new_images": mean_interval([r["new_images"] for r in results]).mean,
        "seconds_ratio_per_image": (
            sum(r["optimize_seconds"] for r in results) / sum(r["new_images"] for r in results)
        ) / (sum(r["control_seconds"] for r in results) / sum(r["control_images"] for r in results)),
        "peak_memory_mib": peak_mib(children=True),
    }


def main() -> int:
    """Run all pairs, print each and the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32, help="prompt-seed pairs")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--optimizer", default="rank_step")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    parser.add_argument("--jobs", type=int, default=1, help="pairs that run side by side, each on one thread")
    options = parser.parse_args()
    results = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), _one_thread if options.jobs > 1 else None) as pool:
        wanted = enumerate(prompts(options.pairs))
        for done in as_completed([pool.submit(pair_alone, prompt, 1000 + i, options) for i, prompt in wanted]):
            results.append(done.result())
            print(json.dumps(results[-1]), flush=True) if options.json else _print_pair(results[-1])
    print(json.dumps(summary(results), indent=None if options.json else 2))
    return 0


def _one_thread() -> None:
    torch.set_num_threads(1)


def pair_alone(prompt: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One pair in a data folder of its own."""
    judges = pocket.load_judges("cpu")
    with tempfile.TemporaryDirectory() as folder:
        service = StudyService(Path(folder), StandaloneHost(device="cpu"))
        try:
            return run_pair(service, judges, prompt, seed, options) | {"control_images": options.rounds * options.candidates}
        finally:
            service.close()


def _print_pair(r: dict[str, Any]) -> None:
    print(
        f"{r['prompt'][:44]:44}  guide {r['guide']:6.2f} / {r['guide_control']:6.2f}"
        f"  judge {r['judge'][0]:6.3f} / {r['judge_control'][0]:6.3f}  {r['optimize_seconds']:5.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
