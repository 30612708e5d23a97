"""Generation parameters taken apart."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_rankopt.store.infotext import about, parse

WEBUI = (
    "a fox, (red:1.2) <lora:x:0.8>\nsecond line\n"
    "Negative prompt: blurry\nlow quality\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 123456789012, Size: 512x768, Model hash: 6ce0161689, "
    'Model: v1-5-pruned, VAE hash: abc, Clip skip: 2, Lora hashes: "x: 1a, y: 2b", Note: "said: \\"yes\\", twice", Version: v1.10.1'
)


def test_the_webuis_own() -> None:
    info = parse(WEBUI)
    assert info.prompt == "a fox, (red:1.2) <lora:x:0.8>\nsecond line"
    assert info.negative_prompt == "blurry\nlow quality"
    assert about(info) == {
        "negative_prompt": "blurry\nlow quality",
        "steps": 20,
        "sampler": "DPM++ 2M",
        "scheduler": "Karras",
        "cfg_scale": 7.5,
        "seed": 123456789012,
        "size": "512x768",
        "model_hash": "6ce0161689",
        "model": "v1-5-pruned",
        "clip_skip": 2,
        "version": "v1.10.1",
        "parameters": {"VAE hash": "abc", "Lora hashes": "x: 1a, y: 2b", "Note": 'said: "yes", twice'},
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("just a prompt, with commas: and colons", {}),
        ("p\nSteps: many, Seed: 1e999, CFG scale: nan", {"parameters": {"Steps": "many", "Seed": "1e999", "CFG scale": "nan"}}),
        ("p\nSteps: 5, Steps: 6, steps: 7", {"steps": 6, "parameters": {"steps": "7"}}),
        ('p\nSteps: 5, A: "never closed, B: 2', {"steps": 5, "parameters": {"A": '"never closed, B: 2'}}),
        ('p\nSteps: 5, Say "x": 3, , :, ::', {"steps": 5, "parameters": {'Say "x"': "3"}}),
        ("p\nSteps: " + "9" * 5000, {"parameters": {"Steps": "9" * 5000}}),
        (json.dumps({"prompt": "p", "negative_prompt": "n", "seed": 3, "models": [1]}), {"negative_prompt": "n", "seed": 3}),
        ("{red|blue} fox", {}),
        ("[" * 10_000, {}),
    ],
)
def test_odd_ones(text: str, found: dict[str, object]) -> None:
    assert about(parse(text)) == found


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(['"', "\\", ",", ":", "\n", "Steps", "Negative prompt:", "a", " ", "{", "}", "1", "\r\n"]), max_size=30))
def test_any_text_gives_something(parts: list[str]) -> None:
    info = parse("".join(parts))
    json.dumps(about(info), allow_nan=False)
    assert info.prompt == info.prompt.strip()


@pytest.mark.parametrize("sign", ['"', '\\"', ',"', "a", "a:", ': "', "\n", "\nSteps:", "Negative prompt:\n", "{"])
def test_a_mebibyte_takes_no_time(sign: str) -> None:
    start = time.perf_counter()
    parse("p\nSteps: 1, A: " + sign * ((1 << 20) // len(sign)))
    assert time.perf_counter() - start < 3
