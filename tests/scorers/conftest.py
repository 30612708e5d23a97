"""Scorers on small random weights in the published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_rankopt.scorers import ScorerShelf, calibration

pytest.importorskip("open_clip")


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.scorers import checkpoints, image_reward_file

    folder = checkpoints.save_all(tmp_path_factory.mktemp("weights"))
    image_reward_file.write(folder)
    info = ScorerShelf([folder]).get("hpsv2.1").info
    calibration.write(calibration.calibration_of(info, [0.01 * i for i in range(20)], "no pool"), folder)
    return folder


@pytest.fixture(scope="session")
def shelf(weights_folder: Path) -> ScorerShelf:
    return ScorerShelf([weights_folder])


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Blocks and noise: sharp edges as well as smooth parts."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    fine = rng.integers(-20, 21, (height, width, 3))
    return Image.fromarray((np.asarray(coarse).astype(int) + fine).clip(0, 255).astype(np.uint8))
