"""Sample sheets, the picture of the card, and TensorBoard's files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt.diffusion import loading
from lib_rankopt.diffusion.pocket import checkpoint_path
from lib_rankopt.errors import MissingDependencyError
from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.hosts.standalone import StandaloneHost
from lib_rankopt.training import run as run_module
from lib_rankopt.training import samples
from lib_rankopt.training.config import from_dict
from lib_rankopt.training.data import files
from lib_rankopt.training.folder import RunFolder, RunStatus
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.run import Run
from lib_rankopt.training.samples import SampleSheets
from tests.studies.trained import SMALL, pairs

CPU, SIDE = torch.device("cpu"), 192  # of a sheet's picture; 64 px are enlarged
PROMPTS = ("a fox", "a red cube")


@pytest.fixture(scope="module")
def network() -> LoraNetwork:
    return LoraNetwork(loading.load(checkpoint_path()), 4, 4.0, "attention", 0)


@pytest.fixture(scope="module")
def sheets() -> SampleSheets:
    return SampleSheets(loading.load(checkpoint_path()), PROMPTS, "", (64, 64), 5)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_STEPS", 4)


def moved(network: LoraNetwork) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [p.detach() + 0.1 * torch.randn(p.shape, generator=generator) for p in network.parameters]


def cells(sheet: Image.Image) -> list[list[np.ndarray]]:
    """Rows of columns."""
    whole = np.asarray(sheet).astype(int)
    return [[whole[y : y + SIDE, x : x + SIDE] for x in range(0, 3 * SIDE, SIDE)] for y in range(0, sheet.height, SIDE)]


# -- sheets
def test_a_sheet_has_a_row_for_each_prompt_and_a_column_for_each_weight(network: LoraNetwork, sheets: SampleSheets) -> None:
    sheet, card = sheets.draw(network, moved(network))
    assert sheet.size == (3 * SIDE, 2 * SIDE)
    assert card.size == (64, 64)
    for row in cells(sheet):
        none, half, full = row
        assert (none != half).any()
        assert (half != full).any()
        assert np.abs(none - half).mean() < np.abs(none - full).mean()
    shown = card.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(shown), cells(sheet)[0][2])


def test_a_lora_that_changes_nothing_shows_three_equal_columns(network: LoraNetwork, sheets: SampleSheets) -> None:
    own = [p.detach().clone() for p in network.parameters]
    sheet, _ = sheets.draw(network, own)
    for none, half, full in cells(sheet):
        assert np.array_equal(none, half)
        assert np.array_equal(none, full)
    assert all(torch.equal(a, b) for a, b in zip(own, network.parameters, strict=True))


def test_the_first_column_is_what_the_base_makes(network: LoraNetwork, sheets: SampleSheets) -> None:
    sheet, _ = sheets.draw(network, moved(network))
    host = StandaloneHost(checkpoint_path().parent, checkpoint_path().name, device="cpu")
    for number, prompt in enumerate(PROMPTS):
        request = GenerationRequest(prompt, (5 + number,), steps=4, sampler="DPM++ 2M", scheduler="Karras", cfg_scale=6.0, batch_size=1)
        (image,) = host.generate(request)
        wanted = np.asarray(image.image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)).astype(int)
        assert np.abs(cells(sheet)[number][0] - wanted).max() <= 1


def test_the_networks_own_weights_do_not_show_in_the_first_column(network: LoraNetwork) -> None:
    """Column 0 is made with weight 0 of what is given, whatever the LoRA has learnt meanwhile."""
    fresh = SampleSheets(loading.load(checkpoint_path()), PROMPTS[:1], "", (64, 64), 5)
    before, _ = fresh.draw(network, [p.detach() for p in network.parameters])
    with network.weights(moved(network)):
        after, _ = SampleSheets(loading.load(checkpoint_path()), PROMPTS[:1], "", (64, 64), 5).draw(network, network.parameters)
    assert np.array_equal(cells(before)[0][0], cells(after)[0][0])


# -- in a run
def train(home: Path, **changes: Any) -> tuple[RunFolder, RunStatus]:
    values = {**SMALL, "steps": 2, "save_every": 2, "sample_every": 1, "validate_every": 2, "sample_prompts": ["a fox"], **changes}
    run = RunFolder.create(home / "run", from_dict(values))
    return run, Run(run, checkpoint_path(), files.read(pairs(home / "pictures")), home / "loras", home / "cache").start(CPU)


def test_a_run_draws_sheets_and_puts_a_picture_beside_the_file(tmp_path: Path) -> None:
    run, status = train(tmp_path, learning_rate=1e-2, precision="bf16")
    assert (status.state, status.alarms) == ("finished", ())
    sheets = sorted((run.path / "samples").iterdir())
    assert [path.name for path in sheets] == ["step-000001.png", "step-000002.png"]
    assert Image.open(sheets[1]).size == (3 * SIDE, SIDE)
    assert run.sample_prompts() == ("a fox",)
    (lora,) = (Path(path) for path in status.outputs)
    with Image.open(lora.with_suffix(".png")) as card:
        assert card.format == "PNG"
        assert card.size == (256, 256)  # four times 64, or nobody could see it
        last = np.asarray(card.resize((64, 64), Image.Resampling.BOX)).astype(int)
    shown = Image.open(sheets[1]).crop((2 * SIDE, 0, 3 * SIDE, SIDE)).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(shown).astype(int) - last).mean() < 3
    row = cells(Image.open(sheets[1]))[0]
    assert np.abs(row[0] - row[2]).max() > 0


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "Memory does not suffice for samples"),
        (MissingDependencyError("k-diffusion is not installed"), "Samples are left out, and training goes on: k-diffusion"),
    ],
)
def test_samples_that_cannot_be_drawn_do_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str
) -> None:
    def fail(*_args: object) -> None:
        raise failure

    monkeypatch.setattr(SampleSheets, "draw", fail)
    run, status = train(tmp_path)
    assert status.state == "finished"
    assert sum(said in sentence for sentence in status.alarms) == 1
    assert not (run.path / "samples").exists()
    assert not list((tmp_path / "loras").glob("*.png"))


# -- TensorBoard
class Board:
    """Stands for TensorBoard's writer."""

    def __init__(self) -> None:
        self.closed = False
        self.scalars: list[tuple[str, int]] = []
        self.images: list[tuple[str, int, tuple[int, ...]]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert isinstance(value, float)
        self.scalars.append((name, step))

    def close(self) -> None:
        self.closed = True

    def add_image(self, name: str, pixels: np.ndarray, step: int, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images.append((name, step, pixels.shape))


def test_metrics_and_samples_go_to_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    where: list[Path] = []
    make: Callable[[Path], Board] = lambda folder: (where.append(folder), board)[1]  # noqa: E731
    monkeypatch.setattr(run_module, "_tensorboard", make)
    run, _ = train(tmp_path, tensorboard=True)
    assert where == [run.path]
    assert {("training/loss", 1), ("training/loss", 2), ("validation/implicit_accuracy", 2)} <= set(board.scalars)
    assert board.images == [("samples", step, (SIDE, 3 * SIDE, 3)) for step in (1, 2)]
    assert board.closed


def test_tensorboard_files_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = train(tmp_path, tensorboard=True, sample_every=0)
    found = EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    losses = [line["loss"] for line in run.metrics() if not line.get("validation")]
    assert [event.step for event in found.Scalars("training/loss")] == [1, 2]
    assert [event.value for event in found.Scalars("training/loss")] == pytest.approx(losses, rel=1e-5)
    assert [event.step for event in found.Scalars("validation/implicit_accuracy")] == [2]


def test_tensorboard_that_is_not_there_is_said_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        train(tmp_path, tensorboard=True)
    run = RunFolder(tmp_path / "run")
    assert (run.status().state, run.metrics()) == ("failed", [])
