"""Does choosing inside the sampler help? Policies against the best of N finished images, for the same number of model evaluations.

All choose by the guide (the pocket CLIP) and see the same starts: best-of-N and the policies that copy paths the first N of them, halving
the first 2N. The ground-truth judges were trained apart and guide nothing; nor does a second pocket CLIP of other pictures and another
start, where one is given. Printed are the differences to best-of-N with 95 % t intervals over prompts, evaluations and seconds, all
measured in the same run.

    python -m tools.pocket.make --stage art --stage render --stage clip --seed 1 --work build/other --out build/other/clip
    python -m benchmarks.selection_vs_best_of_n --prompts 64 --seeds 4 --n 4 --held-out build/other/clip --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks._memory import peak_mib
from benchmarks.optimize_vs_best_of_n import GUIDE, judge_scores, prompts
from lib_rankopt import scorers
from lib_rankopt.diffusion import pocket
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import CFGDenoiser, Denoiser
from lib_rankopt.diffusion.loading import StableDiffusion, load
from lib_rankopt.diffusion.noise import start_noise
from lib_rankopt.diffusion.pocket.paths import checkpoint_path
from lib_rankopt.diffusion.samplers import plan
from lib_rankopt.diffusion.sampling import sample
from lib_rankopt.evaluation import mean_interval
from lib_rankopt.hosts.pocket import pocket_defaults
from lib_rankopt.scorers.pocket_clip import PocketClipScorer
from lib_rankopt.selection.placement import looking, quiet
from lib_rankopt.selection.policies import BestOfN, Greedy, Halving, Policy, Resample
from lib_rankopt.selection.pool import Launch, PoolRun

CONTROL = "best of N"
_FIGURES = ("guide", "held_out", "judge", "right")


def policies(n: int, steps: int, seed: int, noisy: bool) -> dict[str, Policy]:
    """The policies by name, each for as many evaluations as ``n`` whole images take; those that copy paths for samplers with noise only."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Policy] = {CONTROL: BestOfN(n, steps), "halving": Halving(2 * n, steps)}
    if noisy:
        found.update(greedy=Greedy(n, steps), resample=Resample(n, steps, generator=generator))
    return found


class Runner:
    """The pocket model with its guide and judges.

    Args:
        sampler, steps: of all runs.
        held_out: folder of another pocket CLIP, which guides nothing.
    """

    def __init__(self, sampler: str, steps: int, held_out: Path | None) -> None:
        self.model: StableDiffusion = load(checkpoint_path(), torch.device("cpu"), torch.float32)
        self.guide, self.judges = scorers.create(GUIDE), pocket.load_judges("cpu")
        self.held_out = PocketClipScorer(folder=held_out) if held_out else None
        self.plan = plan(sampler, "Automatic", steps, self.model.schedule)
        self.noisy = quiet(self.plan.sampler.function, eta=self.plan.eta) is None

    def pictures(self, latents: Tensor) -> Tensor:
        """Decode clean latents to ``[n, 3, H, W]`` in 0 … 1."""
        return ((self.model.decode(latents).float().clamp(-1, 1) + 1) / 2).nan_to_num()

    def run(self, policy: Policy, prompt: str, seed: int) -> dict[str, Any]:
        """One pool: guide and judges of the image that was taken, evaluations and seconds."""
        begun = time.perf_counter()
        seeds = tuple(1_000_000 * seed + row for row in range(policy.pool))
        defaults = pocket_defaults()
        with torch.inference_mode():
            cond, uncond = encode_prompts(self.model, prompt, "", (defaults.width, defaults.height))
            guided = CFGDenoiser(Denoiser(self.model.predict, self.model.schedule), cond, uncond, defaults.cfg_scale)
            place = looking(self.plan.sampler.function)
            pool = PoolRun(policy, lambda latents, *_: self.guide.score(self.pictures(latents), prompt), place)
            shape = (self.model.config.latent_channels, defaults.height // 8, defaults.width // 8)

            def sampler(launch: Launch) -> Tensor:
                return sample(
                    self.plan, launch.model(lambda _rows, x, sigma: guided(x, sigma)), start_noise(seeds, shape), seeds,  # type: ignore[arg-type]
                    lambda step: launch.callback(step.index, step.x, step.denoised),
                )  # fmt: skip

            best, latent = pool.sample(sampler)
            picture = self.pictures(latent)[0]
        seconds = time.perf_counter() - begun
        image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
        log_probability, right = judge_scores(self.judges, [image], prompt)
        held_out = {"held_out": float(self.held_out.score([image], prompt)[0])} if self.held_out else {}
        return {
            "guide": pool.looks[-1].scores[best], "judge": log_probability, "right": right, **held_out,
            "evaluations": pool.evaluated, "seconds": seconds,
        }  # fmt: skip


def summary(results: Sequence[dict[str, Any]], seeds: int) -> dict[str, Any]:
    """Every policy's means, and its differences to best-of-N with 95 % intervals over prompts; seconds as a ratio.

    Args:
        results: of every prompt and seed, the seeds of one prompt together. seeds: of each prompt.
    """
    table: dict[str, Any] = {}
    for name in results[0]:
        mine = [one[name] for one in results]
        control = [one[CONTROL] for one in results]
        row: dict[str, Any] = {}
        for key in (key for key in _FIGURES if key in mine[0]):
            more = [a[key] - b[key] for a, b in zip(mine, control, strict=True)]
            difference = mean_interval([sum(more[i : i + seeds]) / seeds for i in range(0, len(more), seeds)])
            row[key] = sum(one[key] for one in mine) / len(mine)
            row[f"{key}_more"] = (difference.mean, difference.low, difference.high)
        row["evaluations"] = sum(one["evaluations"] for one in mine) / len(mine)
        row["seconds_ratio"] = sum(one["seconds"] for one in mine) / sum(one["seconds"] for one in control)
        table[name] = row
    return {"runs": len(results), "policies": table, "peak_memory_mib": peak_mib()}


def main(arguments: list[str] | None = None) -> int:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--n", type=int, default=4, help="whole images that the evaluations are worth")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sampler", default="Euler a", help="greedy and resample need one that draws noise")
    parser.add_argument("--held-out", type=Path, metavar="DIR", help="another pocket CLIP, which guides nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    runner = Runner(options.sampler, options.steps, options.held_out)
    results = []
    for prompt in prompts(options.prompts):
        for seed in range(options.seeds):
            made = policies(options.n, runner.plan.steps, seed, runner.noisy)
            results.append({name: runner.run(policy, prompt, seed) for name, policy in made.items()})
    found = summary(results, options.seeds)
    print(json.dumps(found)) if options.json else _print(found, options)
    return 0


def _print(found: dict[str, Any], options: argparse.Namespace) -> None:
    signed: Callable[[tuple[float, float, float]], str] = lambda d: f"{d[0]:+.3f} ({d[1]:+.3f} to {d[2]:+.3f})"  # noqa: E731
    print(f"{found['runs']} runs, {options.sampler}, {options.steps} steps, evaluations of {options.n} images; less best of N, 95 %")
    for name, row in found["policies"].items():
        told = [f"{key} {row[key]:.3f} {signed(row[f'{key}_more'])}" for key in _FIGURES if key in row]
        print(f"{name:10}", *told, f"{row['evaluations']:.0f} evaluations, seconds × {row['seconds_ratio']:.3f}", sep="  ")
    print(f"peak memory {found['peak_memory_mib']:.0f} MiB")


if __name__ == "__main__":
    sys.exit(main())
