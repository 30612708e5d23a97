"""A LoRA file with all that belongs to it: metadata, sidecar and card image, under a new name each time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lib_rankopt.diffusion.lora import file
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.records import Example, Split
from lib_rankopt.training.folder import write_file
from lib_rankopt.training.lora import check, metadata, output
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.objectives.base import Objective

_MIXED = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
_LEAST_SIDE, _CARD_SIDE = 256, 512  # of card images


@dataclass(frozen=True)
class Origin:
    """What a file tells of where it comes from.

    Attributes:
        base: path of the checkpoint. identity: its sha256. items_per_update: of all processes together.
    """

    config: TrainingConfig
    objective: Objective
    base: Path
    identity: str
    parts: Split
    started: float
    items_per_update: int


def export(network: LoraNetwork, weights: Sequence[Tensor], step: int, origin: Origin, folder: Path, card: Image.Image | None) -> Path:
    """Write the LoRA after ``step`` updates; return its file.

    Args:
        weights: as :attr:`LoraNetwork.parameters` has them.
        card: picture that the webui shows on the LoRA's card.

    Raises:
        InvalidInputError: values that half precision cannot hold. StoreError: the disk is full or the folder not writable.
    """
    config, family = origin.config, network.model.config.family
    path = output.new_path(folder, f"{config.name or 'lora'}-{config.objective}-{step:04d}")
    with network.weights(weights):
        state = file.to_state(network.modules(), family)
    output.write(path, state, metadata.metadata(_facts(network, path.stem, step, origin), state))
    said = f"{origin.objective.title}, {step} steps, {datetime.now(timezone.utc):%Y-%m-%d}"
    metadata.sidecar(path, said, family, origin.objective.activation_text, origin.objective.negative_text)
    picture = path.with_suffix(".png")
    if card is not None and not picture.exists():
        factor = max(1, _LEAST_SIDE // max(card.size))
        shown = card.resize((card.width * factor, card.height * factor), Image.Resampling.LANCZOS)
        shown.thumbnail((_CARD_SIDE, _CARD_SIDE), Image.Resampling.LANCZOS)
        write_file(picture, lambda opened: shown.save(opened, "PNG"))
    return path


def gain(network: LoraNetwork, weights: Sequence[Tensor]) -> float:
    """Share of the change that arrives when the webui merges it in half precision."""
    with network.weights(weights):
        return check.gain(network.modules(), network.base_weights())


def digest(items: tuple[Example, ...]) -> str:
    """Identity of training data: equal items in equal order give equal digests."""
    lines = (f"{item.prompt}\0{','.join(i.sha256 for i in item.images)}\0{item.tiers}\0{item.label}\n" for item in items)
    return sha256("".join(lines).encode()).hexdigest()


def _facts(network: LoraNetwork, name: str, step: int, origin: Origin) -> metadata.LoraFacts:
    config, model = origin.config, network.model
    side = config.resolution or model.config.image_size
    return metadata.LoraFacts(
        family=model.config.family,
        prediction_type=model.config.prediction_type or "epsilon",
        name=name,
        rank=config.rank,
        alpha=config.scale_alpha,
        objective=config.objective,
        options=config.options,
        base_name=origin.base.name,
        base_sha256=origin.identity,
        steps=step,
        learning_rate=config.learning_rate or origin.objective.learning_rate,
        optimizer=config.optimizer,
        seed=config.seed,
        resolution=(side, side),
        images=origin.parts.counts["images"],
        dataset_digest=digest(origin.parts.training),
        started_at=origin.started,
        finished_at=time.time(),
        tags=Counter(item.prompt for item in origin.parts.training),
        lr_scheduler="constant_with_warmup" if config.warmup else "constant",
        mixed_precision=_MIXED[model.dtype],
        epochs=-(-step * origin.items_per_update // len(origin.parts.training)),
        comment=f"Rank-Optimize, {origin.objective.title}",
    )
