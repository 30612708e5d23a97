from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_rankopt.diffusion.config import BetaSchedule
from lib_rankopt.diffusion.denoiser import NoiseSchedule
from lib_rankopt.diffusion.loading import StableDiffusion, alphas_cumprod, load
from tests.diffusion.tiny import write_checkpoint


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny_model(tiny_path: Path) -> StableDiffusion:
    return load(tiny_path)


@pytest.fixture(scope="session")
def alphas() -> torch.Tensor:
    return alphas_cumprod(BetaSchedule(0.00085, 0.012, 1000))


@pytest.fixture(scope="session")
def levels(alphas: torch.Tensor) -> NoiseSchedule:
    return NoiseSchedule(alphas)
