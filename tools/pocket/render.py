"""Renders sprites on named backgrounds; what the caption does not name varies.

All in torch and batched, on any device. A scene's numbers are drawn from a seeded generator, so a picture is a
function of (sprites, seed, index).
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib_rankopt.diffusion.pocket.words import BACKGROUNDS, CONCEPTS, STYLES

SIZE = 64  # pixels of a finished picture
SUPER = 2  # rendered so many times larger, then averaged

# name -> ranges of hue, saturation and value (0..1)
GROUND_HSV: dict[str, tuple[tuple[float, float], ...]] = {
    "white": ((0.0, 1.0), (0.0, 0.04), (0.90, 1.0)),
    "black": ((0.0, 1.0), (0.0, 0.25), (0.06, 0.20)),
    "red": ((0.985, 1.01), (0.75, 0.90), (0.62, 0.88)),
    "yellow": ((0.13, 0.155), (0.60, 0.90), (0.90, 1.0)),
    "green": ((0.33, 0.40), (0.50, 0.75), (0.48, 0.78)),
    "blue": ((0.56, 0.62), (0.55, 0.85), (0.60, 0.95)),
    "purple": ((0.74, 0.79), (0.45, 0.70), (0.50, 0.78)),
    "pink": ((0.91, 0.95), (0.25, 0.42), (0.93, 1.0)),
}


@dataclass(frozen=True)
class Scenes:
    """What a batch of pictures shows; every field has one entry (row) for each picture."""

    concept: Tensor  # index into CONCEPTS
    style: Tensor  # index into STYLES
    background: Tensor  # index into BACKGROUNDS
    size: Tensor  # the drawing's length, as a share of the picture's
    place: Tensor  # (B, 2) offset of its centre, as a share of the picture's length
    tilt: Tensor  # radians
    light: Tensor  # (B, 2) unit vector towards the light
    gain: Tensor  # brightness of the drawing
    warmth: Tensor  # shift from blue (-) to red (+)
    ground: Tensor  # (B, 3) RGB of the background, 0..1
    slope: Tensor  # how much the background's brightness changes across the picture

    def __len__(self) -> int:
        return len(self.concept)

    def __getitem__(self, rows: slice) -> Scenes:
        return Scenes(**{name: value[rows] for name, value in self.__dict__.items()})

    def to(self, device: str | torch.device) -> Scenes:
        """The same scenes on another device."""
        return Scenes(**{name: value.to(device) for name, value in self.__dict__.items()})


def sample_scenes(count: int, seed: int) -> Scenes:
    """Draws `count` scenes; concepts, styles and backgrounds are uniform."""
    rng = np.random.default_rng(seed)
    background = rng.integers(len(BACKGROUNDS), size=count)
    ground = np.empty((count, 3))
    for i, index in enumerate(background):
        hue, saturation, value = (rng.uniform(*span) for span in GROUND_HSV[BACKGROUNDS[index]])
        ground[i] = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    angle = rng.uniform(0, 2 * np.pi, count)
    fields = {
        "concept": rng.integers(len(CONCEPTS), size=count),
        "style": rng.integers(len(STYLES), size=count),
        "background": background,
        "size": rng.uniform(0.70, 0.86, count),
        "place": rng.uniform(-0.06, 0.06, (count, 2)),
        "tilt": rng.uniform(-0.17, 0.17, count),
        "light": np.stack([np.cos(angle), np.sin(angle)], 1),
        "gain": rng.uniform(0.85, 1.08, count),
        "warmth": rng.uniform(-0.06, 0.06, count),
        "ground": ground,
        "slope": rng.uniform(0.0, 0.22, count),
    }
    return Scenes(
        **{k: torch.as_tensor(v, dtype=torch.long if v.dtype.kind == "i" else torch.float32) for k, v in fields.items()}
    )


class Renderer:
    """Turns scenes into pictures; holds the sprites with their soft shadows."""

    def __init__(self, sprites: np.ndarray, device: str | torch.device = "cpu") -> None:
        colour = torch.from_numpy(sprites).to(device).permute(0, 1, 4, 2, 3).float() / 255
        colour[:, :, :3] *= colour[:, :, 3:]
        self.sprites = colour.half()  # (concepts, styles, 4, canvas, canvas), premultiplied
        alpha = colour[:, :, 3:].flatten(0, 1)
        soft = {"3d": 8.0, "sticker": 2.5}
        blurred = torch.stack([_blur(alpha, soft[s]) for s in STYLES], 1)  # (concepts * styles, styles, 1, ...)
        blurred = blurred.view(len(CONCEPTS), len(STYLES), len(STYLES), 1, *alpha.shape[-2:])
        self.shadows = torch.stack([blurred[:, i, i] for i in range(len(STYLES))], 1).half()
        self.strength = torch.tensor([0.50 if s == "3d" else 0.30 for s in STYLES], device=device)
        self.reach = torch.tensor([0.07 if s == "3d" else 0.02 for s in STYLES], device=device)

    def __call__(self, scenes: Scenes) -> Tensor:
        """Pictures, uint8 (B, 3, SIZE, SIZE), on the renderer's device."""
        scenes = scenes.to(self.sprites.device)
        picture = _grounds(scenes)
        offset = -scenes.light * self.reach[scenes.style, None]
        shadow = _placed(self.shadows[scenes.concept, scenes.style].float(), scenes, offset)
        picture = picture * (1 - shadow * self.strength[scenes.style].view(-1, 1, 1, 1))
        sprite = _placed(self.sprites[scenes.concept, scenes.style].float(), scenes, torch.zeros_like(offset))
        tint = torch.stack([1 + scenes.warmth, torch.ones_like(scenes.warmth), 1 - scenes.warmth], 1)
        shade = 1 + 0.10 * _along_light(scenes)
        colour = sprite[:, :3] * (tint * scenes.gain[:, None])[:, :, None, None] * shade
        picture = picture * (1 - sprite[:, 3:]) + colour
        picture = F.avg_pool2d(picture.clamp(0, 1), SUPER)
        return (picture * 255).round().to(torch.uint8)


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, 1, H, W), sigma in pixels."""
    radius = int(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=images.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    images = F.conv2d(images, kernel.view(1, 1, 1, -1), padding=(0, radius))
    return F.conv2d(images, kernel.view(1, 1, -1, 1), padding=(radius, 0))


def _along_light(scenes: Scenes) -> Tensor:
    """How far a pixel lies towards the light, about -1..1: (B, 1, S, S)."""
    side = SIZE * SUPER
    axis = (torch.arange(side, device=scenes.light.device) + 0.5) / side * 2 - 1
    x, y = scenes.light[:, 0].view(-1, 1, 1, 1), scenes.light[:, 1].view(-1, 1, 1, 1)
    return x * axis.view(1, 1, 1, -1) + y * axis.view(1, 1, -1, 1)


def _grounds(scenes: Scenes) -> Tensor:
    """Backgrounds with their gradients: (B, 3, S, S)."""
    slope = scenes.slope.view(-1, 1, 1, 1) * _along_light(scenes) * 0.7
    return (scenes.ground[:, :, None, None] * (1 + slope)).clamp(0, 1)


def _placed(sprites: Tensor, scenes: Scenes, offset: Tensor) -> Tensor:
    """Sprites (B, C, canvas, canvas) scaled, turned and moved into pictures (B, C, S, S)."""
    from tools.pocket.art import BODY, CANVAS

    scale = scenes.size * CANVAS / BODY
    cos, sin = torch.cos(scenes.tilt) / scale, torch.sin(scenes.tilt) / scale
    x, y = (2 * (scenes.place + offset)).unbind(1)
    rows = torch.stack([cos, sin, -cos * x - sin * y, -sin, cos, sin * x - cos * y], 1).view(-1, 2, 3)
    side = SIZE * SUPER
    grid = F.affine_grid(rows, [len(sprites), 1, side, side], align_corners=False)
    return F.grid_sample(sprites, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def save_renders(renderer: Renderer, count: int, seed: int, chunk: int = 256) -> tuple[np.ndarray, Scenes]:
    """Pictures uint8 (count, 3, SIZE, SIZE) of `count` scenes drawn from `seed`, and the scenes."""
    scenes = sample_scenes(count, seed)
    pictures = np.empty((count, 3, SIZE, SIZE), np.uint8)
    for start in range(0, count, chunk):
        rows = slice(start, start + chunk)
        pictures[rows] = renderer(scenes[rows]).cpu().numpy()
    return pictures, scenes
