"""What is particular to ZO-RankSGD."""

from __future__ import annotations

from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.optimizers import create
from tests.optimizers.conformance import SHAPE


@pytest.mark.parametrize("name", ["line_search", "renormalize"])
@pytest.mark.parametrize("value", ["False", "true", 0, 1, None])
def test_switches_take_nothing_but_true_and_false(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be true or false, not {value!r}"):
        create("zo_ranksgd", SHAPE, 1, {name: value})


@pytest.mark.parametrize("name", ["mu", "step", "shrink"])
@pytest.mark.parametrize("value", ["0.5", True, None, float("nan"), float("inf"), -1.0])
def test_numbers_take_nothing_but_numbers(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be a number"):
        create("zo_ranksgd", SHAPE, 1, {name: value})
