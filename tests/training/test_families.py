"""Models that are no SD1: what they are trained to say, and what their files tell the webui."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lib_rankopt.diffusion import loading
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.pocket import checkpoint_path
from lib_rankopt.training.config import from_dict
from lib_rankopt.training.data import files
from lib_rankopt.training.folder import RunFolder, RunStatus
from lib_rankopt.training.lora import check
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.run import Run
from tests.studies.trained import SMALL, pairs
from tests.training.folders import write_folder

CPU = torch.device("cpu")
NOTHING = Conditioning(torch.zeros(2, 77, 8))


def train(base: Path, folder: Path, **changes: Any) -> tuple[RunFolder, RunStatus]:
    """A run of two steps on four pairs."""
    values = {**SMALL, "steps": 2, "save_every": 2, "validate_every": 2, "base": str(base), **changes}
    run = RunFolder.create(folder / "run", from_dict(values))
    feedback = files.read(pairs(folder / "pictures"))
    return run, Run(run, base, feedback, folder / "loras", folder / "cache").start(CPU)


@pytest.mark.parametrize(
    ("family", "prediction", "version", "changes"),
    [
        ("sd2", "v_prediction", "sd_v2_v", {"targets": "full"}),
        ("sd2", "epsilon", "sd_v2", {"objective": "kto"}),
        ("sdxl", "epsilon", "sdxl_base_v1-0", {"targets": "full", "sample_every": 2, "gradient_checkpointing": True}),
    ],
)
def test_a_lora_for_a_diffusers_folder_says_what_it_is_for(
    tmp_path: Path, family: str, prediction: str, version: str, changes: dict[str, Any]
) -> None:
    base = write_folder(family, tmp_path / "model", prediction)
    run, status = train(base, tmp_path, **changes)
    assert (status.state, status.error, len(status.outputs)) == ("finished", None, 1)
    state, facts = file.read(Path(status.outputs[0]))
    unet = loading.load(base).unet
    paths = [name for name, module in unet.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
    assert state
    assert check.unmatched(state, paths, family) == []
    assert facts["ss_base_model_version"] == version
    assert facts["modelspec.prediction_type"] == ("v" if prediction == "v_prediction" else "epsilon")
    assert facts["ss_sd_model_name"] == "model"
    sidecar = json.loads(Path(status.outputs[0]).with_suffix(".json").read_text())
    assert sidecar["sd version"] == family.upper()
    assert any(bool(tensor.any()) for name, tensor in state.items() if "lora_up" in name)
    first = run.metrics()[0]
    assert first["drift" if "objective" in changes else "winner_drift"] == pytest.approx(0, abs=1e-6)
    if "sample_every" in changes:
        assert Image.open(run.path / "samples" / "step-000002.png").size == (3 * 192, 3 * 192)  # one prompt kept back, two of training


def test_xl_keys_are_those_of_the_original_layout(tmp_path: Path) -> None:
    """The webui knows an SDXL LoRA's modules by the names of the original UNet."""
    _, status = train(write_folder("sdxl", tmp_path / "model"), tmp_path)
    state, _ = file.read(Path(status.outputs[0]))
    assert {key.split("_blocks")[0].split("_block_")[0] for key in state} == {"lora_unet_input", "lora_unet_middle", "lora_unet_output"}


# -- what is to be said
def network(prediction: str) -> LoraNetwork:
    model = loading.load(checkpoint_path())
    return LoraNetwork(replace(model, config=replace(model.config, prediction_type=prediction)), 4, 4.0, "attention", 0)


def drawn(seed: int) -> torch.Tensor:
    return torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_target_leads_back_to_the_clean_latent(prediction: str) -> None:
    one, clean, noise, t = network(prediction), drawn(1), drawn(2), torch.tensor([120, 700])
    x, said = one.noised(clean, noise, t), one.target(clean, noise, t)
    share = one.schedule[t].view(-1, 1, 1, 1)
    plain = (x - (1 - share).sqrt() * said) / share.sqrt() if prediction == "epsilon" else share.sqrt() * x - (1 - share).sqrt() * said
    torch.testing.assert_close(plain, clean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_policys_path_follows_a_perfect_prediction(prediction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DDIM steps of any length stay on the line between a latent and its noise, where the network knows both."""
    one, clean, noise = network(prediction), drawn(1), drawn(2)
    asked: list[int] = []

    class Knows:
        config = one.model.config

        def predict(self, x: torch.Tensor, t: torch.Tensor, _condition: Conditioning) -> torch.Tensor:
            asked.append(int(t[0]))
            return one.target(clean, noise, t)

    monkeypatch.setattr(one, "model", Knows())
    start = one.noised(clean, noise, torch.tensor([960, 960]))
    point, said = one.policy_point(start, NOTHING, 2, [960, 500, 40, 3])
    assert asked == [960, 500, 40]
    torch.testing.assert_close(point, one.noised(clean, noise, torch.tensor([40, 40])), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(said, one.target(clean, noise, torch.tensor([40, 40])))
