"""Random search: fresh seeds every round, the best one kept. The control that every other optimiser has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import ranking, shell
from ._protocol import RoundOptimizer, favourite
from .base import OptimizerSettings, OptimizerState, Proposal


@dataclass(frozen=True)
class RandomSearchSettings(OptimizerSettings):
    """Random search has nothing to set."""


class RandomSearch(RoundOptimizer):
    """Best-of-N. From the second preference on, the incumbent takes one place of each round, so that one winner is left.

    :attr:`incumbent` is ``None`` until an answer prefers something.
    """

    name = "random_search"
    settings_type = RandomSearchSettings

    def __init__(self, shape: tuple[int, int, int], seed: int, settings: OptimizerSettings | None = None) -> None:
        super().__init__(shape, seed, settings)
        self._best: Tensor | None = None

    def _propose(self, n: int) -> list[Proposal]:
        head = [] if self._best is None else [Proposal(self._best, "incumbent")]
        return head + [Proposal(shell.fresh(self._shape, self._rng), "fresh") for _ in range(n - len(head))]

    def _learn(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        winner = favourite(proposals, answer)
        if winner is not None:
            self._best = proposals[winner].latent

    @property
    def incumbent(self) -> Tensor | None:
        """The best image so far, ``[C, h, w]``."""
        return self._best

    def state(self) -> OptimizerState:
        """Only the number of rounds: there is nothing that adapts."""
        return OptimizerState(self._rounds)
