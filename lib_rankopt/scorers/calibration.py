"""Scores in standard deviations from the mean of a reference pool, so that scorers of any scale can stand side by side.

``z:hpsv2.1`` is ``(score − mean) / std``, with both from a pool of images that was scored once (``score --calibrate``). A scorer's
calibration is kept beside its weights and holds for the version of the scorer that it was made with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.scorers.base import CALIBRATED, Scorer, ScorerInfo
from lib_rankopt.scorers.weights import SUBFOLDER

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lib_rankopt.scorers.shelf import ScorerShelf

_LEAST = 8


@dataclass(frozen=True)
class Calibration:
    """What a reference pool says about a scorer.

    Attributes:
        scorer, version: whose scores. count: images of the pool. mean, std: of their scores; ``std`` above 0.
        pool: where it came from, for people. made: when, UTC.
    """

    scorer: str
    version: str
    count: int
    mean: float
    std: float
    pool: str = ""
    made: str = ""


class CalibratedScorer(Scorer):
    """``(score − mean) / std``."""

    def __init__(self, scorer: Scorer, calibration: Calibration) -> None:
        self._scorer, self._calibration = scorer, calibration
        info = scorer.info
        if info.is_relative:
            raise InvalidInputError(f"The scorer '{info.name}' ranks within one call; ranks need no calibration.")
        if info.version != calibration.version:
            raise ModelError(
                f"The calibration of '{info.name}' was made with its version {calibration.version}, and this is {info.version}: "
                f"make it anew with: python -m lib_rankopt score --calibrate POOL --scorer {info.name}"
            )
        self.info = ScorerInfo(
            f"{CALIBRATED}{info.name}", f"{info.version} z {calibration.mean:.6g} {calibration.std:.6g}",
            f"standard deviations from the mean of {calibration.count} images", info.preprocessing, info.uses_prompt, warning=info.warning,
        )  # fmt: skip

    def score(self, images: Sequence[Image.Image] | Tensor, prompts: str | Sequence[str]) -> Tensor:
        return (self._scorer.score(images, prompts) - self._calibration.mean) / self._calibration.std

    def to(self, device: str) -> None:
        self._scorer.to(device)


def calibration_of(info: ScorerInfo, scores: Sequence[float], pool: str = "") -> Calibration:
    """Work a calibration out.

    Args:
        scores: of the images of the pool, at least 8.

    Raises:
        InvalidInputError: too few scores, or all of them equal.
    """
    if len(scores) < _LEAST:
        raise InvalidInputError(f"{len(scores)} images are too few to calibrate with: take at least {_LEAST}, better some hundred.")
    values = torch.tensor(list(scores), dtype=torch.float64)
    std = float(values.std())
    if not math.isfinite(std) or std <= 0:
        raise InvalidInputError(f"All images of the pool have the score {float(values[0]):g}; nothing can be measured by them.")
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Calibration(info.name, info.version, len(scores), float(values.mean()), std, pool, made)


def write(calibration: Calibration, folder: Path) -> Path:
    """Keep a calibration below a folder of weights; return its file."""
    path = _path(folder, calibration.scorer)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(asdict(calibration), indent=1), encoding="utf8")
    unfinished.replace(path)
    return path


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load a scorer with its calibration.

    Raises:
        ModelError: there is no calibration, or it was made with another version of the scorer.
    """
    base = name.removeprefix(CALIBRATED)
    path = next((found for folder in shelf.weights.folders if (found := _path(folder, base)).is_file()), None)
    if path is None:
        raise ModelError(
            f"The scorer '{base}' is not calibrated: make it so with: python -m lib_rankopt score --calibrate POOL --scorer {base}"
        )
    try:
        calibration = Calibration(**json.loads(path.read_text(encoding="utf8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: is no calibration ({error}); make it anew.") from error
    return CalibratedScorer(shelf.get(base), calibration)


def _path(folder: Path, scorer: str) -> Path:
    return folder / SUBFOLDER / "calibration" / f"{scorer.replace(':', '_').replace('/', '_')}.json"
