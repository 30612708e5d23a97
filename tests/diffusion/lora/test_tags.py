"""The prompt's tags, as the webui reads them."""

from __future__ import annotations

import pytest

from lib_rankopt.diffusion.lora.tags import LoraTag, refuse, split
from lib_rankopt.errors import InvalidInputError


@pytest.mark.parametrize(
    ("tag", "name", "te", "unet"),
    [
        ("<lora:fox>", "fox", 1.0, 1.0),
        ("<lora:fox:0.8>", "fox", 0.8, 0.8),
        ("<lyco:fox:0.8>", "fox", 0.8, 0.8),
        ("<lora:fox:0.5:0.8>", "fox", 0.5, 0.8),
        ("<lora:fox:te=0.5:unet=0.8>", "fox", 0.5, 0.8),
        ("<lora:fox:unet=0.8:te=0.5>", "fox", 0.5, 0.8),
        ("<lora:fox:te=0.5>", "fox", 0.5, 0.5),
        ("<lora:fox:unet=0.5>", "fox", 1.0, 0.5),
        ("<lora:fox:0.7:te=0.5>", "fox", 0.5, 0.5),
        ("<lora:fox:0.7:0.6:te=0.5>", "fox", 0.5, 0.6),
        ("<lora:fox:0.7:unet=0.6>", "fox", 0.7, 0.6),
        ("<lora:fox:-1.5>", "fox", -1.5, -1.5),
        ("<lora:fox:0>", "fox", 0.0, 0.0),
        ("<lora:fox: .5 >", "fox", 0.5, 0.5),
        ("<lora:my fox (v1.2) ü:1e-1>", "my fox (v1.2) ü", 0.1, 0.1),
    ],
)
def test_a_tag_is_read_as_the_webui_reads_it(tag: str, name: str, te: float, unet: float) -> None:
    assert split(f"a {tag} cat") == ("a  cat", (LoraTag(tag, name, te, unet),))


def test_several_tags_keep_their_order_and_leave_the_text() -> None:
    text, tags = split("<lora:b>(a cat:1.2)<lyco:a:0.5>, [sitting]<lora:b:2>")
    assert text == "(a cat:1.2), [sitting]"
    assert [(tag.name, tag.unet) for tag in tags] == [("b", 1.0), ("a", 0.5), ("b", 2.0)]


@pytest.mark.parametrize("text", ["", "a <cat>", "x<lora", "<lora>", "<flora:a:1>", "<3:1>", "a < b: c > d", "(fox:1.2)"])
def test_other_text_is_left_alone(text: str) -> None:
    assert split(text) == (text, ())
    refuse(text, "negative_prompt")


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("<hypernet:x:1>", "extra network"),
        ("<LoRA:x:1>", "extra network"),
        ("<lora:>", "names no LoRA"),
        ("<lora: :1>", "names no LoRA"),
        ("<lora:x:one>", "the weight 'one'.*from -100 to 100"),
        ("<lora:x:0,8>", "the weight '0,8'"),
        ("<lora:x:>", "the weight ''"),
        ("<lora:x:nan>", "the weight 'nan'"),
        ("<lora:x:te=inf>", "the weight 'inf'"),
        ("<lora:x:1:-101>", "the weight '-101'"),
        ("<lora:x:1:1:8>", "a third number"),
        ("<lora:x:dyn=8>", "dyn="),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_tag(tag: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^prompt: {tag} .*{said}"):
        split(f"a {tag} cat", "prompt")


@pytest.mark.parametrize("tag", ["<lora:style:0.8>", "<lyco:x:1>", "<hypernet:x:1>", "<lora:>"])
def test_the_negative_prompt_takes_none(tag: str) -> None:
    with pytest.raises(InvalidInputError, match=f"negative_prompt: {tag} would be read as words"):
        refuse(f"a cat {tag} sitting", "negative_prompt")
