"""ImageReward on a small random checkpoint in the published layout, held against the published formula written out tensor by tensor."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.scorers import ScorerShelf, base, registry
from lib_rankopt.scorers.aesthetic import affine
from lib_rankopt.scorers.blip import Blip, BlipSizes
from tests.scorers.image_reward_file import DEPTH, PATCH, SIDE, TEXT, VISION, WORDS, published, small, write

LONG = "a painting of red foxes in the snow, oil, by a lake near the castle. " * 3
PROMPTS = ["a red fox", "Castle by the LAKE, oil painting", "snow", LONG]


def pictures() -> list[Image.Image]:
    """Smooth ones with edges: wide, high, square."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for width, height in ((70, 50), (41, 90), (32, 32), (64, 64)):
        coarse = (torch.rand((6, 6, 3), generator=generator) * 255).byte().numpy()
        found.append(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST))
    return found


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> base.Scorer:
    return write(tmp_path_factory.mktemp("imagereward")).get("imagereward")


# ------------------------------------------------------------------------------------------------ the formula, written out


def tokens_of(prompt: str) -> list[int]:
    """WordPiece: the longest known beginning first; an unknown word is one [UNK]."""
    numbers = []
    for word in re.findall(r"\w+|[^\w\s]", prompt.lower()):
        parts, first = [], 0
        while first < len(word):
            fits = [end for end in range(len(word), first, -1) if ("##" if first else "") + word[first:end] in WORDS]
            if not fits:
                parts = ["[UNK]"]
                break
            parts.append(("##" if first else "") + word[first : fits[0]])
            first = fits[0]
        numbers += [WORDS.index(part) for part in parts]
    return [2, *numbers[:33], 3]


def expected(tensors: dict[str, Tensor], image: Image.Image, prompt: str) -> float:
    """The score in float64, one picture and one prompt, without any padding."""
    t = {name: tensor.double() for name, tensor in tensors.items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(name: str, x: Tensor, eps: float) -> Tensor:
        deviation = (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]

    def gelu(x: Tensor) -> Tensor:
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads = []
        for first in range(0, query.shape[-1], 64):
            part = slice(first, first + 64)
            heads.append((query[:, part] @ key[:, part].T / 8).softmax(-1) @ value[:, part])
        return torch.cat(heads, -1)

    width, height = image.size
    scale = SIDE / min(width, height)
    scaled = image.resize((SIDE, int(height * scale)) if width <= height else (int(width * scale), SIDE), Image.Resampling.BICUBIC)
    left, top = round((scaled.width - SIDE) / 2), round((scaled.height - SIDE) / 2)
    seen_part = scaled.crop((left, top, left + SIDE, top + SIDE)).tobytes()
    pixels = torch.tensor(list(seen_part), dtype=torch.float64).reshape(SIDE, SIDE, 3) / 255
    pixels = (pixels - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor([0.26862954, 0.26130258, 0.27577711])

    v = "blip.visual_encoder"
    cells = [pixels[y : y + PATCH, x : x + PATCH].permute(2, 0, 1).flatten() for y in range(0, SIDE, PATCH) for x in range(0, SIDE, PATCH)]
    x = torch.stack(cells) @ t[f"{v}.patch_embed.proj.weight"].flatten(1).T + t[f"{v}.patch_embed.proj.bias"]
    x = torch.cat([t[f"{v}.cls_token"][0], x]) + t[f"{v}.pos_embed"][0]
    for layer in range(DEPTH):
        block = f"{v}.blocks.{layer}"
        query, key, value = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x, 1e-6)).split(VISION, -1)
        x = x + linear(f"{block}.attn.proj", attention(query, key, value))
        x = x + linear(f"{block}.mlp.fc2", gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x, 1e-6))))
    seen = norm(f"{v}.norm", x, 1e-6)

    e = "blip.text_encoder.embeddings"
    numbers = tokens_of(prompt)
    x = t[f"{e}.word_embeddings.weight"][numbers] + t[f"{e}.position_embeddings.weight"][: len(numbers)]
    x = norm(f"{e}.LayerNorm", x, 1e-12)
    for layer in range(DEPTH):
        block = f"blip.text_encoder.encoder.layer.{layer}"
        for kind in ("attention", "crossattention"):
            other = x if kind == "attention" else seen
            own = f"{block}.{kind}.self"
            found = attention(linear(f"{own}.query", x), linear(f"{own}.key", other), linear(f"{own}.value", other))
            x = norm(f"{block}.{kind}.output.LayerNorm", x + linear(f"{block}.{kind}.output.dense", found), 1e-12)
        hidden = gelu(linear(f"{block}.intermediate.dense", x))
        x = norm(f"{block}.output.LayerNorm", x + linear(f"{block}.output.dense", hidden), 1e-12)

    answer = x[0]
    for place in (0, 2, 4, 6, 7):
        answer = linear(f"mlp.layers.{place}", answer)
    return (float(answer) - 0.16717362830052426) / 1.0333394966054072


# ------------------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize("prompt", PROMPTS)
def test_scores_are_those_of_the_formula(scorer: base.Scorer, prompt: str) -> None:
    found = scorer.score(pictures(), prompt)
    wanted = torch.tensor([expected(small(), image, prompt) for image in pictures()])
    assert torch.allclose(found, wanted, atol=2e-5, rtol=0), (found - wanted).abs().max()
    assert float(found.max() - found.min()) > 0.05  # the pictures matter


def test_prompts_of_different_lengths_go_through_together(scorer: base.Scorer) -> None:
    images = [pictures()[0]] * len(PROMPTS)
    found = scorer.score(images, PROMPTS)
    wanted = torch.tensor([expected(small(), image, prompt) for image, prompt in zip(images, PROMPTS, strict=True)])
    assert torch.allclose(found, wanted, atol=2e-5, rtol=0)
    assert float(found.max() - found.min()) > 0.05  # the prompts matter
    assert len(tokens_of(LONG)) == 35


def test_what_follows_the_33rd_word_is_cut(scorer: base.Scorer) -> None:
    image = pictures()[:1]
    begun = "fox " * 33
    assert torch.equal(scorer.score(image, begun + "red snow"), scorer.score(image, begun))
    assert not torch.equal(scorer.score(image, "fox " * 32 + "red"), scorer.score(image, begun))


def test_a_batch_gives_what_one_by_one_does_and_the_same_again(scorer: base.Scorer) -> None:
    images = pictures()
    together = scorer.score(images, PROMPTS)
    single = torch.cat([scorer.score([image], prompt) for image, prompt in zip(images, PROMPTS, strict=True)])
    assert torch.allclose(together, single, atol=1e-5, rtol=0)
    assert torch.equal(together, scorer.score(images, PROMPTS))


def test_two_loads_agree_and_safetensors_say_the_same(tmp_path: Path, scorer: base.Scorer) -> None:
    shelf = write(tmp_path)
    (tmp_path / "scorers" / "ImageReward.pt").unlink()
    save_file(small(), tmp_path / "scorers" / "ImageReward.safetensors", {"rankopt_random": "yes"})
    other = shelf.get("imagereward")
    assert torch.equal(other.score(pictures(), "a red fox"), scorer.score(pictures(), "a red fox"))
    assert other.info.warning
    assert not scorer.info.warning


def test_its_record(scorer: base.Scorer) -> None:
    assert scorer.info.name == "imagereward"
    assert re.fullmatch(r"1-[0-9a-f]{8}", scorer.info.version)
    assert "−2 to 2" in scorer.info.scale
    assert f"{SIDE} px" in scorer.info.preprocessing
    assert scorer.info.uses_prompt
    assert not scorer.info.is_relative


def test_an_empty_prompt_is_refused(scorer: base.Scorer) -> None:
    with pytest.raises(InvalidInputError, match="prompt 2 is empty"):
        scorer.score(pictures()[:2], ["a red fox", "  "])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_on_an_accelerator_and_back(tmp_path: Path) -> None:
    scorer = write(tmp_path).get("imagereward")
    before = scorer.score(pictures(), PROMPTS)
    scorer.to("cuda")
    assert torch.allclose(scorer.score(pictures(), PROMPTS), before, atol=0.05 * float(before.std()))
    scorer.to("cpu")
    assert torch.equal(scorer.score(pictures(), PROMPTS), before)


# ------------------------------------------------------------------------------------------------ layout


def unused(name: str) -> bool:
    return bool(re.match(r"blip\.(vision|text)_proj\.", name)) or name.endswith("position_ids")


def used_shapes(sizes: BlipSizes) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {f"blip.{name}": tuple(tensor.shape) for name, tensor in Blip(sizes).state_dict().items()}


def test_names_and_shapes_are_the_published_ones() -> None:
    wanted = published((3, 2), 128, 64, (512, 320), 16, 48, 99)
    found = used_shapes(BlipSizes(48, 16, 128, 3, 512, 99, 512, 64, 2, 320))
    assert found == {name: shape for name, shape in wanted.items() if not unused(name) and not name.startswith("mlp.")}


def test_the_real_model_has_the_published_sizes() -> None:
    """ViT-L/16 at 224 and BERT base: 625 tensors in the file, 610 of them in the two towers."""
    wanted = published((24, 12), 1024, 768, (4096, 3072), 16, 224, 30524)
    found = used_shapes(BlipSizes(224, 16, 1024, 24, 4096, 30524, 512, 768, 12, 3072))
    assert found == {name: shape for name, shape in wanted.items() if not unused(name) and not name.startswith("mlp.")}
    assert (len(wanted), len(found)) == (625, 610)
    shapes = {
        "visual_encoder.cls_token": (1, 1, 1024),
        "visual_encoder.pos_embed": (1, 197, 1024),
        "visual_encoder.patch_embed.proj.weight": (1024, 3, 16, 16),
        "visual_encoder.blocks.23.attn.qkv.weight": (3072, 1024),
        "visual_encoder.blocks.23.mlp.fc1.weight": (4096, 1024),
        "visual_encoder.norm.bias": (1024,),
        "text_encoder.embeddings.word_embeddings.weight": (30524, 768),
        "text_encoder.embeddings.position_embeddings.weight": (512, 768),
        "text_encoder.encoder.layer.11.attention.self.key.weight": (768, 768),
        "text_encoder.encoder.layer.11.crossattention.self.key.weight": (768, 1024),
        "text_encoder.encoder.layer.11.crossattention.self.query.weight": (768, 768),
        "text_encoder.encoder.layer.11.intermediate.dense.weight": (3072, 768),
        "text_encoder.encoder.layer.0.output.dense.weight": (768, 3072),
    }
    assert {name: found[f"blip.{name}"] for name in shapes} == shapes


def test_the_norms_have_the_published_epsilons() -> None:
    """They are too small to be seen in scores of random weights."""
    network = Blip(BlipSizes(SIDE, PATCH, 64, 1, 64, 9, 40, 64, 1, 64))
    norms = {name: module.eps for name, module in network.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert len(norms) == 7
    assert norms == {name: 1e-6 if name.startswith("visual_encoder.") else 1e-12 for name in norms}


def test_the_head_multiplied_out_is_the_head() -> None:
    head = {name: tensor for name, tensor in small().items() if name.startswith("mlp.")}
    weight, bias = affine(head, [f"mlp.layers.{place}." for place in (0, 2, 4, 6, 7)], "here")
    states = torch.randn((5, TEXT), generator=torch.Generator().manual_seed(2))
    x = states.double()
    for place in (0, 2, 4, 6, 7):
        x = x @ head[f"mlp.layers.{place}.weight"].double().T + head[f"mlp.layers.{place}.bias"].double()
    assert torch.allclose(states @ weight + bias, x[:, 0].float(), atol=1e-4, rtol=1e-5)


def test_what_the_score_does_not_use_may_be_left_out(tmp_path: Path, scorer: base.Scorer) -> None:
    shelf = write(tmp_path, {name: tensor for name, tensor in small().items() if not unused(name)})
    assert torch.equal(shelf.get("imagereward").score(pictures(), "snow"), scorer.score(pictures(), "snow"))


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "name",
    [
        "blip.visual_encoder.patch_embed.proj.weight",
        "blip.visual_encoder.blocks.0.norm1.bias",
        "blip.text_encoder.encoder.layer.1.crossattention.self.key.weight",
        "mlp.layers.4.bias",
    ],
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    tensors = small()
    del tensors[name]
    with pytest.raises(ModelError, match=rf"ImageReward\.pt: '{re.escape(name)}' is missing"):
        write(tmp_path, tensors).get("imagereward")


def test_a_layer_left_out_in_between_is_named(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in small().items() if ".layer.0." not in name or "intermediate.dense.weight" in name}
    with pytest.raises(ModelError, match=r"'blip\.text_encoder\.encoder\.layer\.0\.attention\.[a-zA-Z.]+' is missing, and 24 more"):
        write(tmp_path, tensors).get("imagereward")


@pytest.mark.parametrize("name", ["blip.itm_head.weight", "blip.text_encoder.pooler.dense.weight", "mlp.layers.1.weight", "logit_scale"])
def test_an_unexpected_tensor_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=rf"'{re.escape(name)}' is not expected"):
        write(tmp_path, {**small(), name: torch.zeros(2, 2)}).get("imagereward")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("blip.visual_encoder.patch_embed.proj.weight", (VISION, 3 * PATCH * PATCH)),
        ("blip.visual_encoder.pos_embed", (1, 16, VISION)),
        ("blip.visual_encoder.blocks.1.attn.qkv.weight", (VISION, VISION)),
        ("blip.text_encoder.encoder.layer.0.crossattention.self.value.weight", (TEXT, TEXT)),
        ("mlp.layers.2.weight", (128, 1000)),
        ("mlp.layers.0.weight", (1024, TEXT + 1)),
    ],
)
def test_a_wrong_shape_is_named(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=re.escape(name)):
        write(tmp_path, {**small(), name: torch.zeros(shape)}).get("imagereward")


def test_without_the_weights_or_the_vocabulary_the_message_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_rankopt.scorers.weights._cached", lambda repo, file: None)
    with pytest.raises(ModelError, match=r"needs the file ImageReward\.\w+ .*THUDM/ImageReward.*--download imagereward"):
        ScorerShelf([tmp_path]).get("imagereward")
    shelf = write(tmp_path)
    (tmp_path / "scorers" / "bert-base-uncased" / "vocab.txt").unlink()
    with pytest.raises(ModelError, match=r"needs the file .*vocab\.txt .*Put it into .*scorers .*google-bert/"):
        shelf.get("imagereward")


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"vocab\.txt: has {len(WORDS) - 1} words, and the model learnt with {len(WORDS)}"):
        write(tmp_path / "shorter", words=WORDS[:-1]).get("imagereward")
    with pytest.raises(ModelError, match=r"vocab\.txt: has no '\[CLS\]'"):
        write(tmp_path / "other", words=[word for word in WORDS if word != "[CLS]"] + ["more"]).get("imagereward")
    shelf = write(tmp_path / "broken")
    (tmp_path / "broken" / "scorers" / "bert-base-uncased" / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"vocab\.txt: cannot be read"):
        shelf.get("imagereward")


def test_the_registry_knows_its_files() -> None:
    weights, vocabulary = registry.files("imagereward")
    assert weights.source == "https://huggingface.co/THUDM/ImageReward/blob/main/ImageReward.pt"
    assert vocabulary.source == "https://huggingface.co/google-bert/bert-base-uncased/blob/main/vocab.txt"
