"""Our tokenizer against open_clip's and transformers'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_rankopt.diffusion.tokenizer import ClipTokenizer, clip_tokenizer, tokenizer_from
from lib_rankopt.errors import ModelError
from tests.diffusion.tiny import write_tokenizer

TEXTS = [
    "",
    "a photo of a cat",
    "A PHOTO,of a   Cat!!! (masterpiece:1.2)\n\n new\tline",
    "it's they're we've I'm you'll he'd don't",
    "1234 5,678.90 3d render 8k uhd f/1.8 @50mm #art $5 100%",
    "café Ångström naïve Straße İstanbul",
    "猫と犬 кошка кот γάτα قطة ขาว",
    "emoji 🦊🎨 and 👩‍🚀 zwj",
    "hyphen-ated under_score a/b\\c <tag> {x|y} ~^`",
    "pneumonoultramicroscopicsilicovolcanoconiosis aaaaaaaaaaaaaaaaaaaaaa",
    "e\u0301 combining \u00a0 no-break\u2003space",
    "<|startoftext|> inside <|endoftext|>",
    ", , ,, .. ... ''' \"\"\"",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


def test_the_rebuilt_vocabulary_is_clips() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer.vocabulary) == 49408
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.comma_id) == (49406, 49407, 267)
    assert tokenizer.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]


@pytest.mark.parametrize("text", TEXTS)
def test_equals_transformers(text: str, folder: Path) -> None:
    from transformers import CLIPTokenizerFast

    reference = CLIPTokenizerFast.from_pretrained(str(folder))
    assert clip_tokenizer().encode(text) == reference(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", [t for t in TEXTS if "<|" not in t])
def test_equals_open_clip(text: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    assert clip_tokenizer().encode(text) == SimpleTokenizer().encode(text)


def test_a_folder_and_the_bundled_vocabulary_agree(folder: Path) -> None:
    theirs, ours = tokenizer_from(folder), clip_tokenizer()
    assert [theirs.encode(text) for text in TEXTS] == [ours.encode(text) for text in TEXTS]


@pytest.mark.parametrize("joined", [True, False])
def test_a_tokenizer_json_alone_will_do(joined: bool, folder: Path, tmp_path: Path) -> None:
    """transformers 5 saves nothing else; merges are strings in older files and pairs in newer ones."""
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    model = {"vocab": json.loads((folder / "vocab.json").read_text(encoding="utf-8"))}
    model["merges"] = lines if joined else [line.split() for line in lines]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    assert tokenizer_from(tmp_path).encode(TEXTS[2]) == clip_tokenizer().encode(TEXTS[2])


def test_padding_is_the_end_for_clip_and_zero_for_open_clip() -> None:
    assert clip_tokenizer().pad_id == 49407
    assert clip_tokenizer("!").pad_id == 0


def test_a_reduced_vocabulary_still_reads_any_text() -> None:
    whole = clip_tokenizer()
    letters = {piece: i for i, piece in enumerate(list(whole.vocabulary)[:512])}
    small = ClipTokenizer({**letters, "<|startoftext|>": 512, "<|endoftext|>": 513}, [])
    for text in TEXTS:
        tokens = small.encode(text)
        assert max(tokens, default=0) <= 513
        assert bool(tokens) == bool(text)
    assert small.end_id not in small.encode("кошка 🦊")


@pytest.mark.parametrize(
    "content", [None, "{", '{"model": {}}', '{"model": {"vocab": {"a": 0}, "merges": []}}']
)
def test_a_broken_folder_is_named(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=tmp_path.name):
        tokenizer_from(tmp_path)
