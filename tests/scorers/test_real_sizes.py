"""The real sizes with random weights: they load and score within the memory of an ordinary machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from lib_rankopt.scorers import ScorerShelf
from tests.scorers.conftest import noise
from tools.scorers import random_weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("name", "gigabytes"), [("hpsv2.1", 1.97), ("hpsv1", 0.86)])
def test_it_loads_and_scores(name: str, gigabytes: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["random_weights", name, "--out", str(tmp_path)])
    random_weights.main()
    (path,) = (tmp_path / "scorers").iterdir()
    assert path.stat().st_size / 1e9 == pytest.approx(gigabytes, abs=0.02)
    scorer = ScorerShelf([tmp_path], torch.device("cpu")).get(name)
    scores = scorer.score([noise(512, 512), noise(640, 400, 1)], "a red fox in the snow")
    assert bool(torch.isfinite(scores).all())
    assert "random" in scorer.info.warning
