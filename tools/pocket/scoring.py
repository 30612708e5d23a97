"""Trains the pocket CLIP and the judges."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_rankopt.diffusion.pocket import clip, judges
from lib_rankopt.diffusion.pocket.words import caption
from tools.pocket.captions import varied_caption, words_of
from tools.pocket.plan import Plan
from tools.pocket.render import Scenes
from tools.pocket.training import Average, batches, train

log = logging.getLogger("rankopt.pocket.scoring")


def save_half(model: nn.Module, path: Any) -> None:
    """Saves a model's weights as float16."""
    state = {n: t.half() if t.is_floating_point() else t for n, t in model.state_dict().items()}
    save_file({n: t.contiguous() for n, t in state.items()}, path)


def disturbed(pictures: Tensor, noise: torch.Generator) -> Tensor:
    """Pictures in 0..1 with a little blur, noise and shift of brightness: generated ones are not as clean as renders."""
    count, device = len(pictures), pictures.device
    mix = torch.rand(count, 1, 1, 1, generator=noise, device=device)
    pictures = torch.lerp(pictures, F.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False), mix)
    gain = 0.9 + 0.2 * torch.rand(count, 1, 1, 1, generator=noise, device=device)
    grain = 0.06 * torch.rand(count, 1, 1, 1, generator=noise, device=device)
    grain = grain * torch.randn(pictures.shape, generator=noise, device=device)
    return (pictures * gain + grain).clamp(0, 1)


def recalibrate(model: nn.Module, forward: Any) -> None:
    """Sets the averaged weights' batch statistics by running `forward()` in training mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    model.train()
    with torch.no_grad():
        forward()
    model.eval()


def train_judges(plan: Plan, pictures: np.ndarray, scenes: Scenes) -> nn.Module:
    """Writes judges.safetensors (float16) into the pocket folder."""
    torch.manual_seed(plan.seed)
    model = judges.JudgeNet().to(plan.device).train()
    average = Average(model, 0.99)
    noise = torch.Generator(plan.device).manual_seed(plan.seed)
    rows = batches(len(pictures), min(96, len(pictures)), plan.seed)
    labels = torch.stack([scenes.concept, scenes.style, scenes.background], 1).to(plan.device)

    def batch() -> tuple[Tensor, Tensor]:
        index = next(rows)
        images = torch.from_numpy(pictures[index.numpy()]).to(plan.device).float() / 255
        return disturbed(images, noise), labels[index.to(plan.device)]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        images, wanted = batch()
        answers = model(images)
        total = sum(F.cross_entropy(a, w) for a, w in zip(answers, wanted.unbind(1), strict=True))
        return total, {"concept": (answers[0].argmax(1) == wanted[:, 0]).float().mean().item()}

    train(model, loss, plan.judge_steps, 3e-3, name="judges", average=average)
    recalibrate(average.model, lambda: [average.model(batch()[0]) for _ in range(30)])
    plan.out.mkdir(parents=True, exist_ok=True)
    save_half(average.model, plan.out / "judges.safetensors")
    (plan.out / "judges.json").write_text(judges.vocabulary_json(), encoding="utf-8")
    return average.model


def train_clip(plan: Plan, pictures: np.ndarray, scenes: Scenes, tokenize: clip.Tokenize, vocabulary: int) -> None:
    """Writes clip.safetensors (float16) and clip_config.json into the pocket folder."""
    torch.manual_seed(plan.seed)
    config = clip.clip_config(vocabulary)
    model = clip.new_clip(config).to(plan.device).train()
    average = Average(model, 0.99)
    rng, noise = np.random.default_rng(plan.seed), torch.Generator(plan.device).manual_seed(plan.seed)
    rows = batches(len(pictures), min(128, len(pictures)), plan.seed)
    labels = torch.stack([scenes.concept, scenes.style, scenes.background], 1)

    def batch() -> tuple[Tensor, Tensor]:
        index = next(rows)
        images = torch.from_numpy(pictures[index.numpy()]).to(plan.device).float() / 255
        return clip.preprocess(disturbed(images, noise)), labels[index]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        images, wanted = batch()
        texts = [_clip_text(tuple(row), rng) for row in wanted.tolist()]
        image = F.normalize(model.encode_image(images), dim=-1)
        text = F.normalize(model.encode_text(tokenize(texts).to(plan.device)), dim=-1)
        similar = model.logit_scale.exp().clamp(max=100) * image @ text.T
        # a caption that fits another picture of the batch just as well is right for both
        same = (wanted[:, None] == wanted[None]).all(-1).to(plan.device).float()
        share = same / same.sum(1, keepdim=True)
        total = (F.cross_entropy(similar, share) + F.cross_entropy(similar.T, share)) / 2
        return total, {"right": (similar.argmax(1) == torch.arange(len(same), device=plan.device)).float().mean().item()}

    train(model, loss, plan.clip_steps, 2e-3, name="clip", average=average)
    recalibrate(average.model, lambda: [average.model.encode_image(batch()[0]) for _ in range(30)])
    plan.out.mkdir(parents=True, exist_ok=True)
    save_half(average.model, plan.out / "clip.safetensors")
    preprocessing = {"mean": [clip.MEAN] * 3, "std": [clip.STD] * 3}
    value = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (plan.out / "clip_config.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _clip_text(full: tuple[int, int, int], rng: np.random.Generator) -> str:
    """A caption of a picture, now and then without its style or background."""
    concept, style, ground = full
    draw = rng.random()
    if draw < 0.08:
        return varied_caption((concept, None, ground), rng)
    if draw < 0.16:
        return varied_caption((concept, style, None), rng)
    return varied_caption(full, rng, plain=0.5)


@torch.no_grad()
def caption_choice(model: nn.Module, tokenize: clip.Tokenize, pictures: np.ndarray, scenes: Scenes, seed: int) -> float:
    """How often the pocket CLIP picks a picture's caption out of 100: its own and 99 others, all different."""
    rng = np.random.default_rng(seed)
    labels = torch.stack([scenes.concept, scenes.style, scenes.background], 1).tolist()
    texts = [caption(*words_of(tuple(row))) for row in labels]
    device = next(model.parameters()).device
    distinct = sorted(set(texts))
    parts = [model.encode_text(tokenize(distinct[i : i + 256]).to(device)) for i in range(0, len(distinct), 256)]
    text = F.normalize(torch.cat(parts), dim=-1).cpu()
    right = 0
    for start in range(0, len(pictures), 256):
        images = clip.preprocess(torch.from_numpy(pictures[start : start + 256]).float() / 255)
        image = F.normalize(model.encode_image(images.to(device)), dim=-1).cpu()
        for row, mine in zip(image, texts[start : start + 256], strict=True):
            own = distinct.index(mine)
            others = rng.choice([i for i in range(len(distinct)) if i != own], min(99, len(distinct) - 1), replace=False)
            right += bool((text[own] @ row) > (text[others] @ row).max())
    return right / len(pictures)
