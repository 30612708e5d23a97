"""One pool of candidates in the rows of a batch: looked at, exchanged, thinned out, and in the end one of them taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor

from lib_rankopt.selection.placement import Placement
from lib_rankopt.selection.policies import Policy
from lib_rankopt.selection.record import Look
from lib_rankopt.selection.rows import CallbackRows, ModelRows, exchange

Judge = Callable[[Tensor, Sequence[int], int], Tensor]
"""``(latents, rows, step) ->`` scores ``[n]``, higher is better.

The clean latents ``[n, C, h, w]`` of these rows are predictions at ``step``; where that is the number of steps they are the finished ones.
"""
Ask = Callable[..., Tensor]
"""``(rows, x, sigma, …) ->`` the model's answer for these rows of the pool, ``x`` and ``sigma`` being theirs alone."""


class Launch:
    """What a host gets to run the plain sampler over some rows of a pool.

    Attributes:
        rows: of the pool that are to be sampled, in order.
    """

    def __init__(self, rows: Sequence[int], run: PoolRun) -> None:
        self.rows = tuple(rows)
        self._run = run
        self._callback = CallbackRows(partial(run.meet, self.rows))

    def model(self, ask: Ask, kept: Callable[[], Sequence[Tensor]] = tuple, predict: Any = None) -> Callable[..., Tensor]:
        """Return the model for the sampler, which costs nothing for rows that were dropped: they get zeros, which lead to zeros.

        Args:
            ask: the model itself, which treats rows alone.
            kept, predict: see :class:`~lib_rankopt.selection.rows.ModelRows`.
        """

        def asked(x: Tensor, sigma: Tensor, *rest: Any, **named: Any) -> Tensor:
            here = [place for place, row in enumerate(self.rows) if row in self._run.rows]
            self._run.evaluated += len(here)
            if len(here) == len(self.rows):
                return ask(self.rows, x, sigma, *rest, **named)
            answer = torch.zeros_like(x)
            if here:
                index = torch.tensor(here, device=x.device)
                answer[index] = ask(tuple(self.rows[place] for place in here), x[index], sigma[index], *rest, **named).to(answer.dtype)
            return answer

        if self._run.placement.place == "callback":
            return asked
        named = {} if predict is None else {"predict": predict}
        return ModelRows(asked, self._run.placement.calls, partial(self._run.meet, self.rows), kept, **named)

    def callback(self, step: int, x: Tensor, denoised: Tensor) -> None:
        """The sampler's callback, with its own tensors."""
        if self._run.placement.place == "callback":
            self._callback(step, x, denoised)


class _Arrival(NamedTuple):
    """One part of the pool waits at a decision step."""

    step: int
    denoised: Tensor
    tensors: list[Tensor]


class PoolRun:
    """Lets a policy choose among the rows of one sampler run.

    A pool that does not fit into one batch runs in parts that wait for each other at decision steps, each in the middle of its sampler:
    so it is exact for multistep samplers as well, whose history stays where it is.

    Args:
        policy: for as many candidates as the pool has rows, and as many steps as the run has. Used up by one run.
        judge: called at decision steps only, with the rows that go on.
        placement: where the sampler lets rows be looked at and exchanged.
        swap: called when a part stops for another one; returns what brings the host's state of the first one back.

    Attributes:
        looks: so far, in order.
        rows: that go on.
        evaluated: model calls so far, counted by row.
    """

    def __init__(
        self, policy: Policy, judge: Judge, placement: Placement, swap: Callable[[], Callable[[], None]] = lambda: lambda: None
    ) -> None:
        self._policy, self._judge, self._swap = policy, judge, swap
        self.placement = placement
        self._decides_at = frozenset(policy.decides_at())
        self.rows = tuple(row for row, alive in enumerate(policy.alive()) if alive)
        self._hub: greenlet | None = None
        self.looks: list[Look] = []
        self.evaluated = 0

    @property
    def exchanged(self) -> bool:
        """Whether rows are no longer what they would have been alone."""
        return any(look.parents is not None for look in self.looks)

    def sample(self, sampler: Callable[[Launch], Tensor], at_once: int = 0) -> tuple[int, Tensor]:
        """Run the pool to its end.

        Args:
            sampler: runs the plain sampler over :attr:`Launch.rows` and returns its clean latents, ``[n, C, h, w]``.
            at_once: rows per part at most, 0 for all.

        Returns:
            The row that was taken, and its latent ``[1, C, h, w]``.

        Raises:
            InvalidInputError: the scores cannot be used. What sampler and judge raise.
        """
        pool, size = self._policy.pool, at_once or self._policy.pool
        parts = [tuple(range(first, min(first + size, pool))) for first in range(0, pool, size)]
        if len(parts) == 1:
            latents = sampler(Launch(parts[0], self))
        else:
            # samplers switch gradients off and back on; parts end in another order than they began in, and would leave them off for all
            with torch.no_grad():
                latents = torch.cat(self._in_turns([partial(sampler, Launch(rows, self)) for rows in parts]))
        best = self._finish(latents)
        return best, latents[best : best + 1]

    def meet(self, rows: tuple[int, ...], step: int, denoised: Tensor, tensors: list[Tensor]) -> None:
        """One part's rows have been evaluated; see :data:`lib_rankopt.selection.rows.Meet`."""
        if step not in self._decides_at:
            return
        arrival = _Arrival(step, denoised, tensors)
        if self._hub is None:
            self._decide([arrival])
            return
        back = self._swap()
        self._hub.switch(arrival)
        back()

    def _in_turns(self, parts: list[Callable[[], Tensor]]) -> list[Tensor]:
        """Run all parts to the next decision step, decide, and so on to the end."""
        self._hub = getcurrent()
        running = [greenlet(part) for part in parts]
        try:
            found = [part.switch() for part in running]
            while not running[0].dead:
                self._decide(found)
                found = [part.switch() for part in running]
            return found
        finally:
            for part in running:
                if part and not part.dead:
                    with suppress(GreenletExit):
                        part.throw(GreenletExit)
            self._hub = None

    def _decide(self, arrivals: Sequence[_Arrival]) -> None:
        denoised = torch.cat([one.denoised for one in arrivals]) if len(arrivals) > 1 else arrivals[0].denoised
        scores = self._scores(denoised, arrivals[0].step)
        decision = self._policy.decide(scores)
        self._remember(arrivals[0].step, scores, decision.parents, decision.alive, decision.values)
        self.rows = tuple(row for row, goes_on in enumerate(decision.alive) if goes_on)
        if decision.parents is not None:
            exchange([one.tensors for one in arrivals], torch.tensor(decision.parents))

    def _finish(self, latents: Tensor) -> int:
        scores = self._scores(latents, self._policy.steps)
        best = self._policy.best(scores)
        self._remember(self._policy.steps, scores, None, tuple(row == best for row in range(self._policy.pool)), {})
        return best

    def _scores(self, latents: Tensor, step: int) -> Tensor:
        found = torch.full((self._policy.pool,), torch.nan, dtype=torch.float64)
        found[list(self.rows)] = self._judge(latents[list(self.rows)], self.rows, step).double().cpu()
        return found

    def _remember(
        self, step: int, scores: Tensor, parents: tuple[int, ...] | None, alive: tuple[bool, ...], values: dict[str, float]
    ) -> None:
        shown = tuple(float(scores[row]) if row in self.rows else None for row in range(self._policy.pool))
        self.looks.append(Look(step, shown, parents, alive, values))
