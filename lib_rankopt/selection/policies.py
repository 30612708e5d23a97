"""Which candidates go on: policies over the scores of a pool at its decision steps.

Words: a *pool* of *K* candidates runs in the rows of one batch; at a *decision step* their predicted clean images are scored, and the
policy says from which row every row goes on, and which rows go on at all. After the last step the finished images are scored, and one is
taken. Scores have any scale, higher is better; an arrived NaN is an error of the scorer and refused.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lib_rankopt.errors import InvalidInputError

Potential = Literal["diff", "max", "sum"]


@dataclass(frozen=True)
class Decision:
    """What follows from one look at the pool.

    Attributes:
        parents: for every row the row that it goes on from; ``None`` where every row goes on as it is.
        alive: rows that go on being evaluated, ``[K]``.
        values: what the policy wants kept in the record of the run, by name.
    """

    parents: tuple[int, ...] | None
    alive: tuple[bool, ...]
    values: dict[str, float] = field(default_factory=dict)


class Policy(ABC):
    """Decides for one pool in one run.

    Args:
        pool: candidates, at least 2.
        steps: of the run.

    Raises:
        InvalidInputError: the pool or the run is too small.
    """

    name: ClassVar[str]
    needs_noise: ClassVar[bool]
    """Whether copies of a row must part again by the sampler's own noise."""

    def __init__(self, pool: int, steps: int) -> None:
        if pool < 2:
            raise InvalidInputError(f"A pool of {pool} leaves nothing to choose from: take at least 2 candidates.")
        if steps < 2:
            raise InvalidInputError(f"With {steps} step there is no step to choose at: take at least 2.")
        self.pool, self.steps = pool, steps
        self._alive = [True] * pool

    @abstractmethod
    def decides_at(self) -> tuple[int, ...]:
        """Decision steps, increasing; never the last step, after which copies could not part again."""

    def alive(self) -> tuple[bool, ...]:
        """Rows that run from the beginning: all of them."""
        return (True,) * self.pool

    @abstractmethod
    def decide(self, scores: Tensor) -> Decision:
        """Decide at the next of the decision steps.

        Args:
            scores: of the predicted clean images, ``[K]``; those of rows that no longer go on are not looked at.

        Raises:
            InvalidInputError: not ``K`` numbers, or one of a row that goes on is NaN or infinite.
        """

    def best(self, scores: Tensor) -> int:
        """The row to take, given the scores of the finished images, ``[K]``; the first one of equals."""
        found = self._checked(scores)
        return max((row for row in range(self.pool) if self._alive[row]), key=lambda row: found[row])

    def evaluations(self) -> int:
        """Steps of single candidates that the run makes, of one model call each: what a fair comparison has to spend as well."""
        return self.pool * self.steps

    def _checked(self, scores: Tensor) -> list[float]:
        found = [float(value) for value in scores.double().reshape(-1)]
        if len(found) != self.pool:
            raise InvalidInputError(f"{len(found)} scores came for a pool of {self.pool}.")
        bad = [row for row in range(self.pool) if self._alive[row] and not math.isfinite(found[row])]
        if bad:
            raise InvalidInputError(f"The scorer gave candidate {bad[0] + 1} the score {found[bad[0]]}; nothing was chosen by it.")
        return found


class Halving(Policy):
    """Begin with 2N candidates, keep N after a quarter of the steps and N/2 after half (PSP, arXiv 2607.21591).

    It drops candidates and copies none, so it needs no noise in the sampler. It costs what N candidates cost that all run to the end.

    Args:
        pool: 2N; 4 at least.
        at: shares of the steps after which half is kept.
    """

    name = "halving"
    needs_noise = False
    default_at: ClassVar[tuple[float, ...]] = (0.25, 0.5)

    def __init__(self, pool: int, steps: int, at: tuple[float, ...] = default_at) -> None:
        super().__init__(pool, steps)
        if pool < 4:
            raise InvalidInputError(f"Halving twice needs at least 4 candidates, not {pool}.")
        self._decides_at = steps_of(at, steps)

    def decides_at(self) -> tuple[int, ...]:
        return self._decides_at

    def decide(self, scores: Tensor) -> Decision:
        found = self._checked(scores)
        rows = [row for row in range(self.pool) if self._alive[row]]
        keep = sorted(rows, key=lambda row: -found[row])[: max(1, len(rows) // 2)]
        self._alive = [row in keep for row in range(self.pool)]
        return Decision(None, tuple(self._alive))

    def evaluations(self) -> int:
        spent, rows, before = 0, self.pool, 0
        for step in (*self._decides_at, self.steps - 1):
            spent += rows * (step + 1 - before)
            rows, before = max(1, rows // 2), step + 1
        return spent


class Greedy(Policy):
    """All go on from the best one, every few steps (best of K as in SVDD and, in training, SPO).

    Args:
        every: steps between decisions; one step changes little, above all on SDXL.
        start: share of the steps before which predictions say nothing.
        at: shares of the steps to decide after, instead.
    """

    name = "greedy"
    needs_noise = True

    def __init__(self, pool: int, steps: int, every: int = 4, start: float = 0.2, at: tuple[float, ...] = ()) -> None:
        super().__init__(pool, steps)
        self._decides_at = steps_of(at, steps) if at else _every(steps, every, start)

    def decides_at(self) -> tuple[int, ...]:
        return self._decides_at

    def decide(self, scores: Tensor) -> Decision:
        row = self.best(scores)
        return Decision((row,) * self.pool, tuple(self._alive))


class Resample(Policy):
    """Feynman–Kac steering (arXiv 2501.06848): candidates are copied and dropped in proportion to a potential of their scores.

    Unlike the published code it resamples systematically, carries the weights of decisions at which nothing was resampled on, and works
    with logarithms, so that no weight overflows or vanishes.

    Args:
        potential: of the path so far: ``diff`` of the last two scores, the running ``max``, or the running ``sum``.
        strength: λ, in units of the scorer's standard deviation over the first pool.
        every: steps between decisions. start: share of the steps before the first. at: shares of the steps to decide after, instead.
        threshold: resample when the effective sample size is below this share of the pool; 1 resamples always.
        generator: of the resampling, on the CPU.
    """

    name = "resample"
    needs_noise = True

    def __init__(
        self,
        pool: int,
        steps: int,
        *,
        generator: torch.Generator,
        potential: Potential = "max",
        strength: float = 4.0,
        every: int = 4,
        start: float = 0.2,
        at: tuple[float, ...] = (),
        threshold: float = 0.5,
    ) -> None:
        super().__init__(pool, steps)
        self._decides_at = steps_of(at, steps) if at else _every(steps, every, start)
        self._potential, self._strength, self._threshold, self._generator = potential, strength, threshold, generator
        self._log_weights = torch.zeros(pool, dtype=torch.float64)
        self._state: Tensor | None = None  # the path's last score, running maximum or running sum
        self._unit = 1.0

    def decides_at(self) -> tuple[int, ...]:
        return self._decides_at

    def decide(self, scores: Tensor) -> Decision:
        now = torch.tensor(self._checked(scores), dtype=torch.float64)
        self._log_weights += self._log_potential(now)
        weights = torch.softmax(self._log_weights, 0)
        size = float(1 / (weights**2).sum())
        values = {"effective sample size": size}
        if size >= self._threshold * self.pool and self._threshold < 1:
            return Decision(None, tuple(self._alive), values)
        parents = systematic(weights, self._generator)
        self._log_weights.zero_()
        assert self._state is not None
        self._state = self._state[torch.tensor(parents)]
        return Decision(parents, tuple(self._alive), values)

    def _log_potential(self, now: Tensor) -> Tensor:
        if self._state is None:
            self._unit = float(now.std()) or 1.0
            self._state = now.clone()
            first = torch.zeros_like(now) if self._potential == "diff" else now
            return self._strength / self._unit * first
        before = self._state
        self._state = {"diff": now, "max": torch.maximum(before, now), "sum": before + now}[self._potential]
        grown = now - before if self._potential == "diff" else self._state
        return self._strength / self._unit * grown


class BestOfN(Policy):
    """The control: all run to the end, and the best of the finished images is taken."""

    name = "best-of-n"
    needs_noise = False

    def decides_at(self) -> tuple[int, ...]:
        return ()

    def decide(self, scores: Tensor) -> Decision:
        raise NotImplementedError  # it has no decision steps


class Human(Policy):
    """A person marks those that go on, 1 for each and 0 for the others, or all with the same mark: then all go on.

    Args:
        at: shares of the steps after which the person is asked.
        copies: whether the marked ones are copied into the places of the others, which takes noise in the sampler; otherwise the others
            are dropped.
    """

    name = "human"
    needs_noise = False
    default_at: ClassVar[tuple[float, ...]] = (0.25, 0.5, 0.75)

    def __init__(self, pool: int, steps: int, copies: bool, at: tuple[float, ...] = default_at) -> None:
        super().__init__(pool, steps)
        self._copies, self._decides_at = copies, steps_of(at, steps)

    def decides_at(self) -> tuple[int, ...]:
        return self._decides_at

    def decide(self, scores: Tensor) -> Decision:
        found = self._checked(scores)
        rows = [row for row in range(self.pool) if self._alive[row]]
        chosen = [row for row in rows if found[row] == max(found[one] for one in rows)]
        if len(chosen) == len(rows):
            return Decision(None, tuple(self._alive))
        if self._copies:
            spare = iter(chosen * self.pool)
            return Decision(tuple(row if row in chosen else next(spare) for row in range(self.pool)), tuple(self._alive))
        self._alive = [row in chosen for row in range(self.pool)]
        return Decision(None, tuple(self._alive))


class Follow(Policy):
    """Nothing is chosen: one path through the rows is taken again, at the cost of one image.

    Args:
        path: row and the step after which the path is in it; begins with ``(0, row)``.
    """

    name = "path"
    needs_noise = True

    def __init__(self, pool: int, steps: int, path: tuple[tuple[int, int], ...]) -> None:
        self.pool, self.steps, self._path = pool, steps, path
        self._alive = [row == path[0][1] for row in range(pool)]
        self._next = 1
        if any(not 0 <= step < steps - 1 for step, _ in path[1:]):
            raise InvalidInputError(f"The path changes rows at step {path[-1][0]}, but the run has only {steps} steps.")

    def decides_at(self) -> tuple[int, ...]:
        return tuple(step for step, _ in self._path[1:])

    def alive(self) -> tuple[bool, ...]:
        return tuple(self._alive)

    def decide(self, scores: Tensor) -> Decision:
        before, now = self._path[self._next - 1][1], self._path[self._next][1]
        self._next += 1
        self._alive = [row == now for row in range(self.pool)]
        return Decision(tuple(before if row == now else row for row in range(self.pool)), tuple(self._alive))

    def best(self, scores: Tensor) -> int:
        return self._path[-1][1]

    def evaluations(self) -> int:
        return self.steps


def steps_of(at: tuple[float, ...], steps: int) -> tuple[int, ...]:
    """The steps whose evaluations complete these shares of a run.

    Raises:
        InvalidInputError: the run is too short for them: two fall on one step, or one on the last.
    """
    found = tuple(round(steps * share) - 1 for share in at)
    if len(set(found)) < len(found) or any(not 0 <= step < steps - 1 for step in found):
        shares = ", ".join(f"{share:.0%}" for share in at)
        raise InvalidInputError(f"{steps} steps are too few to compare candidates after {shares} of them: take more steps.")
    return found


def systematic(weights: Tensor, generator: torch.Generator) -> tuple[int, ...]:
    """Systematic resampling: row ``i`` is drawn ⌊K·wᵢ⌋ or ⌈K·wᵢ⌉ times, K·wᵢ on average (Carpenter et al. 1999).

    Rows that are drawn stay where they are, so that no more is copied than must be.

    Args:
        weights: ``[K]``, not negative, with sum 1.
        generator: on the CPU.
    """
    count = len(weights)
    start = torch.rand((), generator=generator, dtype=torch.float64)
    points = (torch.arange(count, dtype=torch.float64) + start) / count
    ends = weights.double().cumsum(0)
    drawn = torch.searchsorted(ends / ends[-1], points, right=True).clamp(max=count - 1).tolist()
    parents = [row if row in drawn else -1 for row in range(count)]
    left = list(drawn)
    for row in (row for row in parents if row >= 0):
        left.remove(row)
    return tuple(row if row >= 0 else left.pop() for row in parents)


def _every(steps: int, every: int, start: float) -> tuple[int, ...]:
    if every < 1:
        raise InvalidInputError(f"Decisions every {every} steps are not possible: take 1 or more.")
    found = tuple(range(max(0, math.ceil(steps * start)), steps - 1, every))
    if not found:
        raise InvalidInputError(f"{steps} steps leave no decision from {start:.0%} of them on: take more steps, or begin earlier.")
    return found
