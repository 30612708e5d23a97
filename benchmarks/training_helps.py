"""Does training help? A hidden taste ranks images; LoRAs of every objective against the base, on prompts that were never rated.

    python -m benchmarks.training_helps [--trait style|size] [--objectives sft,dpo,kto] [--at 200,400] [--learning-rates 1e-4]
                                        [--seeds 4]

A simulated rater has a taste that no prompt names: one style ("3d"), or how much of the picture the thing fills ("size", a composition
trait that is in no caption). It ranks 200 images of 40 things, and the likes and dislikes follow. Judged on 32 things that were never
rated, same seeds with and without the LoRA: the trait (style by the ground-truth judge, size by counting pixels), as win rate over the
base with a 95 % interval over prompts; and whether thing and background still are what was asked, by the judge's other heads. `sft` is the
control: where it is among the objectives it comes first, and by how much the others win more often is printed with an interval of its
own. No judge takes part in training. Defaults are chosen on other things than those that are reported (`--things tune`).
Also prints images a second of a bare forward and backward at the loop's batch size, and the peak.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image

from benchmarks._memory import peak_mib
from lib_rankopt.diffusion import decode, loading
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.pocket import BACKGROUNDS, CONCEPTS, STYLES, caption, checkpoint_path, load_judges
from lib_rankopt.evaluation.statistics import mean_interval
from lib_rankopt.training import objectives
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.images import training_image
from lib_rankopt.training.data.records import Feedback, LabelledImage, RankedImages
from lib_rankopt.training.folder import RunFolder
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.run import Run

RATED = 40
THINGS = {"report": CONCEPTS[-32:], "tune": CONCEPTS[RATED:-32]}


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


def _filled(pictures: list[Image.Image]) -> torch.Tensor:
    """Share of each picture that is not background, whose colour is the median of the outermost pixels."""
    shares = []
    for picture in pictures:
        pixels = numpy.asarray(picture.convert("RGB"), dtype=numpy.float32) / 255
        border = numpy.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        shares.append(float((numpy.linalg.norm(pixels - numpy.median(border, 0), axis=-1) > 0.25).mean()))
    return torch.tensor(shares)


@dataclass(frozen=True)
class Trait:
    """A hidden taste: which styles the rated prompts had, and how much of the trait pictures have."""

    made_as: tuple[str | None, ...]
    of: Callable[[list[Image.Image]], torch.Tensor]


TRAITS = {
    "style": Trait(("3d", "3d", "sticker", "sticker", "sticker"), lambda pictures: load_judges()(pictures).style[:, STYLES.index("3d")]),
    "size": Trait((None,) * 5, _filled),
}


def rated(model: StableDiffusion, folder: Path, trait: Trait) -> Feedback:
    """200 images of 40 things, each thing's five ranked by the trait; the better two are liked, the worse two disliked."""
    rankings, labels = [], []
    for number, thing in enumerate(CONCEPTS[:RATED]):
        ground = BACKGROUNDS[number % len(BACKGROUNDS)]
        plain = caption(thing, None, ground)
        made = []
        for place, style in enumerate(trait.made_as):
            picture = images(model, caption(thing, style, ground), [10 * number + place])[0]
            picture.save(folder / f"{number}-{place}.png")
            made.append((float(trait.of([picture])[0]), training_image(folder / f"{number}-{place}.png")))
        made.sort(key=lambda one: -one[0])
        found = tuple(image for _, image in made)
        rankings.append(RankedImages(plain, found, tuple(range(len(found)))))
        labels += [LabelledImage(plain, image, liked) for liked, some in ((True, found[:2]), (False, found[-2:])) for image in some]
    return Feedback(tuple(rankings), tuple(labels))


def judged(
    model: StableDiffusion, trait: Trait, things: tuple[str, ...], seeds: int, negative: str = ""
) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the trait, and whether thing and background are right: ``[prompts, seeds]`` each."""
    judge = load_judges()
    amount, right = [], []
    for number, thing in enumerate(things):
        ground = BACKGROUNDS[number % len(BACKGROUNDS)]
        pictures = images(model, caption(thing, None, ground), [90_000 + 10 * number + i for i in range(seeds)], negative)
        amount.append(trait.of(pictures))
        right.append(torch.tensor([c == thing and b == ground for c, _, b in judge(pictures).names()]).float())
    return torch.stack(amount), torch.stack(right)


def with_lora(path: Path) -> StableDiffusion:
    """The base with a LoRA file on."""
    model = loading.load(checkpoint_path())
    network = LoraNetwork(model, 16, 16.0, "full", 0)
    state, _ = file.read(path)
    modules = file.from_state(state, network.modules(), "sd1")
    ordered = [tensor.float() for name in network.modules() for tensor in (modules[name].down, modules[name].up)]
    for parameter, tensor in zip(network.parameters, ordered, strict=True):
        parameter.data = tensor.view(parameter.shape)
    return model


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
    parser.add_argument("--trait", choices=TRAITS, default="style")
    parser.add_argument("--objectives", default=",".join(objectives.names()))
    parser.add_argument("--at", default="200", help="updates after which the LoRA is judged, comma-separated")
    parser.add_argument("--learning-rates", default="0", help="comma-separated; 0 takes the objective's own")
    parser.add_argument("--seeds", type=int, default=4, help="images of each thing")
    parser.add_argument("--things", choices=THINGS, default="report")
    arguments = parser.parse_args()
    at = [int(text) for text in arguments.at.split(",")]
    trait, things = TRAITS[arguments.trait], THINGS[arguments.things]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = loading.load(checkpoint_path())
        feedback = rated(base, folder, trait)
        before, before_right = judged(base, trait, things, arguments.seeds)
        print(f"base: {arguments.trait} {before.mean():.3f}, thing and background {before_right.mean():.1%}", flush=True)
        order = sorted(arguments.objectives.split(","), key=lambda one: one != "sft")
        control: dict[tuple[float, int], torch.Tensor] = {}
        for objective, rate in itertools.product(order, map(float, arguments.learning_rates.split(","))):
            config = TrainingConfig(
                objective=objective,
                steps=max(at),
                learning_rate=rate,
                save_every=min(at),
                validate_every=0,
                name=f"{arguments.trait}-{rate}",
            )
            run = RunFolder.create(folder / f"{objective}-{rate}", config)
            begun = time.perf_counter()
            status = Run(run, checkpoint_path(), feedback, folder, folder / "cache").start(torch.device("cpu"))
            seconds = time.perf_counter() - begun
            for path in (Path(text) for text in status.outputs):
                step = int(path.stem.rsplit("-", 1)[1])
                if step not in at:
                    continue
                amount, right = judged(with_lora(path), trait, things, arguments.seeds, objectives.create(objective).negative_text)
                wins = ((amount > before).float() + 0.5 * (amount == before).float()).mean(1)
                estimate = mean_interval(wins.tolist())
                more = mean_interval((wins - control.setdefault((rate, step), wins)).tolist()) if "sft" in order else None
                than = ""
                if more is not None and objective != "sft":
                    than = f", {100 * more.mean:+.1f} points to sft ({100 * more.low:+.1f} to {100 * more.high:+.1f})"
                print(
                    f"{objective:6} rate {rate:g} step {step}: wins {estimate.mean:.1%} ({estimate.low:.1%} to {estimate.high:.1%}){than}, "
                    f"{arguments.trait} {amount.mean():.3f}, thing and background {right.mean():.1%} "
                    f"({right.mean() - before_right.mean():+.1%}); {seconds:.0f} s for {max(at)} updates",
                    flush=True,
                )
        print(f"bare forward and backward: {bare(8, 20):.0f} images/s; peak {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
