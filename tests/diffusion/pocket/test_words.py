"""Captions and what is read from them."""

import pytest

from lib_rankopt.diffusion import pocket


def test_every_full_caption_is_read_back():
    for concept in pocket.CONCEPTS:
        for style in pocket.STYLES:
            for background in pocket.BACKGROUNDS:
                text = pocket.caption(concept, style, background)
                assert pocket.parse_caption(text) == (concept, style, background)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a 3d fox on a blue background", ("fox", "3d", "blue")),
        ("A  Palm Tree, sticker", ("palm tree", "sticker", None)),
        ("cute apple on green", ("apple", None, "green")),
        ("a rose", ("rose", None, None)),
        ("red balloon", ("balloon", None, None)),
        ("a street in the rain", (None, None, None)),
        ("", (None, None, None)),
    ],
)
def test_prompts_are_read(prompt, expected):
    assert pocket.parse_caption(prompt) == expected


def test_partial_captions():
    assert pocket.caption("apple") == "an apple"
    assert pocket.caption("umbrella", "sticker") == "a sticker umbrella"
    assert pocket.caption(background="blue") == "a blue background"
    assert pocket.caption() == ""


def test_vocabulary_is_large_enough():
    assert len(set(pocket.CONCEPTS)) >= 100
    assert len(pocket.STYLES) >= 2
    assert len(pocket.BACKGROUNDS) >= 6
