"""Optimisers: ask for latents, tell what was preferred. See :mod:`.base` for the contract.

optimizer = create("rank_step", shape=(4, 64, 64), seed=1)
proposals = optimizer.ask(8)
optimizer.tell(RoundFeedback(size=8, rankings=(((2,), (0, 5)),)))
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..errors import InvalidInputError, NotFoundError
from .base import (
    Optimizer,
    OptimizerSettings,
    OptimizerState,
    Proposal,
    RoundFeedback,
    Scores,
    Tiers,
)
from .cma import CMA
from .random_search import RandomSearch
from .rank_step import RankStep
from .zo_ranksgd import ZORankSGD

__all__ = [
    "Optimizer",
    "OptimizerSettings",
    "OptimizerState",
    "Proposal",
    "RoundFeedback",
    "Scores",
    "Tiers",
    "create",
    "names",
    "settings_type",
]

_REGISTRY: dict[str, type[Optimizer]] = {
    "rank_step": RankStep,
    "zo_ranksgd": ZORankSGD,
    "cma": CMA,
    "random_search": RandomSearch,
}


def names() -> list[str]:
    """Return the names of all optimisers, the default one first."""
    return list(_REGISTRY)


def settings_type(name: str) -> type[OptimizerSettings]:
    """Return the settings dataclass of an optimiser.

    Raises:
        NotFoundError: no optimiser has that name.
    """
    return _find(name).settings_type


def create(name: str, shape: tuple[int, int, int], seed: int, settings: dict[str, Any] | None = None) -> Optimizer:
    """Build an optimiser from plain values, as a study stores them.

    Args:
        name: one of :func:`names`.
        shape: latent shape ``(C, h, w)``.
        seed: 0 … 2⁶³−1.
        settings: values that differ from the defaults.

    Raises:
        NotFoundError: no optimiser has that name.
        InvalidInputError: an unknown setting, or a value out of its range.
        MissingDependencyError: the optimiser needs a package that is not installed.
    """
    kind = _find(name)
    given = dict(settings or {})
    known = [f.name for f in fields(kind.settings_type)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInputError(f"{name} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return kind(shape, seed, kind.settings_type(**given))


def _find(name: str) -> type[Optimizer]:
    if name not in _REGISTRY:
        raise NotFoundError(f"there is no optimiser {name!r}; choose one of {', '.join(_REGISTRY)}")
    return _REGISTRY[name]
