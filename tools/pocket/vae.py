"""Trains the VAE and scales its latents to SD1's factor."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_rankopt.diffusion.pocket.architecture import SCALE_FACTOR, VAE_CONFIG
from tools.pocket.plan import Plan
from tools.pocket.training import Average, batches, train

log = logging.getLogger("rankopt.pocket.vae")

KL_WEIGHT = 3e-4  # on the mean over latent elements; enough for smooth latents, little enough to stay sharp


def to_input(pictures: np.ndarray | Tensor, device: str = "cpu") -> Tensor:
    """uint8 (B, 3, H, W) to float -1..1."""
    return torch.as_tensor(pictures).to(device).float() / 127.5 - 1


def _edges(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:] - images[..., :-1], images[..., 1:, :] - images[..., :-1, :]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 of colours, and of edges at full and half size: small drawings live by their outlines."""
    loss = F.l1_loss(output, target)
    for scale in (1, 2):
        small = (F.avg_pool2d(output, scale), F.avg_pool2d(target, scale)) if scale > 1 else (output, target)
        loss = loss + sum(F.l1_loss(a, b) for a, b in zip(*map(_edges, small), strict=True)) / scale
    return loss


class ShortDecoder(nn.Module):
    """The decoder's first half, to 16 x 16 features, with a throw-away head that paints 4 x 4 pixels from each.

    Full-size convolutions are four fifths of the VAE's cost, and the encoder does not need them to learn.
    """

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        width = VAE_CONFIG["block_out_channels"][0]
        self.head = nn.Sequential(
            nn.Conv2d(width, 128, 3, padding=1), nn.SiLU(), nn.Conv2d(128, 3 * 16, 3, padding=1), nn.PixelShuffle(4)
        )
        self.model = model

    def forward(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, 64, 64) in -1..1 of unscaled latents."""
        decoder = self.model.decoder
        x = decoder.mid_block(decoder.conv_in(self.model.post_quant_conv(latents)))
        x = decoder.up_blocks[0](x)
        for block in decoder.up_blocks[1].resnets:
            x = block(x, temb=None)
        return self.head(x)


def train_vae(plan: Plan, pictures: np.ndarray) -> None:
    """Writes encoder.safetensors (diffusers' names): the encoder trained and its latents scaled, the decoder half-way."""
    torch.manual_seed(plan.seed)
    model = AutoencoderKL(**VAE_CONFIG).to(plan.device)
    with torch.no_grad():
        model.quant_conv.bias[4:] = -5.0  # starts with little noise; finding that out costs hundreds of steps
    short = ShortDecoder(model).to(plan.device)  # holds the whole model
    average = Average(short, 0.995)
    noise = torch.Generator(plan.device).manual_seed(plan.seed)
    rows = batches(len(pictures), plan.vae_batch, plan.seed)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        target = to_input(pictures[next(rows).numpy()], plan.device)
        posterior = model.encode(target).latent_dist
        output = short(posterior.sample(generator=noise))
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        total = reconstruction_loss(output, target) + KL_WEIGHT * kl
        return total, {"l1": F.l1_loss(output.detach(), target).item(), "kl": kl.item()}

    train(short, loss, plan.vae_steps, 1.5e-3, name="vae", average=average, weight_decay=0.0)
    scale_latents(average.model.model, pictures[:512], plan.device)
    save_file(average.model.model.state_dict(), plan.file("encoder.safetensors"))


def train_decoder(plan: Plan, pictures: np.ndarray, latents: tuple[Tensor, Tensor]) -> None:
    """Writes vae.safetensors: the same encoder, and the whole decoder trained on its cached latents."""
    torch.manual_seed(plan.seed)
    model = load_vae(plan.file("encoder.safetensors"), plan.device)
    model.post_quant_conv.requires_grad_(True)
    model.decoder.requires_grad_(True)
    average = Average(model, 0.995)
    noise = torch.Generator(plan.device).manual_seed(plan.seed)
    rows = batches(len(pictures), plan.decoder_batch, plan.seed)
    means, deviations = latents

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        index = next(rows)
        target = to_input(pictures[index.numpy()], plan.device)
        mean, deviation = means[index].float().to(plan.device), deviations[index].float().to(plan.device)
        noisy = mean + deviation * torch.randn(mean.shape, generator=noise, device=plan.device)
        output = model.decode(noisy / SCALE_FACTOR).sample
        return reconstruction_loss(output, target), {"l1": F.l1_loss(output.detach(), target).item()}

    def keep(step: int) -> None:
        if (step + 1) % 400 == 0 or step + 1 == plan.decoder_steps:
            save_file(average.model.state_dict(), plan.file("vae.safetensors"))

    train(model, loss, plan.decoder_steps, 7e-4, name="decoder", average=average, after=keep, weight_decay=0.0)


@torch.no_grad()
def scale_latents(model: AutoencoderKL, pictures: np.ndarray, device: str) -> None:
    """Makes every latent channel zero-mean and of deviation 1 / SCALE_FACTOR, inside the 1x1 convolutions."""
    moments = [model.encode(to_input(part, device)).latent_dist for part in np.array_split(pictures, 8)]
    mean = torch.cat([m.mean for m in moments])
    shift = mean.mean((0, 2, 3))
    total = mean.var((0, 2, 3)) + torch.cat([m.var for m in moments]).mean((0, 2, 3))
    gain = 1 / (SCALE_FACTOR * total.sqrt())
    before, after = model.quant_conv, model.post_quant_conv
    after.bias += torch.einsum("oi,i->o", after.weight[:, :, 0, 0], shift)
    after.weight /= gain.view(1, -1, 1, 1)
    before.weight[:4] *= gain.view(-1, 1, 1, 1)
    before.bias[:4] = (before.bias[:4] - shift) * gain
    before.bias[4:] += 2 * gain.log()
    log.info("latent channels: mean %s, deviation %s", shift.tolist(), total.sqrt().tolist())


def load_vae(path: Path, device: str = "cpu") -> AutoencoderKL:
    """The VAE saved at `path` with diffusers' names."""
    model = AutoencoderKL(**VAE_CONFIG)
    model.load_state_dict(load_file(path))
    return model.to(device).eval().requires_grad_(False)


@torch.no_grad()
def encode(model: AutoencoderKL, pictures: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    """Scaled latents' means and deviations: two float16 (N, 4, 8, 8), on the CPU."""
    means, deviations = [], []
    for start in range(0, len(pictures), 128):
        posterior = model.encode(to_input(pictures[start : start + 128], device)).latent_dist
        means.append((posterior.mean * SCALE_FACTOR).half().cpu())
        deviations.append((posterior.std * SCALE_FACTOR).half().cpu())
    return torch.cat(means), torch.cat(deviations)
