"""From item numbers to tensors: latents, prompts, timesteps and noise, all drawn from the seed and the batch's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.training.data.records import Example
from lib_rankopt.training.precompute import Size, joined


@dataclass(frozen=True)
class Batch:
    """``n`` items of ``k`` images each; tensors on images have ``n · k`` rows, item after item.

    Attributes:
        clean, noise: ``[n·k, C, h, w]``. t: ``[n·k]``. condition: ``n·k`` rows.
        tiers, labels: ``[n, k]``. weights: ``[n]``.
        start: noise ``[n, C, h, w]`` that a path of the policy begins with, drawn apart from ``noise``.
        place: 0…999, where on such a path; one for all, as the sampler steps a batch together.
    """

    clean: Tensor
    noise: Tensor
    t: Tensor
    condition: Conditioning
    tiers: Tensor
    labels: Tensor
    weights: Tensor
    start: Tensor
    place: int

    def part(self, index: int, count: int) -> Batch:
        """The items of one of ``count`` processes, which divide them evenly."""
        n = len(self.weights) // count
        k = len(self.clean) // len(self.weights)
        items, rows = slice(index * n, (index + 1) * n), slice(index * n * k, (index + 1) * n * k)
        told = (self.condition.context, self.condition.pooled, self.condition.time_ids)
        condition = Conditioning(*(None if one is None else one[rows] for one in told))  # type: ignore[arg-type]
        by_item = (self.tiers[items], self.labels[items], self.weights[items], self.start[items], self.place)
        return Batch(self.clean[rows], self.noise[rows], self.t[rows], condition, *by_item)


@dataclass(frozen=True)
class Drawing:
    """How items are drawn: images of an item share timestep and noise, are mirrored half the time, lose their prompt sometimes."""

    shares_noise: bool
    flip: bool = False
    prompt_dropout: float = 0.0


@dataclass(frozen=True)
class Material:
    """What was computed before the loop.

    Attributes:
        items: training or held-out examples. sizes: of each item.
        moments: mean and deviation ``[2, C, h, w]`` by image hash, size and side.
        texts: by prompt and size.
    """

    items: Sequence[Example]
    sizes: Sequence[Size]
    moments: Mapping[tuple[str, Size, bool], Tensor]
    texts: Mapping[tuple[str, Size], Conditioning]

    def batch(self, numbers: Sequence[int], seed: int, device: torch.device, drawing: Drawing) -> Batch:
        """Gather and draw. Images of one item are mirrored alike."""
        generator = torch.Generator().manual_seed(seed)
        chosen = [self.items[i] for i in numbers]
        size, k, n = self.sizes[numbers[0]], max(len(item.images) for item in chosen), len(chosen)
        sides = (torch.rand(n, generator=generator) < 0.5) if drawing.flip else torch.zeros(n, dtype=torch.bool)
        dropped = torch.rand(n, generator=generator) < drawing.prompt_dropout
        rows = [_filled(item, k) for item in chosen]
        moments = torch.stack([self.moments[image.sha256, size, bool(s)] for item, s in zip(rows, sides, strict=True) for image in item])
        mean, deviation = moments.unbind(1)
        clean = mean + deviation * torch.randn(mean.shape, generator=generator)
        shared = 1 if drawing.shares_noise else k
        noise = torch.randn((n, shared, *mean.shape[1:]), generator=generator).expand(n, k, *mean.shape[1:]).reshape(mean.shape)
        t = torch.randint(0, 1000, (n, shared), generator=generator).expand(n, k).reshape(-1)
        texts = [self.texts["" if drop else item.prompt, size] for item, drop in zip(chosen, dropped, strict=True) for _ in range(k)]
        tiers = torch.tensor([[*item.tiers, *[-1] * (k - len(item.tiers))] for item in chosen])
        labels = torch.tensor([[float(item.label)] * k for item in chosen])
        weights = torch.tensor([item.weight for item in chosen])
        start = torch.randn((n, *mean.shape[1:]), generator=generator)
        place = int(torch.randint(0, 1000, (1,), generator=generator))
        condition = _moved(joined(texts, self.texts["", size]), device)
        parts = (tiers.to(device), labels.to(device), weights.to(device), start.to(device), place)
        return Batch(clean.to(device), noise.to(device), t.to(device), condition, *parts)


def _filled(item: Example, k: int) -> list:  # type: ignore[type-arg]
    return [*item.images, *[item.images[-1]] * (k - len(item.images))]


def _moved(condition: Conditioning, device: torch.device) -> Conditioning:
    parts = (condition.context, condition.pooled, condition.time_ids)
    return Conditioning(*(None if one is None else one.to(device) for one in parts))  # type: ignore[arg-type]
