"""Prompt syntax, chunks and conditioning."""

from __future__ import annotations

import pytest
import torch

from lib_rankopt.diffusion.conditioning import emphasise, encode_prompts
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.prompts import Span, chunks, empty_chunk, parse
from lib_rankopt.diffusion.tokenizer import clip_tokenizer
from lib_rankopt.errors import InvalidInputError
from tests.diffusion.test_loading import small_model

SIZE = (64, 64)


def spans(prompt: str) -> list[tuple[str | None, float]]:
    return [(span.text, round(span.weight, 4)) for span in parse(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1)]),
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("un) balanced]", [("un) balanced]", 1)]),
        (r"\(literal\] \\", [("(literal] \\", 1)]),
        ("(a:1.5)", [("a", 1.5)]),
        ("(a:.5) (b: -2 )", [("a", 0.5), (" ", 1), ("b", -2)]),
        ("ratio 3:4, (a:b)", [("ratio 3:4, ", 1), ("a:b", 1.1)]),
        ("((deep)) [shallow]", [("deep", 1.21), (" ", 1), ("shallow", 0.9091)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
        ("a BREAK b", [("a", 1), (None, 1), ("b", 1)]),
        ("(a BREAK b:2)", [("a", 2), (None, 1), ("b", 2)]),
        ("BREAKFAST", [("BREAKFAST", 1)]),
        ("a:1.5) b", [("a:1.5) b", 1)]),
    ],
)
def test_emphasis_reads_as_in_the_webui(prompt: str, expected: list[tuple[str | None, float]]) -> None:
    assert spans(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        ("a (fox:1001)", "'fox' comes to 1001,"),
        ("(fox:-1000.5)", "'fox' comes to -1000.5,"),
        ("((fox:500):3) (cat:2)", "'fox' comes to 1500,"),
        ("(" * 80 + "fox", "'fox' comes to 2048.4,"),
        ("(" * 9000 + "fox", "'fox' comes to inf,"),
        (f"(fox:{'9' * 400})", "'fox' comes to inf,"),
        (f"((fox:{'9' * 400}):0)", "'fox' comes to nan,"),
    ],
)
def test_wild_weights_are_refused(prompt: str, seen: str) -> None:
    with pytest.raises(InvalidInputError, match=f"negative_prompt: the emphasis of {seen} but must be from -1000 to 1000"):
        parse(prompt, "negative_prompt")


def test_weights_at_the_limit_pass() -> None:
    assert spans("(a:1000) ((b:2000):-.5) [(c:1050)]") == [
        ("a", 1000), (" ", 1), ("b", -1000), (" ", 1), ("c", 954.5455),
    ]  # fmt: skip


def test_a_span_is_a_value() -> None:
    assert parse("x") == [Span("x", 1.0)]


def test_a_chunk_has_start_end_and_padding() -> None:
    tokenizer = clip_tokenizer()
    (chunk,) = chunks("a (cat:1.3)", tokenizer)
    assert chunk.tokens[:5] == (49406, 320, 2368, 49407, 49407)
    assert chunk.weights[:5] == (1, 1, 1.3, 1, 1)
    assert len(chunk.tokens) == len(chunk.weights) == 77
    assert chunks("", clip_tokenizer("!")) == [empty_chunk(clip_tokenizer("!"))]
    assert empty_chunk(clip_tokenizer("!")).tokens[:4] == (49406, 49407, 0, 0)


@pytest.mark.parametrize(
    ("words", "expected"), [(0, 1), (1, 1), (75, 1), (76, 2), (150, 2), (151, 3), (2000, 27)]
)
def test_long_prompts_are_cut_every_75_tokens(words: int, expected: int) -> None:
    made = chunks(" ".join(["cat"] * words), clip_tokenizer())
    assert len(made) == expected
    assert sum(chunk.tokens.count(2368) for chunk in made) == words
    assert all(len(chunk.tokens) == 77 for chunk in made)


def test_a_break_starts_a_chunk_even_when_nothing_follows() -> None:
    assert len(chunks("a cat BREAK", clip_tokenizer())) == 1
    assert len(chunks("a cat BREAK BREAK dog", clip_tokenizer())) == 3
    assert len(chunks("BREAK dog", clip_tokenizer())) == 2


def test_a_short_phrase_at_the_end_moves_whole_into_the_next_chunk() -> None:
    tokenizer = clip_tokenizer()
    first, second = chunks(" ".join(["cat"] * 70) + ", " + " ".join(["dog"] * 10), tokenizer)
    assert first.tokens.count(tokenizer.encode("dog")[0]) == 0
    assert second.tokens.count(tokenizer.encode("dog")[0]) == 10


def test_a_long_phrase_is_cut_where_the_chunk_ends() -> None:
    tokenizer = clip_tokenizer()
    first, _ = chunks(" ".join(["cat"] * 40) + ", " + " ".join(["dog"] * 50), tokenizer)
    assert first.tokens.count(tokenizer.encode("dog")[0]) == 34


def test_emphasis_keeps_the_mean() -> None:
    context = torch.randn((77, 32), generator=torch.Generator().manual_seed(0)) + 0.3
    weights = torch.ones(77)
    weights[3] = 1.5
    weighted = emphasise(context, weights)
    assert weighted.mean().item() == pytest.approx(context.mean().item(), rel=1e-4)
    ratio = weighted / context
    torch.testing.assert_close(ratio[3] / ratio[4], torch.full((32,), 1.5))
    assert torch.equal(emphasise(context, torch.ones(77)), context)


@pytest.mark.parametrize("where", ["before", "after"])
def test_emphasis_survives_a_mean_of_zero(where: str) -> None:
    """The webui divides by it and ends in not-a-number."""
    context = torch.randn((77, 32), generator=torch.Generator().manual_seed(0))
    context = context - context.mean(dim=1, keepdim=True)
    weights = torch.ones(77)
    weights[3] = 1.5
    if where == "after":
        context[4] += 1.0
        weights[4] = 0.0
    weighted = emphasise(context, weights)
    assert torch.isfinite(weighted).all()
    assert weighted.abs().max() < 10
    torch.testing.assert_close(weighted[3], context[3] * 1.5)


def test_both_prompts_get_as_many_chunks(tiny_model: StableDiffusion) -> None:
    cond, uncond = encode_prompts(tiny_model, " ".join(["cat"] * 100), "dog", SIZE)
    assert cond.context.shape == uncond.context.shape == (1, 154, 32)
    _, empty = encode_prompts(tiny_model, "x", "", SIZE)
    torch.testing.assert_close(uncond.context[:, 77:], empty.context)


def test_chunks_are_encoded_one_by_one(tiny_model: StableDiffusion) -> None:
    cond, _ = encode_prompts(tiny_model, "a cat BREAK a dog", "", SIZE)
    parts = [encode_prompts(tiny_model, prompt, "", SIZE)[0].context for prompt in ("a cat", "a dog")]
    torch.testing.assert_close(cond.context, torch.cat(parts, dim=1))


def test_clip_skip_takes_an_earlier_layer_and_norms_it(tiny_model: StableDiffusion) -> None:
    encoder = tiny_model.text_encoders[0]
    inner = getattr(encoder, "text_model", encoder)
    seen: list[torch.Tensor] = []
    handle = inner.encoder.layers[-2].register_forward_hook(
        lambda _module, _args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    cond, _ = encode_prompts(tiny_model, "a cat", "", SIZE, clip_skip=2)
    handle.remove()
    torch.testing.assert_close(cond.context, inner.final_layer_norm(seen[0].reshape(1, 77, 32)))
    last, _ = encode_prompts(tiny_model, "a cat", "", SIZE, clip_skip=1)
    assert (cond.context - last.context).abs().max() > 0.01


def test_sdxl_joins_both_encoders_and_knows_the_size() -> None:
    model = small_model("sdxl")
    cond, uncond = encode_prompts(model, "a cat", "dog", (128, 64))
    assert cond.context.shape == (1, 77, 32 + 64)
    assert cond.pooled is not None
    assert cond.pooled.shape == (1, 64)
    assert cond.time_ids is not None
    assert cond.time_ids.tolist() == [[64, 128, 0, 0, 64, 128]]
    assert uncond.context.abs().sum() > 0
    _, nothing = encode_prompts(model, "a cat", "", (128, 64))
    assert nothing.pooled is not None
    assert nothing.context.abs().sum() == nothing.pooled.abs().sum() == 0


def test_sdxls_first_encoder_gives_its_last_layer_but_one_without_norm() -> None:
    model = small_model("sdxl")
    encoder = model.text_encoders[0]
    inner = getattr(encoder, "text_model", encoder)
    seen: list[torch.Tensor] = []
    handle = inner.encoder.layers[-2].register_forward_hook(
        lambda _module, _args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    cond, _ = encode_prompts(model, "a cat", "dog", SIZE)
    handle.remove()
    torch.testing.assert_close(cond.context[..., :32], seen[0].reshape(1, 77, 32))
