"""The shelf: one scorer a name, weights shared, moved for the time of a loan, missing files named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_rankopt import scorers
from lib_rankopt.errors import ModelError, NotFoundError
from lib_rankopt.scorers import ScorerInfo, ScorerShelf, calibration
from tests.scorers import checkpoints
from tests.scorers.conftest import noise


class Moved:
    """Notes where it was brought to."""

    info = ScorerInfo("moved", "1", "none", "none")

    def __init__(self, fails: str = "") -> None:
        self.places: list[str] = []
        self.fails, self.error = fails, "CUDA out of memory. Tried to allocate 2 GiB"

    def score(self, images: Any, prompts: Any) -> torch.Tensor:
        return torch.zeros(len(images))

    def to(self, device: str) -> None:
        self.places.append(device)
        if device == self.fails:
            raise RuntimeError(self.error)


def test_scorers_are_loaded_once_and_share_a_clip(shelf: ScorerShelf) -> None:
    assert shelf.get("aesthetic2") is shelf.get("aesthetic2")
    towers = {id(shelf.get(name)._tower) for name in ("aesthetic1", "aesthetic2", "clip-l")}  # type: ignore[attr-defined]
    assert len(towers) == 1


def test_a_missing_file_is_named_with_the_place_to_put_it(tmp_path: Path) -> None:
    shelf = ScorerShelf([tmp_path])
    with pytest.raises(ModelError, match=r"'pickscore' needs the file .*\(3,944 MB\).*Put it into .*--download pickscore"):
        shelf.check("pickscore")
    with pytest.raises(ModelError, match=r"sac\+logos"):
        shelf.check("clip+aesthetic2")


@pytest.mark.parametrize("place", ["HPS_v2.1_compressed.pt", "scorers/HPS_v2.1_compressed.pt"])
def test_files_are_found_in_the_folder_and_below_scorers(tmp_path: Path, place: str) -> None:
    checkpoints.save_open_clip(tmp_path / "second" / place, checkpoints.open_clip_model(1))
    shelf = ScorerShelf([tmp_path / "first", tmp_path / "second"])
    assert shelf.get("hpsv2.1").info.version.startswith("1-")


def test_names_are_checked_and_close_ones_offered(shelf: ScorerShelf) -> None:
    with pytest.raises(NotFoundError, match=r"Did you mean 'hpsv2\.1'"):
        shelf.check("hpsv2.2")
    with pytest.raises(NotFoundError, match=r"no scorer 'nobody'.*open_clip:MODEL/WEIGHTS"):
        shelf.check("clip+nobody")
    with pytest.raises(NotFoundError, match="open_clip knows no model 'ViT-X'"):
        shelf.check("open_clip:ViT-X/laion")
    with pytest.raises(NotFoundError, match=r"no weights 'nothing' of ViT-B-32. It has openai"):
        shelf.check("open_clip:ViT-B-32/nothing")


def test_a_loan_moves_it_to_the_device_and_back() -> None:
    moved = Moved()
    shelf = ScorerShelf(device=torch.device("cuda:1"), factories={"moved": lambda: moved})  # type: ignore[dict-item,return-value]
    with shelf.lent("moved"), shelf.lent("moved"):
        assert moved.places == ["cuda:1"]
    assert moved.places == ["cuda:1", "cpu"]


def test_what_does_not_fit_works_on_the_cpu() -> None:
    moved = Moved(fails="cuda")
    shelf = ScorerShelf(device=torch.device("cuda"), factories={"moved": lambda: moved})  # type: ignore[dict-item,return-value]
    with shelf.lent("moved") as scorer:
        assert moved.places == ["cuda", "cpu"]
        assert len(scorer.score([noise(8, 8)], "a")) == 1


def test_a_move_that_fails_is_no_loan() -> None:
    moved = Moved(fails="cuda")
    moved.error = "CUDA error: an illegal memory access was encountered"
    shelf = ScorerShelf(device=torch.device("cuda"), factories={"moved": lambda: moved})  # type: ignore[dict-item,return-value]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="illegal memory access"), shelf.lent("moved"):
            pass
    assert moved.places == ["cuda", "cpu"] * 2


def test_what_is_released_is_loaded_anew(shelf: ScorerShelf, weights_folder: Path) -> None:
    own = ScorerShelf([weights_folder])
    first = own.get("hpsv2.1")
    with own.lent("hpsv2"):
        own.release()
        kept = own.get("hpsv2")
    assert own.get("hpsv2.1") is not first
    assert own.get("hpsv2") is kept


def test_what_nobody_uses_is_forgotten_after_a_while() -> None:
    made: list[Moved] = []
    shelf = ScorerShelf(factories={"moved": lambda: made.append(Moved()) or made[-1]}, keep_seconds=0.2)  # type: ignore[dict-item,func-returns-value,return-value]
    with shelf.lent("moved"), shelf.lent("moved"):
        time.sleep(0.4)
        shelf.get("moved")
    with shelf.lent("moved"):
        pass
    assert len(made) == 1
    deadline = time.monotonic() + 10
    while len(made) == 1 and time.monotonic() < deadline:
        time.sleep(0.05)
        shelf.get("moved")
    assert len(made) == 2


def test_a_scorer_of_ones_own_can_be_added() -> None:
    shelf, moved = ScorerShelf(), Moved()
    shelf.add("moved", moved)  # type: ignore[arg-type]
    shelf.check("moved")
    assert shelf.get("moved") is moved  # type: ignore[comparison-overlap]
    assert "moved" in shelf.names()


def test_random_weights_say_so(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from lib_rankopt.scorers.weights import RANDOM

    tensors = checkpoints.tensors_of(checkpoints.open_clip_model(1))
    (tmp_path / "scorers").mkdir()
    save_file(tensors, tmp_path / "scorers" / "HPS_v2.1_compressed.safetensors", {RANDOM: "1"})
    assert "random" in ScorerShelf([tmp_path]).get("hpsv2.1").info.warning


# -- others' scorers
def test_other_packages_add_theirs_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from lib_rankopt.scorers import registry

    point = EntryPoint("theirs", "tests.scorers.test_shelf:made_elsewhere", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    shelf = ScorerShelf()
    assert "theirs" in shelf.names()
    shelf.check("theirs")
    assert shelf.get("theirs").score([noise(8, 8)], "a fox").tolist() == [0.0]
    assert shelf.get("theirs") is shelf.get("theirs")


def made_elsewhere(device: str) -> Any:
    assert device == "cpu"
    return Moved()


def test_any_model_of_open_clip_scores_by_its_own_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    import open_clip

    (tmp_path / "Small-14.json").write_text(
        json.dumps({"embed_dim": checkpoints.EMBEDDING, "vision_cfg": checkpoints.TOWER, "text_cfg": checkpoints.TEXT})
    )
    open_clip.add_model_config(tmp_path / "Small-14.json")
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["random"] if name == "Small-14" else [])
    model = checkpoints.open_clip_model(3)
    checkpoints.save_open_clip(tmp_path / "scorers" / "Small-14-random.pt", model)
    images = [noise(50, 40), noise(30, 60, 1)]
    found = ScorerShelf([tmp_path]).get("open_clip:Small-14/random").score(images, ["a fox", "a dog"])
    _, _, prepare = open_clip.create_model_and_transforms("Small-14")
    with torch.inference_mode():
        text = model.encode_text(open_clip.get_tokenizer("Small-14")(["a fox", "a dog"]), normalize=True)
        expected = 100 * (model.encode_image(torch.stack([prepare(image) for image in images]), normalize=True) * text).sum(-1)
    assert torch.allclose(found, expected, atol=1e-3)
    with pytest.raises(ModelError, match=r"'open_clip:Small-14/random' needs the file .* \(of unknown size\)"):
        ScorerShelf([tmp_path / "empty"]).check("open_clip:Small-14/random")


# -- ensembles and calibration
def test_an_ensemble_is_the_mean_of_ranks(shelf: ScorerShelf) -> None:
    images = [noise(40, 40, seed) for seed in range(6)]
    names = ("hpsv2.1", "pickscore", "aesthetic2")
    single = [shelf.get(name).score(images, "a fox") for name in names]
    expected = torch.stack([one.argsort().argsort().float() / 5 for one in single]).mean(0)
    assert torch.allclose(shelf.get("+".join(names)).score(images, "a fox"), expected)


def test_equal_scores_share_their_ranks_mean() -> None:
    from lib_rankopt.scorers.ensemble import ranks

    assert ranks(torch.tensor([2.0, 1.0, 2.0, 5.0])).tolist() == pytest.approx([0.5, 0.0, 0.5, 1.0])
    assert ranks(torch.tensor([3.0, 3.0])).tolist() == [0.5, 0.5]
    assert ranks(torch.tensor([3.0])).tolist() == [0.5]


def test_calibrated_scores_are_standard_deviations_of_the_pool(weights_folder: Path, tmp_path: Path) -> None:
    shelf = ScorerShelf([weights_folder, tmp_path])
    base, images = shelf.get("hpsv2"), [noise(40, 40, seed) for seed in range(12)]
    scores = base.score(images, "a fox")
    calibration.write(calibration.calibration_of(base.info, scores.tolist(), "twelve"), tmp_path)
    found = shelf.get("z:hpsv2").score(images, "a fox")
    assert torch.allclose(found, (scores - scores.mean()) / scores.std(), atol=1e-4)
    both = shelf.get("z:hpsv2+z:hpsv2")
    assert not both.info.is_relative
    assert torch.allclose(both.score(images, "a fox"), found, atol=1e-5)


def test_a_calibration_holds_for_its_weights_only(weights_folder: Path, tmp_path: Path) -> None:
    shelf = ScorerShelf([weights_folder, tmp_path])
    with pytest.raises(ModelError, match="is not calibrated: make it so"):
        shelf.get("z:clip-h")
    other = ScorerInfo("clip-h", "1-00000000", "", "")
    calibration.write(calibration.calibration_of(other, [float(i) for i in range(9)]), tmp_path)
    with pytest.raises(ModelError, match="was made with its version 1-00000000"):
        shelf.get("z:clip-h")
    (tmp_path / "scorers" / "calibration" / "clip-h.json").write_text("{")
    with pytest.raises(ModelError, match="is no calibration"):
        shelf.get("z:clip-h")


def test_a_pool_that_says_nothing_is_refused() -> None:
    from lib_rankopt.errors import InvalidInputError

    info = ScorerInfo("a", "1", "", "")
    with pytest.raises(InvalidInputError, match="3 images are too few"):
        calibration.calibration_of(info, [1.0, 2.0, 3.0])
    with pytest.raises(InvalidInputError, match="have the score 2"):
        calibration.calibration_of(info, [2.0] * 9)


def test_the_registry_says_which_files_are_needed() -> None:
    assert [file.names[-1] for file in scorers.files("aesthetic2+clip-l")] == [
        "sac+logos+ava1-l14-linearMSE.pth", "clip-vit-large-patch14/model.safetensors",
    ]  # fmt: skip
    assert scorers.files("clip") == ()
