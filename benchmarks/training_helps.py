"""Does training help? A hidden taste ranks images; LoRAs of every objective against the base, on prompts that were never rated.

    python -m benchmarks.training_helps [--objectives sft,dpo,kto] [--steps 300]

A simulated rater prefers one style ("3d"), which no prompt names. It rates 200 images of 40 things (pairs, and the likes and dislikes that
follow). Judged on 32 other things, same seeds with and without the LoRA: the style by the ground-truth judge (win rate over the base, 95 %
interval over prompts), and whether the thing and the background still are what was asked, by the judge's other heads. `sft` is the control.
No judge takes part in training. Also prints images a second of a bare forward and backward at the loop's batch size, and the peak.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import torch

from benchmarks._memory import peak_mib
from lib_rankopt.diffusion import decode, loading
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.pocket import BACKGROUNDS, CONCEPTS, caption, checkpoint_path, load_judges
from lib_rankopt.evaluation.statistics import mean_interval
from lib_rankopt.training import objectives
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.images import training_image
from lib_rankopt.training.data.records import Feedback, LabelledImage, RankedImages
from lib_rankopt.training.folder import RunFolder
from lib_rankopt.training.lora import file
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.run import Run

RATED, JUDGED, SEEDS = 40, 32, 4
LIKED = 0  # index of the style that the rater likes


@torch.no_grad()
def images(model: StableDiffusion, prompt: str, seeds: list[int], negative: str = "", steps: int = 20, guidance: float = 5.0) -> list:
    """DDIM images of a prompt, with whatever the UNet carries."""
    positive, without = encode_prompts(model, prompt, negative, (64, 64))
    both = positive.rows(len(seeds)).joined(without.rows(len(seeds)))
    x = torch.stack([torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    table = model.schedule.alphas_cumprod
    times = torch.linspace(999, 0, steps + 1).round().long()
    for here, there in itertools.pairwise(times):
        said, empty = model.predict(torch.cat([x, x]), here.repeat(2 * len(x)), Conditioning(both.context)).chunk(2)
        noise = empty + guidance * (said - empty)
        clean = (x - (1 - table[here]).sqrt() * noise) / table[here].sqrt()
        x = table[there].sqrt() * clean + (1 - table[there]).sqrt() * noise
    return decode.pictures(model, x)


def rated(model: StableDiffusion, folder: Path) -> Feedback:
    """200 images of 40 things: the rater puts those in its style first, whatever they show."""
    rankings, labels = [], []
    for number, thing in enumerate(CONCEPTS[:RATED]):
        ground = BACKGROUNDS[number % len(BACKGROUNDS)]
        plain = caption(thing, None, ground)
        made = []
        for style, seeds in (("3d", [1, 2]), ("sticker", [3, 4, 5])):
            for seed, picture in zip(seeds, images(model, caption(thing, style, ground), [s + 10 * number for s in seeds]), strict=True):
                path = folder / f"{number}-{style}-{seed}.png"
                picture.save(path)
                made.append((training_image(path), style == "3d"))
        found = tuple(image for image, _ in made)
        rankings.append(RankedImages(plain, found, tuple(0 if liked else 1 for _, liked in made)))
        labels += [LabelledImage(plain, image, liked) for image, liked in made]
    return Feedback(tuple(rankings), tuple(labels))


def judged(model: StableDiffusion, negative_prompt: str = "") -> tuple[torch.Tensor, torch.Tensor]:
    """Probability of the liked style, and whether thing and background are right: ``[prompts, seeds]`` each."""
    judge = load_judges()
    style, right = [], []
    for number, thing in enumerate(CONCEPTS[-JUDGED:]):
        ground = BACKGROUNDS[number % len(BACKGROUNDS)]
        found = judge(images(model, caption(thing, None, ground), [90_000 + 10 * number + i for i in range(SEEDS)], negative_prompt))
        style.append(found.style[:, LIKED])
        matches = [c == thing and b == ground for c, _, b in found.names()]
        right.append(torch.tensor(matches).float())
    return torch.stack(style), torch.stack(right)


def bare(batch: int, steps: int) -> float:
    """Images a second of nothing but forward and backward through the same network: the limit of the loop without a reference."""
    model = loading.load(checkpoint_path())
    network = LoraNetwork(model, 16, 16.0, "full", 0)
    x, t = torch.randn(batch, 4, 8, 8), torch.randint(0, 1000, (batch,))
    condition = encode_prompts(model, "a fox", "", (64, 64))[0]
    context = Conditioning(condition.context.clone().expand(batch, -1, -1))
    begun = time.perf_counter()
    for _ in range(steps):
        network.residual(x, t, context, torch.zeros_like(x)).square().mean().backward()
    return batch * steps / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", default=",".join(objectives.names()))
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = loading.load(checkpoint_path())
        feedback = rated(base, folder)
        before_style, before_right = judged(base)
        print(f"base: style {before_style.mean():.3f}, thing and background {before_right.mean():.1%}", flush=True)
        for objective in arguments.objectives.split(","):
            run = RunFolder.create(
                folder / objective, TrainingConfig(objective=objective, steps=arguments.steps, save_every=arguments.steps, validate_every=0)
            )
            begun = time.perf_counter()
            status = Run(run, checkpoint_path(), feedback, folder, folder / "cache").start(torch.device("cpu"))
            seconds = time.perf_counter() - begun
            model = loading.load(checkpoint_path())
            network = LoraNetwork(model, 16, 16.0, "full", 0)
            state, _ = file.read(Path(status.outputs[-1]))
            modules = file.from_state(state, network.modules(), "sd1")
            ordered = [tensor.float() for path in network.modules() for tensor in (modules[path].down, modules[path].up)]
            for parameter, tensor in zip(network.parameters, ordered, strict=True):
                parameter.data = tensor.view(parameter.shape)
            style, right = judged(model, objectives.create(objective).negative_text)
            wins = ((style > before_style).float() + 0.5 * (style == before_style).float()).mean(1)
            estimate = mean_interval(wins.tolist())
            print(
                f"{objective:6} wins {estimate.mean:.1%} ({estimate.low:.1%} to {estimate.high:.1%}), style {style.mean():.3f}, "
                f"thing and background {right.mean():.1%} ({right.mean() - before_right.mean():+.1%}), {seconds:.0f} s",
                flush=True,
            )
        print(f"bare forward and backward: {bare(8, 20):.0f} images/s; peak {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
