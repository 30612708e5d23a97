"""Trains the UNet on cached latents and cached text contexts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib_rankopt.diffusion.pocket.architecture import SCHEDULER_CONFIG, UNET_CONFIG
from tools.pocket.captions import Wanted, drop_words
from tools.pocket.plan import Plan
from tools.pocket.render import Scenes
from tools.pocket.training import Average, batches, train

log = logging.getLogger("rankopt.pocket.unet")

FUSED = None if torch.__version__ < (2, 4) else True  # one kernel for all weights; on the CPU since torch 2.4
GAMMA = 5.0  # of min-SNR weighting (Hang et al. 2023, eq. 9, written for the error in epsilon)
# At SNR below 1 the error in epsilon says next to nothing about the picture: at t = 999 an error of 0.005 is one of 1 in x0, and it is
# there that the background's colour is decided. So below 1 the error in x0 counts (Salimans and Ho 2022, "truncated SNR"), up to a limit.
MAX_WEIGHT = 60.0


def alphas_cumprod() -> Tensor:
    """SD1's schedule, float64 (1000,)."""
    start, end = SCHEDULER_CONFIG["beta_start"] ** 0.5, SCHEDULER_CONFIG["beta_end"] ** 0.5
    betas = torch.linspace(start, end, SCHEDULER_CONFIG["num_train_timesteps"], dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


@dataclass
class Contexts:
    """Encoded captions, several for everything that can be asked for."""

    values: Tensor  # float16 (N, tokens, width)
    rows: dict[Wanted, list[int]]

    def pick(self, wanted: list[Wanted], rng: np.random.Generator) -> Tensor:
        """One caption for each, float32 (B, tokens, width)."""
        picked = [self.rows[w][rng.integers(len(self.rows[w]))] for w in wanted]
        return self.values[torch.tensor(picked, device=self.values.device)].float()


def new_unet() -> UNet2DConditionModel:
    """A fresh UNet; plain attention is a third quicker than the fused one at this size on a CPU."""
    model = UNet2DConditionModel(**UNET_CONFIG)
    model.set_attn_processor(AttnProcessor())
    return model


class Resume:
    """Saves and restores a run, so that a killed build goes on where it was."""

    def __init__(self, path: Path, every: int = 250) -> None:
        self.path, self.every = path, every

    def load(self, model: torch.nn.Module, average: Average, optimizer: torch.optim.Optimizer) -> int:
        """Restores what was saved, if anything, and returns the step to go on with."""
        if not self.path.is_file():
            return 0
        state = torch.load(self.path, weights_only=True)
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        average.count = state["step"]
        return state["step"]

    def save(self, step: int, model: torch.nn.Module, average: Average, optimizer: torch.optim.Optimizer) -> None:
        """Saves the state after `step` steps, atomically."""
        parts = {"model": model, "average": average.model, "optimizer": optimizer}
        state = {name: part.state_dict() for name, part in parts.items()} | {"step": step}
        temporary = self.path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.path)


def train_unet(plan: Plan, scenes: Scenes, latents: tuple[Tensor, Tensor], contexts: Contexts) -> None:
    """Writes unet.safetensors (diffusers' names, the running average of the weights)."""
    torch.manual_seed(plan.seed)
    device = plan.device
    model = new_unet().to(device).train()
    average = Average(model, 0.9985)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=FUSED)
    resume = Resume(plan.file("unet_run.pt"))
    first = resume.load(model, average, optimizer)
    rng, noise = np.random.default_rng(plan.seed + first), torch.Generator(device).manual_seed(plan.seed + first)
    rows = batches(len(scenes), plan.unet_batch, plan.seed + first)
    labels = torch.stack([scenes.concept, scenes.style, scenes.background], 1)
    means, deviations = (part.to(device) for part in latents)
    alphas = alphas_cumprod().float().to(device)

    def draw(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=noise, device=device)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        index = next(rows)
        context = contexts.pick([drop_words(tuple(row), rng) for row in labels[index].tolist()], rng)
        index = index.to(device)
        clean = means[index].float()
        clean = clean + deviations[index].float() * draw(clean.shape)
        size = len(clean)
        spread = (torch.rand(size, generator=noise, device=device) + torch.arange(size, device=device)) / size
        times = (spread * len(alphas)).long().clamp(max=len(alphas) - 1)
        alpha = alphas[times].view(-1, 1, 1, 1)
        epsilon = draw(clean.shape)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * epsilon
        answer = model(noisy, times, context.to(device), return_dict=False)[0]
        ratio = (alpha / (1 - alpha)).flatten()
        weight = (ratio.clamp(1.0, GAMMA) / ratio).clamp(max=MAX_WEIGHT)
        error = (answer - epsilon).square().mean((1, 2, 3))
        return (weight * error).mean(), {"mse": error.mean().item()}

    def after(step: int) -> None:
        if (step + 1) % resume.every == 0 or step + 1 == plan.unet_steps:
            save_file(average.model.state_dict(), plan.file("unet.safetensors"))
            resume.save(step + 1, model, average, optimizer)

    train(
        model, loss, plan.unet_steps, 1e-3, name="unet", average=average, first=first, optimizer=optimizer, after=after
    )


def load_unet(path: Path, device: str = "cpu") -> UNet2DConditionModel:
    """The UNet saved at `path` with diffusers' names."""
    model = new_unet()
    model.load_state_dict(load_file(path))
    return model.to(device).eval().requires_grad_(False)
