"""One pool of candidates in the rows of one batch: looked at, exchanged, thinned out, and in the end one of them taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_rankopt.selection.policies import Policy

Judge = Callable[[Tensor], Tensor]
"""Clean latents, predicted or finished, ``[n, C, h, w] ->`` scores ``[n]``, higher is better."""


@dataclass(frozen=True)
class Look:
    """One look at the pool: what the tree of who came from whom is drawn from.

    Attributes:
        step: that had just been evaluated; the number of steps for the look at the finished images.
        scores: by row, ``None`` for rows that were dropped before.
        parents: row that each row goes on from; ``None`` where each goes on as it is.
        alive: rows that go on.
        values: what the policy said besides.
    """

    step: int
    scores: tuple[float | None, ...]
    parents: tuple[int, ...] | None
    alive: tuple[bool, ...]
    values: dict[str, float]


class PoolRun:
    """Lets a policy choose among the rows of one sampler run.

    :meth:`choose` is what :class:`~lib_rankopt.selection.rows.CallbackRows` and :class:`~lib_rankopt.selection.rows.ModelRows` ask, and
    :meth:`over` saves the evaluations of dropped rows. Without either the run is the plain one.

    Args:
        policy: for as many candidates as the batch has rows, and as many steps as the run has.
        judge: called at decision steps only, with the rows that go on.

    Attributes:
        looks: so far, in order.
        evaluated: model calls so far, counted by row.
    """

    def __init__(self, policy: Policy, judge: Judge) -> None:
        self._policy, self._judge = policy, judge
        self._decides_at = frozenset(policy.decides_at())
        self._rows = tuple(range(policy.pool))
        self.looks: list[Look] = []
        self.evaluated = 0

    def choose(self, step: int, x: Tensor, denoised: Tensor) -> Tensor | None:
        """Decide where the policy wants to; see :data:`lib_rankopt.selection.rows.Choose`.

        Raises:
            InvalidInputError: the scores cannot be used.
        """
        if step not in self._decides_at:
            return None
        scores = self._scores(denoised)
        decision = self._policy.decide(scores)
        self._remember(step, scores, decision.parents, decision.alive, decision.values)
        self._rows = tuple(row for row, goes_on in enumerate(decision.alive) if goes_on)
        return None if decision.parents is None else torch.tensor(decision.parents)

    def over(self, model: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Wrap a model ``(x, sigma) -> answer`` that treats rows alone: dropped rows get zeros, which lead to zeros, and cost nothing."""

        def asked(x: Tensor, sigma: Tensor, *rest: Any, **named: Any) -> Tensor:
            self.evaluated += len(self._rows)
            if len(self._rows) == len(x):
                return model(x, sigma, *rest, **named)
            rows = torch.tensor(self._rows, device=x.device)
            answer = torch.zeros_like(x)
            answer[rows] = model(x[rows], sigma[rows], *rest, **named)
            return answer

        return asked

    def finish(self, latents: Tensor) -> int:
        """Score the finished rows and return the one to take.

        Args:
            latents: what the sampler returned, ``[K, C, h, w]``.
        """
        scores = self._scores(latents)
        best = self._policy.best(scores)
        alive = tuple(row == best for row in range(self._policy.pool))
        self._remember(self._policy.steps, scores, None, alive, {})
        return best

    def _scores(self, latents: Tensor) -> Tensor:
        found = torch.full((self._policy.pool,), torch.nan, dtype=torch.float64)
        found[list(self._rows)] = self._judge(latents[list(self._rows)]).double().cpu()
        return found

    def _remember(
        self, step: int, scores: Tensor, parents: tuple[int, ...] | None, alive: tuple[bool, ...], values: dict[str, float]
    ) -> None:
        shown = tuple(float(scores[row]) if row in self._rows else None for row in range(self._policy.pool))
        self.looks.append(Look(step, shown, parents, alive, values))
