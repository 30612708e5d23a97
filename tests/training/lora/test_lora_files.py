"""What training adds to a LoRA file: its metadata, its name, and how much of it half precision leaves."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.lora.file import LoraModule
from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.training.lora import check, output
from lib_rankopt.training.lora.metadata import LoraFacts, metadata, sidecar
from tests.diffusion.lora.samples import CONV, LINEAR, some_modules


def _facts(**changes: Any) -> LoraFacts:
    values: dict[str, Any] = {
        "family": "sdxl", "prediction_type": "epsilon", "name": "mine", "rank": 4, "alpha": 6.0, "objective": "dpo",
        "options": {"beta": 2000.0}, "base_name": "base.safetensors", "base_sha256": "ab" * 32, "steps": 100, "learning_rate": 1e-4,
        "optimizer": "AdamW", "seed": 5, "resolution": (1024, 768), "images": 20, "dataset_digest": "d1", "started_at": 1.7e9,
        "finished_at": 1.7e9 + 60, "tags": {"a cat": 3}, "comment": "hello",
    }  # fmt: skip
    return LoraFacts(**{**values, **changes})


# -- the gain
@pytest.mark.parametrize(("std", "wanted"), [(1e-6, 0.23), (3.5e-6, 0.66), (1e-5, 0.97), (3e-5, 1.0)])
def test_half_precision_swallows_small_changes(std: float, wanted: float) -> None:
    noise = torch.Generator().manual_seed(0)
    weight = torch.randn(320, 320, generator=noise) * 0.02
    module = LoraModule(torch.randn(16, 320, generator=noise) * 0.25, torch.randn(320, 16, generator=noise) * std, 16.0)
    assert float(module.delta().std()) == pytest.approx(std, rel=0.1)
    assert check.realised_gain(weight, module) == pytest.approx(wanted, abs=0.05)
    assert check.gain({"a": module}, {"a": weight}) == pytest.approx(check.realised_gain(weight, module))


def test_gain_of_no_change_of_a_convolution_and_of_a_wrong_shape() -> None:
    weight = torch.randn(10, 12, 1, 1) * 0.02
    assert check.realised_gain(weight, some_modules()[CONV]) == pytest.approx(1.0, abs=0.01)
    assert check.realised_gain(torch.ones(3, 6), LoraModule(torch.ones(4, 6), torch.zeros(3, 4), 4.0)) == 1.0
    with pytest.raises(InvalidInputError, match="fit"):
        check.realised_gain(torch.ones(3, 6), some_modules()[CONV])
    with pytest.raises(InvalidInputError, match="no weight"):
        check.gain(some_modules(), {})


# -- metadata
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_metadata_are_text_and_name_the_base(tmp_path: Path, family: str) -> None:
    state = file.to_state({"down_blocks.1.attentions.0.proj_in": some_modules()[LINEAR]}, family)
    said = metadata(_facts(family=family), state)
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in said.items())
    assert said["ss_base_model_version"] == {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}[family]
    assert said["ss_v2"] == str(family == "sd2")
    assert json.loads(said["ss_tag_frequency"]) == {"rankopt": {"a cat": 3}}
    assert said["modelspec.resolution"] == "1024x768"
    assert said["modelspec.date"] == "2023-11-14T22:14:20"
    assert said["ss_training_comment"] == "objective dpo (beta=2000.0); dataset d1; hello"
    path = tmp_path / "x.safetensors"
    output.write(path, state, said)
    assert path.read_bytes()[8:10] == b'{"'
    assert file.read(path)[1] == said


def test_sd2_with_v_prediction() -> None:
    said = metadata(_facts(family="sd2", prediction_type="v_prediction"), file.to_state(some_modules(), "sd2"))
    assert said["ss_base_model_version"] == "sd_v2_v"
    assert said["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
    assert said["modelspec.prediction_type"] == "v"
    with pytest.raises(InvalidInputError, match="prediction"):
        metadata(_facts(prediction_type="x0"), {})


def test_the_hash_does_not_depend_on_the_metadata(tmp_path: Path) -> None:
    state = file.to_state(some_modules(), "sd1")
    hashes = set()
    for number, said in enumerate(({}, {"a": "b"}, metadata(_facts(family="sd1"), state))):
        path = tmp_path / f"{number}.safetensors"
        output.write(path, state, said)
        blob = path.read_bytes()
        hashes.add(sha256(blob[8 + int.from_bytes(blob[:8], "little") :]).hexdigest())
    assert hashes == {said["sshs_model_hash"]}
    assert file.data_hash(dict(reversed(state.items()))) in hashes


def test_the_sidecar(tmp_path: Path) -> None:
    path = sidecar(tmp_path / "v1.5.safetensors", "about", "sdxl", "word", "ugly")
    assert path.name == "v1.5.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    assert said["sd version"] == "SDXL"
    assert said["preferred weight"] == 1.0
    assert (said["activation text"], said["negative text"], said["description"]) == ("word", "ugly", "about")
    with pytest.raises(InvalidInputError, match="exists"):
        sidecar(tmp_path / "v1.5.safetensors", "", "sdxl", "", "")


# -- writing
def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    state = file.to_state(some_modules(), "sd1")
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="exists"):
        output.write(path, state, {})
    assert path.read_bytes() == b"mine"
    with pytest.raises(InvalidInputError, match="text"):
        output.write(tmp_path / "y.safetensors", state, {"ss_steps": 3})  # type: ignore[dict-item]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="could not be written"):
        output.write(tmp_path / "file" / "x.safetensors", file.to_state(some_modules(), "sd1"), {})


def test_new_names(tmp_path: Path) -> None:
    assert output.new_path(tmp_path, "my lora").name == "my lora.safetensors"
    (tmp_path / "my lora.safetensors").touch()
    (tmp_path / "my lora-2.json").touch()
    assert output.new_path(tmp_path, "my lora").name == "my lora-3.safetensors"
    for name in ("../../etc/x", "a:b<c>,d", "a\\b", "..", "", "x" * 900, "ü" * 300, "con", "a\nb\x00"):
        path = output.new_path(tmp_path, name)
        assert path.parent == tmp_path
        assert not set(path.name) & set('\\/:<>,"|?*\n\x00')
        assert len(path.name.encode()) < 230
        assert not path.name.startswith(".")
        path.touch()
