"""The judges: a small network that says what a picture shows.

They were trained on their own renders, apart from everything else, and nothing is trained or tuned on them: they are
there to tell how well generation, ranking and training work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lib_rankopt.diffusion import checkpoint
from lib_rankopt.diffusion.config import read_json
from lib_rankopt.diffusion.pocket.architecture import IMAGE_SIZE
from lib_rankopt.diffusion.pocket.words import BACKGROUNDS, CONCEPTS, STYLES, parse_caption
from lib_rankopt.errors import ModelError


@dataclass(frozen=True)
class JudgeScores:
    """Probabilities, float32 on the CPU: (B, concepts), (B, styles), (B, backgrounds)."""

    concept: Tensor
    style: Tensor
    background: Tensor

    def names(self) -> list[tuple[str, str, str]]:
        """What each picture most likely shows: (concept, style, background)."""
        best = (part.argmax(1).tolist() for part in (self.concept, self.style, self.background))
        return [(CONCEPTS[c], STYLES[s], BACKGROUNDS[b]) for c, s, b in zip(*best, strict=True)]


class JudgeNet(nn.Module):
    """A convolutional classifier with three heads; input (B, 3, 64, 64) in 0..1, output three sets of logits."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            before = width
        layers += [nn.Conv2d(before, before, 3, padding=1, bias=False), nn.BatchNorm2d(before), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(2 * before, len(n)) for n in (CONCEPTS, STYLES, BACKGROUNDS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of concept, style and background."""
        features = self.body(images * 2 - 1)
        features = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        concept, style, background = (head(features) for head in self.heads)
        return concept, style, background


def as_batch(images: Tensor | Sequence[Image.Image]) -> Tensor:
    """float32 (B, 3, 64, 64) in 0..1 of a tensor of any size in 0..1, or of pictures."""
    if not isinstance(images, Tensor):
        arrays = [np.asarray(image.convert("RGB"), np.float32) / 255 for image in images]
        batch = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
        return torch.cat([as_batch(one[None]) for one in batch]) if batch else torch.empty(0, 3, IMAGE_SIZE, IMAGE_SIZE)
    images = images.detach().float().clamp(0, 1)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


class Judges:
    """Judges pictures of any size against what a caption of the pocket model asks for."""

    def __init__(self, net: JudgeNet, device: str | torch.device = "cpu") -> None:
        self.net = net.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)

    @classmethod
    def load(cls, path: Path, device: str | torch.device = "cpu") -> Judges:
        """The judges saved at `path` (safetensors); the vocabulary, in the `.json` beside it, must be this version's.

        Raises:
            ModelError: a file is missing or broken, or the judges learnt other words.
        """
        if read_json(path.with_suffix(".json")) != json.loads(vocabulary_json()):
            raise ModelError(f"{path}: these judges learnt other words than this version's; make them anew")
        state = checkpoint.read_tensors(path)
        net = JudgeNet()
        try:
            net.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
        except RuntimeError as error:
            raise ModelError(f"{path} does not fit: {' '.join(str(error).split())}") from error
        return cls(net, device)

    @torch.no_grad()
    def __call__(self, images: Tensor | Sequence[Image.Image]) -> JudgeScores:
        """Scores of pictures, or of (B, 3, H, W) in 0..1."""
        parts = [self.net(part.to(self.device)) for part in as_batch(images).split(256)]
        concept, style, background = (torch.cat(p).float().softmax(1).cpu() for p in zip(*parts, strict=True))
        return JudgeScores(concept, style, background)

    @staticmethod
    def target(prompt: str) -> tuple[str, str | None, str | None] | None:
        """What `prompt` asks for: (concept, style, background), None for a part that it leaves open.

        None altogether where it names no concept that the judges know.
        """
        concept, style, background = parse_caption(prompt)
        return None if concept is None else (concept, style, background)

    def to(self, device: str | torch.device) -> Judges:
        """Moves the judges."""
        self.net.to(device)
        self.device = torch.device(device)
        return self


def vocabulary_json() -> str:
    """The words in the order of the heads; kept beside the weights."""
    return json.dumps({"concepts": CONCEPTS, "styles": STYLES, "backgrounds": BACKGROUNDS}, indent=1) + "\n"
