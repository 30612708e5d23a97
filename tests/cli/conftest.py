from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_rankopt.cli import main
from lib_rankopt.scorers.base import Scorer, ScorerInfo

Run = Callable[..., tuple[int, str, str]]


class Red(Scorer):
    """The red of the first pixel, times ``factor``; stops like Ctrl-C when asked for more than ``most`` images."""

    def __init__(self, name: str, factor: float = 1.0, uses_prompt: bool = True, warning: str = "", most: int = 10**6) -> None:
        self.info = ScorerInfo(name, "1", "0 to 255", "none", uses_prompt, warning=warning)
        self.factor, self.most, self.scored = factor, most, 0

    def score(self, images: Any, prompts: str | Sequence[str]) -> torch.Tensor:
        if self.scored + len(images) > self.most:
            raise KeyboardInterrupt
        self.scored += len(images)
        return torch.tensor([self.factor * image.convert("RGB").getpixel((0, 0))[0] for image in images])

    def to(self, device: str) -> None:
        pass


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on a data folder of the test's own, under no launcher; returns its exit code, output and errors."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def called(*arguments: object) -> tuple[int, str, str]:
        code = main(["--data-dir", str(tmp_path / "data"), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called
