"""The conformance suite over every optimiser of the registry."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from lib_rankopt.optimizers import create, names
from tests.optimizers import conformance
from tests.optimizers.conformance import SHAPE

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in names()),
    ("zo_ranksgd", {"line_search": False}),
]
# rounds, and standard deviations of a linear reward that the incumbent must gain; random search reaches about 2.5
CLIMBS = [
    ("rank_step", {}, 8, 3.5),
    ("zo_ranksgd", {}, 16, 3.0),
    ("zo_ranksgd", {"line_search": False}, 8, 3.0),
    ("cma", {}, 12, 2.5),
    ("random_search", {}, 8, 1.8),
]
# optimisers whose weights are antisymmetric, and the number of rounds after which the next answer moves them (CMA moves to
# its best half only: reversed, that is the other half, in independent directions)
DIRECTED = [("rank_step", {}, 2), ("zo_ranksgd", {"line_search": False}, 2)]


def maker(name: str, settings: dict[str, Any]) -> conformance.Maker:
    """Return ``make(seed=…)`` for one optimiser."""
    return partial(_make, name, settings)


def _make(name: str, settings: dict[str, Any], seed: int) -> Any:
    return create(name, SHAPE, seed, settings)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)
def test_promise(name: str, settings: dict[str, Any], check: Callable[[conformance.Maker], None]) -> None:
    check(maker(name, settings))


@pytest.mark.parametrize(("name", "settings", "rounds", "least"), CLIMBS, ids=str)
def test_improvement(name: str, settings: dict[str, Any], rounds: int, least: float) -> None:
    conformance.check_improvement(maker(name, settings), rounds, least)


@pytest.mark.parametrize(("name", "settings", "rounds"), DIRECTED, ids=str)
def test_inverted_ranking_reverses_the_step(name: str, settings: dict[str, Any], rounds: int) -> None:
    conformance.check_inversion(maker(name, settings), rounds)
