"""Scores in the parameters of the webui's images."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from lib_rankopt.errors import ModelError
from lib_rankopt.scorers import ScorerInfo
from tests.hosts.standin_webui import standin

IMAGE = Image.new("RGB", (8, 8), "red")


class Fixed:
    """Says one number, or raises."""

    def __init__(self, name: str, value: float, uses_prompt: bool = True, is_relative: bool = False) -> None:
        self.info = ScorerInfo(name, "1", "none", "none", uses_prompt, is_relative)
        self.value, self.prompts = value, list[str]()
        self.error: Exception | None = None

    def score(self, images: Any, prompts: Any) -> torch.Tensor:
        if self.error:
            raise self.error
        self.prompts.append(prompts)
        return torch.tensor([self.value] * len(images))

    def to(self, device: str) -> None: ...


@pytest.fixture
def scores() -> Iterator[Any]:
    with standin("shared", "paths", "ui_components") as modules:
        from lib_rankopt.hosts.webui import image_scores, surroundings

        shelf = surroundings.scorers()
        made = {name: Fixed(name, value) for name, value in (("first", 0.28714), ("second", -1.0))}
        for name, scorer in made.items():
            shelf.add(name, scorer)  # type: ignore[arg-type]
        modules.shared.opts.data["rankopt_scores"] = ["first", "second"]
        yield SimpleNamespace(done=image_scores.image_is_done, options=modules.shared.opts.data, shelf=shelf, **made)


class Processing(SimpleNamespace):
    """A processing object of a batch."""

    def __init__(self, *prompts: str) -> None:
        super().__init__(prompts=list(prompts), batch_index=0, extra_generation_params={"Score gone": 1, "Other": 2}, comments=[])

    def comment(self, text: str) -> None:
        self.comments.append(text)

    def entries(self, **named: Any) -> dict[str, Any]:
        return {name: value(**named) if callable(value) else value for name, value in self.extra_generation_params.items()}


def test_each_image_gets_its_scores_and_a_grid_none(scores: Any) -> None:
    p = Processing("a fox", "a dog")
    scores.done(p, IMAGE)
    assert p.entries() == {"Other": 2, "Score first": "0.2871", "Score second": "-1.0000"}
    assert p.entries(use_main_prompt=True) == {"Other": 2, "Score first": None, "Score second": None}
    p.batch_index = 1
    scores.done(p, IMAGE)
    assert scores.first.prompts == ["a fox", "a dog"]


def test_without_names_nothing_is_done(scores: Any) -> None:
    scores.options["rankopt_scores"] = []
    p = Processing("a fox")
    scores.done(p, IMAGE)
    assert p.entries() == {"Other": 2}


def test_an_empty_prompt_and_mere_ranks_have_no_score(scores: Any) -> None:
    scores.shelf.add("beauty", Fixed("beauty", 6.0, uses_prompt=False))
    scores.shelf.add("ranks", Fixed("ranks", 0.5, is_relative=True))
    scores.options["rankopt_scores"] = ["first", "beauty", "ranks"]
    p = Processing(" ")
    scores.done(p, IMAGE)
    assert p.entries() == {"Other": 2, "Score beauty": "6.0000"}


@pytest.mark.parametrize("error", [ModelError("its weights are damaged"), RuntimeError("strange")])
def test_a_scorer_in_trouble_costs_no_image_and_says_so_once(scores: Any, error: Exception) -> None:
    scores.first.error = error
    p = Processing("a fox", "a dog")
    scores.done(p, IMAGE)
    scores.done(p, IMAGE)
    assert p.entries() == {"Other": 2, "Score second": "-1.0000"}
    (comment,) = p.comments
    assert "No score of 'first'" in comment
    assert str(error) in comment


def test_missing_weights_are_named(scores: Any) -> None:
    scores.options["rankopt_scores"] = ["pickscore"]
    p = Processing("a fox")
    scores.done(p, IMAGE)
    assert "needs the file" in p.comments[0]
