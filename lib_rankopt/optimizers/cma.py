"""Separable CMA-ES fed ranks: the standard evolution strategy for many dimensions, as a peer.

Source: Ros and Hansen, "A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity" (PPSN 2008), as implemented
by the ``cma`` package (``CMA_diagonal``). It uses nothing but the order of the values it is told, so the negative rank weights of
:mod:`.ranking` serve as values. Its search points leave the shell as they please; only what is shown is put back on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MissingDependencyError
from . import ranking, shell
from ._protocol import RoundOptimizer, require
from .base import OptimizerSettings, OptimizerState, Proposal

_LEAST = 4  # the library's update needs at least three points


@dataclass(frozen=True)
class CMASettings(OptimizerSettings):
    """Settings of :class:`CMA`."""

    sigma: float = field(default=0.3, metadata={"help": "first step size, in latent standard deviations"})

    def __post_init__(self) -> None:
        require(self.sigma, "sigma", 1e-6, 10.0)


class CMA(RoundOptimizer):
    """Rank-fed sep-CMA-ES. Candidates that were not shown count as average.

    The first round fixes the population (at least 4): later rounds never hold more than that.
    """

    name = "cma"
    settings_type = CMASettings

    def __init__(self, shape: tuple[int, int, int], seed: int, settings: OptimizerSettings | None = None) -> None:
        super().__init__(shape, seed, settings)
        self._set = settings if isinstance(settings, CMASettings) else CMASettings()
        self._library = _load()
        self._start = shell.fresh(shape, self._rng)
        self._strategy: Any = None
        self._points: list[NDArray[np.float64]] = []
        self._unanswered: list[NDArray[np.float64]] | None = None
        self._learned = False

    def _randn(self, *size: int) -> NDArray[np.float64]:
        return np.asarray(torch.randn(size, generator=self._rng, dtype=torch.float32).double().numpy())

    def _propose(self, n: int) -> list[Proposal]:
        if self._strategy is None:
            self._strategy = self._new_strategy(n)
        if self._unanswered is not None:
            # two-point step-size adaptation shows both ends of the last move; asking took them out of the queue
            self._strategy.pop_injection_directions = list(self._unanswered)
        self._unanswered = list(self._strategy.pop_injection_directions)
        self._points = list(self._strategy.ask())
        return [Proposal(self._on_shell(point), "explore") for point in self._points[:n]]

    def _new_strategy(self, n: int) -> Any:
        options = {
            "popsize": max(n, _LEAST),
            "CMA_diagonal": True,
            "randn": self._randn,
            "seed": math.nan,  # so that the library leaves NumPy's global generator alone
            "verbose": -9,
        }
        start = self._start.flatten().double().numpy()
        return self._library.CMAEvolutionStrategy(start, self._set.sigma, options)

    def _on_shell(self, point: NDArray[np.float64]) -> Tensor:
        return shell.project(torch.from_numpy(np.ascontiguousarray(point)).reshape(self._shape))

    def _learn(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        weight = ranking.weights(answer)
        if answer.none_better or not weight.any():
            return
        with _global_rng_kept():
            unseen = len(self._points) - len(weight)
            self._strategy.tell(self._points, [-float(w) for w in weight] + [0.0] * unseen)
        self._unanswered = None
        self._learned = True

    @property
    def incumbent(self) -> Tensor | None:
        """The mean of the search distribution put on the shell, ``[C, h, w]``; ``None`` before the first preference."""
        return self._on_shell(self._strategy.mean) if self._learned else None

    def state(self) -> OptimizerState:
        """The present step size."""
        sigma = self._set.sigma if self._strategy is None else float(self._strategy.sigma)
        return OptimizerState(self._rounds, {"sigma": sigma})


@contextmanager
def _global_rng_kept() -> Iterator[None]:
    """Restore NumPy's global generator: the library's consistency check of the step size draws coordinates from it."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def _load() -> Any:
    """Return the ``cma`` module.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import cma
    except ImportError as error:
        raise MissingDependencyError("the cma optimiser needs the package cma: pip install cma") from error
    return cma
