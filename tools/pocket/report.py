"""What the pocket model can do, in figures (JSON on standard output) and in a contact sheet.

    python -m tools.pocket.report [--images 1000] [--sampler "DPM++ 2M"] [--out DIR] [--device cuda] [--sheet PATH]
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lib_rankopt.diffusion import conditioning, loading, noise, samplers, sampling
from lib_rankopt.diffusion.denoiser import CFGDenoiser, Conditioning, Denoiser
from lib_rankopt.diffusion.pocket import load_clip, load_judges
from lib_rankopt.diffusion.pocket.paths import existing
from lib_rankopt.diffusion.pocket.words import BACKGROUNDS, CONCEPTS, STYLES, caption
from tools.pocket import art, render
from tools.pocket.plan import ROOT, Plan, default_plan
from tools.pocket.scoring import caption_choice

log = logging.getLogger("rankopt.pocket.report")

SHEET = ROOT / "docs" / "images" / "pocket_contact_sheet.jpg"


@dataclass(frozen=True)
class Settings:
    """How pictures are generated for the figures."""

    images: int = 1000
    steps: int = 20
    guidance: float = 2.0
    sampler: str = "DPM++ 2M"
    scheduler: str = "Karras"
    seed: int = 1000
    batch: int = 50


@dataclass(frozen=True)
class Painted:
    """Generated pictures, float32 (N, 3, 64, 64) in 0..1, with what was asked for."""

    pictures: Tensor
    asked: list[tuple[int, int, int]]


class Painter:
    """Generates with the pocket model of a build; prompts of one batch may differ."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.settings = settings
        self.model = loading.load(existing(plan.out / "pocket.safetensors"), plan.device)
        self.plan = samplers.plan(settings.sampler, settings.scheduler, settings.steps, self.model.schedule)

    @torch.inference_mode()
    def __call__(self, prompts: list[str], seeds: list[int]) -> Tensor:
        """Pictures (B, 3, 64, 64) in 0..1."""
        pairs = [conditioning.encode_prompts(self.model, prompt, "", (64, 64)) for prompt in prompts]
        cond, uncond = (Conditioning(torch.cat([pair[side].context for pair in pairs])) for side in (0, 1))
        denoiser = Denoiser(self.model.predict, self.model.schedule)
        guided = CFGDenoiser(denoiser, cond, uncond, self.settings.guidance)
        start = noise.start_noise(seeds, (4, 8, 8))
        latents = sampling.sample(self.plan, guided, start, seeds, device=self.model.device)
        return (self.model.decode(latents) / 2 + 0.5).clamp(0, 1).cpu()


def wanted(count: int, seed: int) -> Iterator[tuple[int, int, int]]:
    """What to ask for: concepts in turn, styles and backgrounds at random."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        yield i % len(CONCEPTS), int(rng.integers(len(STYLES))), int(rng.integers(len(BACKGROUNDS)))


def words(asked: tuple[int, int, int]) -> tuple[str, str, str]:
    """The words of row numbers."""
    return CONCEPTS[asked[0]], STYLES[asked[1]], BACKGROUNDS[asked[2]]


def paint(painter: Painter, settings: Settings) -> Painted:
    """`settings.images` pictures, each of its own caption and seed."""
    asked = list(wanted(settings.images, settings.seed))
    parts = []
    for start in range(0, len(asked), settings.batch):
        some = asked[start : start + settings.batch]
        seeds = list(range(settings.seed + start, settings.seed + start + len(some)))
        parts.append(painter([caption(*words(one)) for one in some], seeds))
        log.info("%d of %d pictures", start + len(some), len(asked))
    return Painted(torch.cat(parts), asked)


def judged(plan: Plan, painted: Painted) -> dict[str, float]:
    """The share of pictures in which the build's judges see what was asked for."""
    scores = load_judges(plan.device, plan.out)(painted.pictures)
    asked = torch.tensor(painted.asked)
    parts = {"concept": scores.concept, "style": scores.style, "background": scores.background}
    hits = {name: part.argmax(1) == asked[:, i] for i, (name, part) in enumerate(parts.items())}
    result = {name: hit.float().mean().item() for name, hit in hits.items()}
    result["all"] = torch.stack(list(hits.values())).all(0).float().mean().item()
    return {name: round(value, 4) for name, value in result.items()}


def real_figures(plan: Plan) -> dict[str, float]:
    """The judges and the pocket CLIP on fresh renders, which nothing was trained on."""
    renderer = render.Renderer(np.load(plan.file("sprites.npy")))
    pictures, scenes = render.save_renders(renderer, plan.holdout, plan.holdout_seed)
    model, _, tokenize = load_clip(plan.device, plan.out)
    result = {"pocket_clip_caption_of_100": caption_choice(model, tokenize, pictures, scenes, plan.seed)}
    pictures, scenes = render.save_renders(renderer, plan.holdout, plan.judge_holdout_seed)
    asked = [tuple(row) for row in torch.stack([scenes.concept, scenes.style, scenes.background], 1).tolist()]
    seen = judged(plan, Painted(torch.from_numpy(pictures).float() / 255, asked))
    return {name: round(value, 4) for name, value in (result | {f"judges_{k}": v for k, v in seen.items()}).items()}


def seconds_for_eight(painter: Painter) -> float:
    """Wall time of eight pictures of one prompt, after a warm-up."""
    prompts, seeds = [caption("fox", STYLES[0], "blue")] * 8, list(range(8))
    painter(prompts, seeds)
    started = time.monotonic()
    painter(prompts, seeds)
    return round(time.monotonic() - started, 2)


def to_image(picture: Tensor, side: int) -> Image.Image:
    """A picture (3, H, W) in 0..1, scaled to `side` pixels."""
    array = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    return Image.fromarray(array).resize((side, side), Image.Resampling.BICUBIC)


def contact_sheet(painter: Painter, path: Path, columns: int = 8, rows: int = 6, side: int = 128) -> None:
    """Writes a sheet of pictures with their captions; first come, first shown, nothing is picked by hand."""
    rng = np.random.default_rng(7)
    concepts = rng.permutation(len(CONCEPTS))[: columns * rows]
    asked = [(int(c), i % len(STYLES), int(rng.integers(len(BACKGROUNDS)))) for i, c in enumerate(concepts)]
    texts = [caption(*words(one)) for one in asked]
    pictures = painter(texts, list(range(len(texts))))
    sheet = Image.new("RGB", (columns * (side + 8) + 8, rows * (side + 40) + 8), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (text, picture) in enumerate(zip(texts, pictures, strict=True)):
        x, y = 8 + i % columns * (side + 8), 8 + i // columns * (side + 40)
        sheet.paste(to_image(picture, side), (x, y))
        first, _, second = text.partition(" on ")
        draw.text((x, y + side + 2), first, fill="black", font=font)
        draw.text((x, y + side + 15), f"on {second}", fill="#666666", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=88)


def figures(plan: Plan, settings: Settings, sheet: Path | None) -> dict[str, object]:
    """All figures of a build; writes the contact sheet to `sheet` if given."""
    painter = Painter(plan, settings)
    if sheet is not None:
        contact_sheet(painter, sheet)
    return {
        "generated": judged(plan, paint(painter, settings)),
        "settings": asdict(settings),
        "seconds_for_eight_images": seconds_for_eight(painter),
        "renders": real_figures(plan),
        "megabytes": round(sum(f.stat().st_size for f in plan.out.rglob("*") if f.is_file()) / 1e6, 2),
    }


def sheet_of(plan: Plan) -> Path:
    """Where a build's contact sheet goes: the documentation's shows the committed model only."""
    return SHEET if plan.is_packages else plan.work / SHEET.name


def write(plan: Plan, settings: Settings, sheet: Path) -> None:
    """Writes the figures of a build to standard output, and its contact sheet."""
    if not plan.file("sprites.npy").is_file():
        art.make_sprites(plan.file("art"), plan.file("sprites.npy"))
    json.dump(figures(plan, settings, sheet), sys.stdout, indent=1)
    sys.stdout.write("\n")


def main() -> None:
    """The command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--sampler", default=Settings.sampler)
    parser.add_argument("--scheduler", default=Settings.scheduler)
    parser.add_argument("--guidance", type=float, default=Settings.guidance)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--work", type=Path, default=None, help="the build's work folder, for the sprites")
    parser.add_argument("--out", type=Path, default=None, help="the model's folder (the package's own)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, default=None, help=f"the contact sheet ({SHEET.name}, in docs/images or the work folder)")
    arguments = parser.parse_args()
    plan = default_plan(arguments.work, arguments.out, arguments.device)
    settings = Settings(
        images=arguments.images,
        steps=arguments.steps,
        guidance=arguments.guidance,
        sampler=arguments.sampler,
        scheduler=arguments.scheduler,
    )
    write(plan, settings, arguments.sheet or sheet_of(plan))


if __name__ == "__main__":
    main()
