"""What every scorer keeps to, on small random weights; one suite for all."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt.diffusion import pocket
from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.scorers import Scorer, ScorerShelf
from lib_rankopt.scorers.batched import BatchedScorer
from tests.scorers.conftest import noise

NAMES = (
    "clip", "hpsv2.1", "hpsv2", "hpsv1", "pickscore", "clip-l", "clip-h", "aesthetic2", "aesthetic1", "imagereward",
    "hpsv2.1:package", "z:hpsv2.1", "hpsv2.1+pickscore+aesthetic2",
)  # fmt: skip
PROMPT = "a red fox in the snow"


@pytest.fixture(params=NAMES)
def scorer(request: pytest.FixtureRequest, shelf: ScorerShelf) -> Scorer:
    if request.param == "clip" and not (pocket.POCKET_DIR / "clip.safetensors").is_file():
        pytest.skip("the pocket model's weights are not in this checkout")
    if request.param == "hpsv2.1:package":
        pytest.importorskip("hpsv2")
    return shelf.get(request.param)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [noise(*size, seed) for seed, size in enumerate([(50, 50), (90, 40), (33, 71), (64, 64), (40, 44)])]


def test_one_finite_number_an_image_and_words_for_what_it_means(scorer: Scorer, images: list[Image.Image]) -> None:
    scores = scorer.score(images, PROMPT)
    assert (scores.shape, scores.dtype, scores.device.type) == ((5,), torch.float32, "cpu")
    assert bool(torch.isfinite(scores).all())
    assert len(set(scores.tolist())) > 1
    info = scorer.info
    assert all((info.name, info.version, info.scale, info.preprocessing))


def test_it_is_deterministic(scorer: Scorer, images: list[Image.Image]) -> None:
    assert torch.equal(scorer.score(images, PROMPT), scorer.score(images, PROMPT))


def test_a_batch_scores_as_its_images_alone(scorer: Scorer, images: list[Image.Image]) -> None:
    if scorer.info.is_relative:
        pytest.skip("ranks within one call")
    alone = torch.cat([scorer.score([image], PROMPT) for image in images])
    assert torch.allclose(scorer.score(images, PROMPT), alone, rtol=1e-4, atol=1e-4)


def test_each_image_may_have_its_prompt(scorer: Scorer, images: list[Image.Image]) -> None:
    prompts = [PROMPT, "two dogs", PROMPT, "a house", PROMPT]
    scores = scorer.score(images, prompts)
    if not scorer.info.is_relative:
        alone = torch.cat([scorer.score([image], prompt) for image, prompt in zip(images, prompts, strict=True)])
        assert torch.allclose(scores, alone, rtol=1e-4, atol=1e-4)
    differs = not torch.allclose(scores, scorer.score(images, PROMPT))
    assert differs == scorer.info.uses_prompt or scorer.info.is_relative


def test_a_tensor_scores_as_the_picture_that_it_would_be_saved_as(scorer: Scorer) -> None:
    picture = noise(48, 32)
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    assert torch.equal(scorer.score(tensor, PROMPT), scorer.score([picture], PROMPT))


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "CMYK", "1", "I;16"])
def test_pictures_of_any_mode_are_scored(scorer: Scorer, mode: str) -> None:
    picture = Image.fromarray((np.arange(1200).reshape(30, 40) * 50).astype(np.uint16)) if mode == "I;16" else noise(40, 30).convert(mode)
    assert bool(torch.isfinite(scorer.score([picture], PROMPT)).all())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 7)])
def test_pictures_of_any_size_are_scored(scorer: Scorer, size: tuple[int, int]) -> None:
    assert bool(torch.isfinite(scorer.score([noise(*size)], PROMPT)).all())


def test_tags_of_extra_networks_are_not_part_of_what_is_judged(scorer: Scorer, images: list[Image.Image]) -> None:
    assert torch.equal(scorer.score(images, f"{PROMPT} <lora:style:0.8>"), scorer.score(images, PROMPT))


def test_no_images_have_no_scores(scorer: Scorer) -> None:
    assert scorer.score([], PROMPT).shape == (0,)


def test_prompts_that_do_not_fit_are_refused(scorer: Scorer, images: list[Image.Image]) -> None:
    with pytest.raises(InvalidInputError, match="2 prompts for 5 images"):
        scorer.score(images, ["a", "b"])
    if scorer.info.uses_prompt:
        with pytest.raises(InvalidInputError, match="prompt 1 is empty"):
            scorer.score(images, " ")


def test_what_is_no_picture_is_refused(scorer: Scorer, tmp_path: Path) -> None:
    noise(40, 40).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:600])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        scorer.score([Image.open(tmp_path / "cut.png")], PROMPT)
    with pytest.raises(InvalidInputError, match="NaN"):
        scorer.score(torch.full((1, 3, 8, 8), torch.nan), PROMPT)
    with pytest.raises(InvalidInputError, match="shape"):
        scorer.score(torch.zeros(3, 8, 8), PROMPT)


def test_threads_may_ask_at_once(scorer: Scorer, images: list[Image.Image]) -> None:
    prompts = [PROMPT, "two dogs in the rain", "a house", "an old car"]
    expected = [scorer.score(images, prompt) for prompt in prompts]
    found: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: scorer.score(images, prompts[i])})) for i in range(len(prompts))]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(found[i], expected[i], rtol=1e-4, atol=1e-4) for i in range(len(prompts)))


def test_moving_to_the_cpu_changes_nothing(scorer: Scorer, images: list[Image.Image]) -> None:
    before = scorer.score(images, PROMPT)
    scorer.to("cpu")
    assert torch.equal(scorer.score(images, PROMPT), before)


# -- memory, of those that have batches
@pytest.fixture
def batched(scorer: Scorer) -> BatchedScorer:
    if not isinstance(scorer, BatchedScorer):
        pytest.skip("has no batches of its own")
    return scorer


def test_out_of_memory_halves_the_batch(batched: BatchedScorer, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    expected, sizes, real = batched.score(images, PROMPT), [], batched.ask

    def small(pixels: torch.Tensor, prompts: Any) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise RuntimeError("CUDA out of memory")
        return real(pixels, prompts)

    monkeypatch.setattr(batched, "ask", small)
    monkeypatch.setattr(batched, "_most", 4)
    assert torch.allclose(batched.score(images, PROMPT), expected, rtol=1e-4, atol=1e-4)
    assert sizes == [4, 2, 2, 1]


def test_without_memory_for_one_image_it_says_so(
    batched: BatchedScorer, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(batched, "ask", none)
    with pytest.raises(ModelError, match="out of memory with a single image"):
        batched.score(images, PROMPT)


def test_what_is_no_number_is_an_error(batched: BatchedScorer, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "ask", lambda pixels, _prompts: torch.tensor([0.0, torch.nan])[:2].repeat(len(pixels))[: len(pixels)])
    with pytest.raises(ModelError, match="gave image 2 the score nan"):
        batched.score(images, PROMPT)


def test_mixed_precision_around_it_changes_nothing(batched: BatchedScorer, images: list[Image.Image]) -> None:
    expected = batched.score(images, PROMPT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(batched.score(images, PROMPT), expected)
