"""Scores against independent sources: open_clip's and transformers' own pipelines, the hpsv2 package, and plain formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as transforms

from lib_rankopt.scorers import ScorerShelf
from tests.scorers import checkpoints
from tests.scorers.conftest import noise

PROMPTS = ("a red fox in the snow", "Two DOGS, oil painting, highly detailed!", "猫 on a chair", "very " * 90 + "long")
IMAGES = [noise(*size, seed) for seed, size in enumerate([(50, 50), (28, 28), (90, 40), (33, 71), (20, 20)])]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def cosines(model: Any, pixels: torch.Tensor, prompt: str) -> torch.Tensor:
    """By open_clip's own methods."""
    with torch.inference_mode():
        text = model.encode_text(open_clip.get_tokenizer("ViT-H-14")([prompt]), normalize=True)
        return (model.encode_image(pixels, normalize=True) * text).sum(-1)


def centre(image: Image.Image) -> torch.Tensor:
    """OpenAI's preprocessing by torchvision, on pictures."""
    scaled = transforms.resize(image, checkpoints.SIDE, transforms.InterpolationMode.BICUBIC)
    return transforms.normalize(transforms.to_tensor(transforms.center_crop(scaled, checkpoints.SIDE)), MEAN, STD)


def whole(image: Image.Image) -> torch.Tensor:
    """HPSv2's preprocessing by torchvision, on tensors."""
    pixels = transforms.to_tensor(image)
    height, width = pixels.shape[1:]
    scale = checkpoints.SIDE / max(height, width)
    inner = [round(side * scale) for side in (height, width)]
    pixels = transforms.resize(pixels, inner, transforms.InterpolationMode.BICUBIC, antialias=True)
    down, across = checkpoints.SIDE - inner[0], checkpoints.SIDE - inner[1]
    return transforms.normalize(transforms.pad(pixels, [across // 2, down // 2, across - across // 2, down - down // 2]), MEAN, STD)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(
    ("name", "seed", "quick", "prepare", "factor"),
    [
        ("hpsv2.1", 1, False, whole, 1.0),
        ("hpsv2", 2, False, whole, 1.0),
        ("hpsv1", 3, True, centre, 1.0),
        ("clip-h", 6, False, centre, 100.0),
    ],
)
def test_cosine_scorers_are_open_clips_cosines(
    shelf: ScorerShelf, name: str, seed: int, quick: bool, prepare: Any, factor: float, prompt: str
) -> None:
    model = checkpoints.open_clip_model(seed, quick)
    expected = factor * cosines(model, torch.stack([prepare(image) for image in IMAGES]), prompt)
    assert torch.allclose(shelf.get(name).score(IMAGES, prompt), expected, atol=1e-5 * factor)
    assert expected.std() > 0.02 * factor  # the comparison could fail


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """transformers' tokenizer of CLIP, from the vocabulary that open_clip ships."""
    import json

    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    ours = SimpleTokenizer()
    folder = tmp_path_factory.mktemp("tokenizer")
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    names = {special.get(word, word): number for word, number in ours.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(names), encoding="utf8")
    merges = [" ".join(pair) for pair, _ in sorted(ours.bpe_ranks.items(), key=lambda item: item[1])]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def image_processor() -> Any:
    """transformers' processor of pictures, the one that works on them and not on tensors."""
    import transformers

    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    side = checkpoints.SIDE
    return kind(size={"shortest_edge": side}, crop_size={"height": side, "width": side}, resample=Image.Resampling.BICUBIC)


@pytest.mark.parametrize("prompt", PROMPTS[:2] + PROMPTS[3:])
@pytest.mark.parametrize(("name", "seed", "act"), [("pickscore", 4, "gelu"), ("clip-l", 5, "quick_gelu")])
def test_weights_of_transformers_score_as_its_own_model(
    shelf: ScorerShelf, tokenizer: Any, name: str, seed: int, act: str, prompt: str
) -> None:
    model, processor = checkpoints.transformers_model(seed, act), image_processor()
    images = IMAGES if name == "pickscore" else [image for image in IMAGES if image.width == image.height]  # cropped to another pixel
    text = tokenizer(prompt, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        answer = model(pixel_values=pixels, input_ids=text["input_ids"], attention_mask=text["attention_mask"])
    expected = answer.logits_per_image[:, 0]  # exp(logit_scale) · cos, and logit_scale is log(100)
    assert torch.allclose(shelf.get(name).score(images, prompt), expected, atol=1e-3)
    assert expected.std() > 1.0


@pytest.mark.parametrize("name", ["hpsv2", "hpsv2.1"])
def test_hpsv2_is_what_its_own_package_says(shelf: ScorerShelf, name: str) -> None:
    """The published package's ``score`` on the same checkpoint; it cannot score what is as long as 224 px and not square, nor alpha.

    Under an old torchvision it scales without antialiasing, so there only pictures that need no scaling can agree.
    """
    pytest.importorskip("hpsv2", reason="the package hpsv2 is not installed (requirements/nodeps-dev.txt)")
    from lib_rankopt.scorers.hpsv2_package import antialiases

    images = IMAGES if antialiases() else [noise(checkpoints.SIDE, checkpoints.SIDE, seed) for seed in range(4)]
    for prompt in PROMPTS:
        theirs, ours = (shelf.get(one).score(images, prompt) for one in (f"{name}:package", name))
        assert torch.allclose(ours, theirs, atol=1e-4)
        assert theirs.std() > 0.01


def test_the_layout_of_transformers_is_the_published_one() -> None:
    names = set(checkpoints.transformers_model().state_dict())
    published = {
        "logit_scale", "text_projection.weight", "visual_projection.weight", "text_model.embeddings.token_embedding.weight",
        "text_model.encoder.layers.1.self_attn.q_proj.bias", "text_model.encoder.layers.0.mlp.fc1.weight",
        "text_model.final_layer_norm.bias",
        "vision_model.embeddings.class_embedding", "vision_model.embeddings.patch_embedding.weight", "vision_model.pre_layrnorm.weight",
        "vision_model.encoder.layers.1.layer_norm2.weight", "vision_model.post_layernorm.bias",
    }  # fmt: skip
    assert published <= names


def test_aesthetic_2_is_its_unfused_layers(shelf: ScorerShelf) -> None:
    layers = checkpoints.aesthetic_layers(7)
    clip = checkpoints.transformers_model(5, "quick_gelu")
    images = [image for image in IMAGES if image.width == image.height]
    with torch.inference_mode():
        found = clip.get_image_features(pixel_values=torch.stack([centre(image) for image in images]))
        embedded = getattr(found, "pooler_output", found)
        expected = layers(torch.nn.functional.normalize(embedded, dim=-1))[:, 0]
    assert torch.allclose(shelf.get("aesthetic2").score(images, ""), expected, atol=1e-5)
    assert expected.std() > 1e-3


def test_aesthetic_1_is_its_linear_layer(shelf: ScorerShelf) -> None:
    layer = checkpoints.seeded(torch.nn.Linear(checkpoints.EMBEDDING, 1), 8)
    clip = checkpoints.transformers_model(5, "quick_gelu")
    with torch.inference_mode():
        found = clip.get_image_features(pixel_values=centre(IMAGES[0])[None])
        expected = layer(torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1))[:, 0]
    assert torch.allclose(shelf.get("aesthetic1").score(IMAGES[:1], "any"), expected, atol=1e-5)


def test_the_same_weights_score_alike_in_both_layouts(tmp_path: Path) -> None:
    """transformers' names are only other names."""
    from lib_rankopt.scorers import clip_layouts
    from lib_rankopt.scorers.clip_tower import ClipTower

    theirs = checkpoints.save_transformers(tmp_path / "theirs.safetensors", checkpoints.transformers_model(9))
    model = checkpoints.open_clip_model(0)
    model.load_state_dict(clip_layouts.unified(checkpoints.tensors_of(checkpoints.transformers_model(9)), "test"))
    ours = checkpoints.save_open_clip(tmp_path / "ours.pt", model)
    pixels = torch.rand((3, 3, checkpoints.SIDE, checkpoints.SIDE), generator=torch.Generator().manual_seed(0))
    first, second = ClipTower(theirs, False), ClipTower(ours, False)
    assert torch.equal(first.images(pixels), second.images(pixels))
    assert torch.equal(first.texts(PROMPTS), second.texts(PROMPTS))
