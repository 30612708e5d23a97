"""How fast and in how much memory DPO trains a LoRA, beside the published ways and the limit, in one run.

    python -m benchmarks.training_speed [--base PATH | --layout sd1|sd2|sdxl --side 512] [--device cuda] [--precision bf16] [--batch 8]
                                        [--steps 2] [--turns 9] [--ways ours,two-unets,limit] [--apart]

Ways to do one update on ``--batch`` pairs, on the same pictures and prompts, with AdamW and clipping:

- ours: the loop of ``lib_rankopt.training`` with its defaults: latents and text are cached, the reference is the network without LoRA.
  ``ours-checkpointed`` is the same with gradient checkpointing, for little memory.
- example: as the diffusers research example for Diffusion-DPO works: pixels through the VAE and prompts through the text encoder in every
  step, LoRA of rank 8 on attention only (less than ours), adapters switched off for the reference. Without its 8-bit Adam.
- two-unets: as the authors' Diffusion-DPO: VAE and text in every step, all of a float32 UNet is trained, a second one is the
  reference; gradient checkpointing, as their code forces for SDXL. ``two-unets-plain`` is the same without checkpointing.
  How far checkpointing and the VAE count depends on the base: the pocket model's VAE is cheap, SD1's costs more than its UNet's forward.
- limit: forward of the reference, forward and backward of our LoRA network on fixed tensors, and nothing else.

``--layout`` takes a model of the published size with random weights. With ``--apart`` every way works in a process of its own in each
turn, for models of which several do not fit into memory at once.

The ways take turns, so that noise hits all alike; a rate is the median over turns, a ratio the median of the ratios within each turn.
Pixels are read and prompts cut into tokens beforehand for all. What ours spends on encoding once, before the loop, is printed apart.
The peak is of a process of its own for each way, from loading the model to the last step: on the CPU what the resident set grew by after
all packages were imported, on CUDA what torch allocated. ``bf16`` is of all that is frozen; what is trained is float32, except for the
example's LoRA.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy
import torch
import transformers
from peft import LoraConfig
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from benchmarks._memory import peak_mib, resident_mib
from benchmarks._random_model import random_model
from lib_rankopt.diffusion import loading
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.pocket import BACKGROUNDS, CONCEPTS, caption, checkpoint_path
from lib_rankopt.diffusion.prompts import chunks
from lib_rankopt.training import objectives
from lib_rankopt.training.batches import Drawing, Material
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.images import training_image
from lib_rankopt.training.data.records import Example
from lib_rankopt.training.loop import Trainer
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.precompute import LatentCache, encode_texts, without_encoders

Step = Callable[[], Any]
Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]
_DTYPES, _BETA = {"fp32": torch.float32, "bf16": torch.bfloat16}, 5000.0


@dataclass(frozen=True)
class Setting:
    """What all ways share."""

    base: Path
    device: torch.device
    dtype: torch.dtype
    config: TrainingConfig
    layout: str | None = None
    side: int = 512

    @property
    def pairs(self) -> int:
        return self.config.batch_size

    @property
    def prompts(self) -> list[str]:
        return [caption(CONCEPTS[i % len(CONCEPTS)], None, BACKGROUNDS[i % len(BACKGROUNDS)]) for i in range(self.pairs)]

    def load(self, dtype: torch.dtype | None = None) -> StableDiffusion:
        if self.layout:
            return random_model(self.layout, self.side, self.device, dtype or self.dtype)
        return loading.load(self.base, self.device, dtype or self.dtype)

    def pictures(self, side: int) -> Iterator[Image.Image]:
        """All better ones, then all worse ones."""
        chance = numpy.random.default_rng(0)
        return (Image.fromarray(chance.integers(0, 256, (side, side, 3), numpy.uint8)) for _ in range(2 * self.pairs))


def ours_material(setting: Setting, model: StableDiffusion) -> Material:
    """What the loop is given: all pictures encoded, as they are and mirrored, and all prompts."""
    size = (model.config.image_size,) * 2
    with tempfile.TemporaryDirectory() as name:
        images = []
        for number, picture in enumerate(setting.pictures(size[0])):
            picture.save(path := Path(name) / f"{number}.png")
            images.append(training_image(path))
        cache = LatentCache(Path(name), "base")
        moments = {(image.sha256, size, side): cache.get(model, image, size, side) for image in images for side in (False, True)}
    rows = zip(setting.prompts, images[: setting.pairs], images[setting.pairs :], strict=True)
    items = [Example(prompt, (better, worse), (0, 1)) for prompt, better, worse in rows]
    return Material(items, [size] * len(items), moments, encode_texts(model, [(item.prompt, size) for item in items]))


def lora_network(setting: Setting, model: StableDiffusion) -> LoraNetwork:
    config = setting.config
    return LoraNetwork(without_encoders(model), config.rank, config.scale_alpha, config.targets, config.seed)


def ours(setting: Setting, checkpointing: bool = False) -> Step:
    """The loop of this project."""
    model = setting.load()
    material = ours_material(setting, model)
    if checkpointing:
        model.unet.train().enable_gradient_checkpointing()  # type: ignore[operator]
    return Trainer(lora_network(setting, model), objectives.create("dpo", {"beta": _BETA}), material, setting.config).update


def limit(setting: Setting) -> Step:
    """Both forward passes and the backward pass."""
    model = setting.load()
    batch = ours_material(setting, model).batch(range(setting.pairs), 0, setting.device, Drawing(shares_noise=True))
    network = lora_network(setting, model)

    def step() -> None:
        network.model.unet.zero_grad()
        with network.reference():
            network.residual(batch.clean, batch.t, batch.condition, batch.noise)
        network.residual(batch.clean, batch.t, batch.condition, batch.noise).square().mean().backward()

    return step


def example(setting: Setting) -> Step:
    """Diffusion-DPO with a LoRA, as the diffusers research example works."""
    model = setting.load()
    unet: Any = model.unet
    unet.add_adapter(LoraConfig(r=8, lora_alpha=8, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v", "to_out.0"]))

    def reference(x: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        unet.disable_adapters()
        said = model.predict(x, t, condition)
        unet.enable_adapters()
        return said

    return published(setting, model, model.predict, reference, [p for p in unet.parameters() if p.requires_grad])


def two_unets(setting: Setting, checkpointing: bool) -> Step:
    """Diffusion-DPO of a whole UNet beside a frozen one, as the authors' code works."""
    model = setting.load()
    trained = replace(model, unet=setting.load(torch.float32).unet.requires_grad_(True), dtype=torch.float32)
    if checkpointing:
        trained.unet.train().enable_gradient_checkpointing()  # type: ignore[operator]

    def policy(x: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        with torch.autocast(setting.device.type, setting.dtype, enabled=setting.dtype != torch.float32):
            return trained.predict(x, t, condition)

    return published(setting, model, policy, model.predict, list(trained.unet.parameters()))


def published(setting: Setting, model: StableDiffusion, policy: Predict, reference: Predict, parameters: list[Any]) -> Step:
    """One update from pixels and tokens."""
    n, side = setting.pairs, model.config.image_size
    pixels = torch.from_numpy(numpy.stack([*map(numpy.asarray, setting.pictures(side))])).permute(0, 3, 1, 2) / 127.5 - 1
    tokens = [torch.tensor([chunks(prompt, t)[0].tokens for prompt in setting.prompts]) for t in model.tokenizers]
    levels = model.schedule.alphas_cumprod.to(setting.device)
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.01)

    def step() -> None:
        with torch.no_grad():
            clean = encoded(model, pixels.to(setting.device))
            condition = told(model, [one.to(setting.device) for one in tokens], side)
        noise = torch.randn_like(clean[:n]).repeat(2, 1, 1, 1)
        t = torch.randint(0, 1000, (n,), device=setting.device).repeat(2)
        level = levels[t].view(-1, 1, 1, 1)
        x = level.sqrt() * clean + (1 - level).sqrt() * noise
        better, worse = (policy(x, t, condition) - noise).square().mean((1, 2, 3)).chunk(2)
        with torch.no_grad():
            better_before, worse_before = (reference(x, t, condition) - noise).square().mean((1, 2, 3)).chunk(2)
        logit = -0.5 * _BETA * ((better - worse) - (better_before - worse_before))
        loss = -functional.logsigmoid(logit).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step


def encoded(model: StableDiffusion, pixels: Tensor) -> Tensor:
    """Latents, eight pictures at a time as the example has it."""
    fitting = pixels.to(next(model.vae.parameters()).dtype)
    parts = [model.vae.encode(some, return_dict=False)[0].sample() for some in fitting.split(8)]
    return torch.cat(parts).float() * model.config.scaling_factor


def told(model: StableDiffusion, tokens: list[Tensor], side: int) -> Conditioning:
    """What the UNet is told, for better and worse pictures."""
    said = [encoder(input_ids=ids, output_hidden_states=True) for encoder, ids in zip(model.text_encoders, tokens, strict=True)]
    if model.config.family != "sdxl":
        return Conditioning(said[0].last_hidden_state.repeat(2, 1, 1))
    context = torch.cat([one.hidden_states[-2] for one in said], -1).repeat(2, 1, 1)
    times = torch.tensor([[side, side, 0, 0, side, side]], device=model.device, dtype=model.dtype)
    return Conditioning(context, said[-1].text_embeds.repeat(2, 1), times.repeat(len(context), 1))


WAYS: dict[str, Callable[[Setting], Step]] = {
    "ours": ours,
    "ours-checkpointed": partial(ours, checkpointing=True),
    "example": example,
    "two-unets": partial(two_unets, checkpointing=True),
    "two-unets-plain": partial(two_unets, checkpointing=False),
    "limit": limit,
}


def _import_all() -> None:
    """Everything that the ways import when they need it, so that it is in the resident set before they begin."""
    assert all((diffusers.UNet2DConditionModel, diffusers.AutoencoderKL, transformers.CLIPTextModel))  # looking up is importing
    layer = torch.nn.Linear(8, 8)
    checkpoint(layer, torch.ones(1, 8, requires_grad=True), use_reentrant=False).sum().backward()
    torch.optim.AdamW(layer.parameters()).step()


@dataclass(frozen=True)
class Alone:
    """What a process found that did nothing else: MiB, and seconds per update."""

    peak: float
    seconds: float


def alone(setting: Setting, way: str, steps: int) -> Alone:
    """A whole training of a few steps, the first of which warms up."""
    _import_all()
    before = resident_mib()
    step = WAYS[way](setting)
    step()
    _wait(setting)
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(setting)
    taken = (time.perf_counter() - begun) / steps
    return Alone(torch.cuda.max_memory_allocated(setting.device) / 2**20 if setting.device.type == "cuda" else peak_mib() - before, taken)


def each_alone(arguments: list[str], ways: Sequence[str]) -> dict[str, Alone]:
    """Every way in its own process. To be called while this one is small: Linux hands its peak on to its children."""
    command = [sys.executable, "-m", "benchmarks.training_speed", *arguments, "--alone"]
    said = {way: subprocess.run([*command, way], check=True, stdout=subprocess.PIPE, text=True).stdout for way in ways}
    return {way: Alone(*map(float, text.splitlines()[-1].split())) for way, text in said.items()}


def seconds(setting: Setting, ways: Sequence[str], steps: int, turns: int) -> dict[str, list[float]]:
    """Seconds per update of each way in each turn."""
    ready = {way: WAYS[way](setting) for way in ways}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way, step in ready.items():
            _wait(setting)
            begun = time.perf_counter()
            for _ in range(steps):
                step()
            _wait(setting)
            if turn:  # the first one warms up
                found[way].append((time.perf_counter() - begun) / steps)
    return found


def _wait(setting: Setting) -> None:
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)


def report(setting: Setting, taken: dict[str, list[float]], memory: dict[str, float]) -> None:
    print(f"{'way':18} {'images/s':>9} {'ours is':>8} {'peak MiB':>9} {'of two-unets':>13} {'of plain':>9}")
    whole = [memory.get(way, math.nan) for way in ("two-unets", "two-unets-plain")]
    for way, some in taken.items():
        ratio = statistics.median(other / own for other, own in zip(some, taken["ours"], strict=True))
        shares = f"{memory[way] / whole[0]:13.0%} {memory[way] / whole[1]:9.0%}"
        print(f"{way:18} {2 * setting.pairs / statistics.median(some):9.3g} {ratio:6.2f} x {memory[way]:9.0f} {shares}")
    print("targets: ours > 1 x example, >= 2.0 x two-unets, >= 0.9 x limit; memory of ours <= 50% of two-unets")
    model = setting.load()
    begun = time.perf_counter()
    ours_material(setting, model)
    print(f"not in the rate: encoding once, {1e3 * (time.perf_counter() - begun) / (4 * setting.pairs):.0f} ms an image and side")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=checkpoint_path())
    parser.add_argument("--layout", choices=("sd1", "sd2", "sdxl"), help="random weights of this size instead of --base")
    parser.add_argument("--side", type=int, default=512, help="pixels of --layout's pictures")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=_DTYPES, default="fp32")
    parser.add_argument("--batch", type=int, default=8, help="pairs a step")
    parser.add_argument("--steps", type=int, default=2, help="updates of each way in a turn")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", default=",".join(WAYS), help="which ones; ours is always among them")
    parser.add_argument("--apart", action="store_true", help="every way in a process of its own, in each turn")
    parser.add_argument("--alone", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = TrainingConfig(objective="dpo", batch_size=given.batch, steps=1_000_000)
    setting = Setting(given.base, torch.device(given.device), _DTYPES[given.precision], config, given.layout, given.side)
    if given.alone:
        found = alone(setting, given.alone, given.steps)
        print(found.peak, found.seconds)
        return
    wanted = {"ours", *given.ways.split(",")}
    if unknown := wanted - set(WAYS):
        parser.error(f"there is no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    ways = [way for way in WAYS if way in wanted]
    turns = [each_alone(sys.argv[1:], ways) for _ in range(given.turns if given.apart else 1)]
    memory = {way: statistics.median(turn[way].peak for turn in turns) for way in ways}
    apart = {way: [turn[way].seconds for turn in turns] for way in ways}
    report(setting, apart if given.apart else seconds(setting, ways, given.steps, given.turns), memory)


if __name__ == "__main__":
    main()
