"""The embedded scorer, and scorers that cannot be had; skipped in a checkout without the weights."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_rankopt import scorers
from lib_rankopt.diffusion import pocket
from lib_rankopt.errors import MissingDependencyError, ModelError, NotFoundError
from lib_rankopt.scorers import pocket_clip
from lib_rankopt.scorers.pocket_clip import PocketClipScorer

pytestmark = pytest.mark.skipif(
    not (pocket.POCKET_DIR / "clip.safetensors").is_file(), reason="the pocket model's weights are not in this checkout"
)
pytest.importorskip("open_clip")


def test_it_scores_and_says_what_scores_mean() -> None:
    scorer = scorers.create("clip")
    values = scorer.score(torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0)), "a fox")
    assert values.shape == (2,)
    assert torch.isfinite(values).all()
    assert scorer.info.name == "clip"


def test_the_version_follows_the_weights(tmp_path: Path) -> None:
    """Scores are kept under the version, and a rebuilt CLIP's must not be mixed with older ones."""
    digest = hashlib.sha256((pocket.POCKET_DIR / "clip.safetensors").read_bytes()).hexdigest()
    first = scorers.create("clip").info.version
    assert first == f"pocket-1-{digest[:8]}"
    assert scorers.create("clip").info.version == first
    folder = shutil.copytree(pocket.POCKET_DIR, tmp_path / "pocket")
    data = bytearray((folder / "clip.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "clip.safetensors").write_bytes(data)
    assert PocketClipScorer(folder=folder).info.version != first


def test_without_open_clip_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open_clip", "open_clip.model"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match="pip install open_clip_torch"):
        scorers.create("clip")


def test_without_another_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'regex'", name="regex")

    monkeypatch.setattr(pocket_clip, "PocketClipScorer", missing)
    with pytest.raises(MissingDependencyError, match=r"'clip' needs .*No module named 'regex'.*pip install regex"):
        scorers.create("clip")


def test_missing_weights_are_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is missing"):
        PocketClipScorer(folder=tmp_path)


def test_an_unknown_scorer_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'clip'"):
        scorers.create("klip")


def test_a_prompt_asked_for_again_scores_the_same_and_another_one_does_not() -> None:
    scorer = scorers.create("clip")
    images = [Image.new("RGB", (64, 64), "blue"), Image.new("RGB", (64, 64), "red")]
    blue, red = "a 3d fox on a blue background", "a 3d fox on a red background"
    first = scorer.score(images, blue)
    assert torch.equal(scorer.score(images, blue), first)
    assert not torch.equal(scorer.score(images, red), first)
    scorer.to("cpu")
    assert torch.allclose(scorer.score(images, [blue, blue]), first, atol=1e-3)
