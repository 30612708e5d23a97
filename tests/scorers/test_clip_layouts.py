"""CLIP files: sizes read off their tensors, and everything that can be wrong with them named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_rankopt.errors import ModelError
from lib_rankopt.scorers import clip_layouts
from lib_rankopt.scorers.clip_tower import ClipTower
from tests.scorers import checkpoints

REAL = {
    "ViT-L-14": (24, 1024, 64, 14, 768, 12, 768),
    "ViT-H-14": (32, 1280, 80, 14, 1024, 24, 1024),
    "ViT-g-14": (40, 1408, 88, 14, 1024, 24, 1024),
    "ViT-bigG-14": (48, 1664, 104, 14, 1280, 32, 1280),
    "ViT-B-32": (12, 768, 64, 32, 512, 12, 512),
}


@pytest.mark.parametrize("name", REAL)
def test_sizes_of_real_models_are_read_off_their_tensors(name: str) -> None:
    import open_clip
    from open_clip.model import CLIP

    known = open_clip.get_model_config(name)
    with torch.device("meta"):
        model = CLIP(**known)
        found = clip_layouts.config(model.state_dict(), quick_gelu=False)
        again = CLIP(**found)
    vision, text = found["vision_cfg"], found["text_cfg"]
    tower = (vision["layers"], vision["width"], vision["head_width"], vision["patch_size"])
    assert (*tower, text["width"], text["layers"], found["embed_dim"]) == REAL[name]
    assert text["heads"] == known["text_cfg"]["heads"]
    assert {name: one.shape for name, one in again.state_dict().items()} == {name: one.shape for name, one in model.state_dict().items()}


def broken(path: Path, change: Any) -> Path:
    tensors = checkpoints.tensors_of(checkpoints.open_clip_model(0))
    change(tensors)
    torch.save({"state_dict": tensors}, path)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("visual.transformer.resblocks.1.ln_2.bias"), r"'visual\.transformer\.resblocks\.1\.ln_2\.bias' is missing"),
        (lambda t: t.update({"score_head.weight": torch.zeros(3)}), r"'score_head\.weight' is not expected"),
        (lambda t: t.update({"ln_final.bias": torch.zeros(3)}), r"'ln_final\.bias' has shape \(3,\), and \(64,\) is expected"),
        (lambda t: t.pop("text_projection"), "holds no CLIP with two transformers: 'text_projection' is missing"),
        (lambda t: [t.pop(name) for name in list(t) if "attn" in name], "is missing, and"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        ClipTower(broken(tmp_path / "w.pt", change), quick_gelu=False)


def test_a_part_of_transformers_attention_that_is_missing_is_named(tmp_path: Path) -> None:
    model = checkpoints.transformers_model(0)
    tensors = checkpoints.tensors_of(model)
    del tensors["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"'visual\.transformer\.resblocks\.1\.attn\.in_proj_weight' is missing"):
        ClipTower(tmp_path / "w.safetensors", quick_gelu=False)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with (tmp_path / "w.pt").open("wb") as file:
        pickle.dump({"state_dict": Evil(mark)}, file)
    with pytest.raises(ModelError, match="refused"):
        ClipTower(tmp_path / "w.pt", quick_gelu=False)
    assert not mark.exists()


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "said"), [(b"<!DOCTYPE html><html>sign in</html>", "it is a web page"), (b"", "empty"), (b"\x80\x02cut", "w")]
)
def test_files_that_are_no_weights_are_told_apart(tmp_path: Path, ending: str, content: bytes, said: str) -> None:
    path = tmp_path / f"w{ending}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=said):
        ClipTower(path, quick_gelu=False)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = checkpoints.save_open_clip(tmp_path / "w.safetensors", checkpoints.open_clip_model(0))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        ClipTower(path, quick_gelu=False)


def test_prompts_beyond_what_is_kept_are_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_rankopt.scorers import clip_tower

    monkeypatch.setattr(clip_tower, "_TEXTS", 3)
    tower = ClipTower(checkpoints.save_open_clip(tmp_path / "w.pt", checkpoints.open_clip_model(0)), quick_gelu=False)
    prompts = [f"picture {i}" for i in range(5)]
    whole = tower.texts(prompts)
    assert torch.allclose(torch.cat([tower.texts([prompt]) for prompt in prompts]), whole, atol=1e-6)
