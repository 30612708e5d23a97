"""The ask/tell bookkeeping that all optimisers share: one open round, checked answers, errors that change nothing."""

from __future__ import annotations

from abc import abstractmethod

from ..errors import ConflictError, InvalidInputError
from . import ranking, shell
from .base import Optimizer, OptimizerSettings, Proposal, RoundFeedback


class RoundOptimizer(Optimizer):
    """Base of this package's optimisers: subclasses write :meth:`_propose` and :meth:`_learn`."""

    def __init__(self, shape: tuple[int, int, int], seed: int, settings: OptimizerSettings | None = None) -> None:
        settings = self.settings_type() if settings is None else settings
        if not isinstance(settings, self.settings_type):
            raise InvalidInputError(f"{self.name} takes {self.settings_type.__name__}, not {type(settings).__name__}")
        self._dimension = shell.dimension(shape)
        self._shape = shape
        self._rng = shell.generator(seed)
        self._open: list[Proposal] | None = None
        self._rounds = 0

    def ask(self, n: int) -> list[Proposal]:
        """Return ``n`` proposals (see :meth:`Optimizer.ask`)."""
        if self._open is not None:
            raise ConflictError(f"round {self._rounds + 1} has not been answered; tell its answer (or a skip) first")
        if isinstance(n, bool) or not isinstance(n, int) or n < 2:
            raise InvalidInputError(f"a round needs at least 2 candidates, not {n!r}")
        self._open = self._propose(n)
        return list(self._open)

    def tell(self, feedback: RoundFeedback) -> None:
        """Take the answer to the last :meth:`ask` (see :meth:`Optimizer.tell`)."""
        if self._open is None:
            raise ConflictError("no round is open; ask for one before telling an answer")
        answer = ranking.check(feedback, len(self._open), incumbent_index(self._open))
        self._learn(self._open, answer)
        self._open = None
        self._rounds += 1

    @abstractmethod
    def _propose(self, n: int) -> list[Proposal]:
        """Return the next round."""

    @abstractmethod
    def _learn(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        """Move by a valid answer. A skip must leave everything that decides about moves as it is."""


def incumbent_index(proposals: list[Proposal]) -> int | None:
    """Return the position of the incumbent in a round, or ``None``."""
    return next((i for i, p in enumerate(proposals) if p.origin == "incumbent"), None)


def require(value: float, name: str, low: float, high: float) -> None:
    """Raise unless the setting ``name`` lies in ``low`` … ``high``.

    Raises:
        InvalidInputError: it does not, or it is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidInputError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")


def favourite(proposals: list[Proposal], answer: ranking.Answer) -> int | None:
    """Return the position of the round's winner, or ``None`` where the answer gives no reason to leave the incumbent.

    The winner has the largest weight. Ties go to the incumbent, else to the first position. A round whose incumbent was not on
    screen cannot dethrone it.
    """
    incumbent = incumbent_index(proposals)
    if answer.none_better or (incumbent is not None and incumbent not in answer.shown):
        return None
    weight = ranking.weights(answer)
    if not weight.any():
        return None
    best = max(weight[i] for i in answer.shown)
    winners = [i for i in answer.shown if weight[i] == best]
    return None if incumbent in winners else winners[0]
