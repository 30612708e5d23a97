"""ZO-RankSGD as published, with its estimator exact.

Source: "Zeroth-Order Optimization Meets Human Feedback", arXiv 2303.03751 (ICLR 2024), Algorithm 1 (fixed step) and Algorithm 3
(gradient rounds and line-search rounds in turn). Written for maximising, with ξ_i ~ N(0, I) and the weights w of
:mod:`.ranking` (which are the paper's (1/|E|)·Σ over edges, collapsed per candidate):

    show x + μ·ξ_i;   g = Σ_i w_i·ξ_i;   x ← x + η·g                                    (Algorithm 1)
    show x + η·γ^i·ḡ for i = 0, 1, …, the best of the gradient round, and x itself; go to the favourite   (Algorithm 3)

When the favourite is x itself, x stays and ḡ becomes the running mean of the directions found from that x. Unlike the published
code: the ranked weight is m − 1 − 2r (theirs, m − 2r, does not sum to zero), g is divided by μ, answers are about candidates and
never about places on screen, and everything shown is put back on the shell (``renormalize=False`` turns that off).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import ConflictError, InvalidInputError
from . import ranking, shell
from ._protocol import RoundOptimizer, favourite, require
from .base import OptimizerSettings, OptimizerState, Proposal


@dataclass(frozen=True)
class ZORankSGDSettings(OptimizerSettings):
    """Settings of :class:`ZORankSGD`."""

    mu: float = field(
        default=0.3, metadata={"help": "size of the noise added to explore, in latent standard deviations"}
    )
    step: float = field(default=1.2, metadata={"help": "η: length of a move per unit of the estimated direction"})
    line_search: bool = field(
        default=True, metadata={"help": "spend every second round on choosing the length of the step"}
    )
    shrink: float = field(default=0.5, metadata={"help": "γ: ratio of successive trial steps of a line search"})
    renormalize: bool = field(default=True, metadata={"help": "put every latent back on the Gaussian shell"})

    def __post_init__(self) -> None:
        require(self.mu, "mu", 1e-6, 10.0)
        require(self.step, "step", 1e-9, 1e6)
        require(self.shrink, "shrink", 0.01, 0.99)
        for name in ("line_search", "renormalize"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInputError(f"{name} must be true or false, not {getattr(self, name)!r}")


class ZORankSGD(RoundOptimizer):
    """The published optimiser. With line search, one move takes two rounds."""

    name = "zo_ranksgd"
    settings_type = ZORankSGDSettings

    def __init__(self, shape: tuple[int, int, int], seed: int, settings: OptimizerSettings | None = None) -> None:
        super().__init__(shape, seed, settings)
        self._set = settings if isinstance(settings, ZORankSGDSettings) else ZORankSGDSettings()
        self._x = shell.fresh(shape, self._rng)
        self._noise: list[Tensor] = []
        self._direction: Tensor | None = None
        self._averaged = 0
        self._previous_best: Tensor | None = None
        self._searching = False
        self._moves = 0

    def start_at(self, x: Tensor) -> None:
        """Begin at the latent ``x`` ``[C, h, w]`` instead of at fresh noise.

        Raises:
            ConflictError: the study has begun.
            InvalidInputError: another shape, or values that are not finite.
        """
        if self._rounds or self._open is not None:
            raise ConflictError("the start can only be set before the first round")
        if tuple(x.shape) != self._shape or not bool(torch.isfinite(x).all()):
            raise InvalidInputError(f"the start must be finite and of shape {self._shape}, not {tuple(x.shape)}")
        self._x = self._placed(x)

    def _placed(self, x: Tensor) -> Tensor:
        return shell.project(x) if self._set.renormalize else x.float().clone()

    def _propose(self, n: int) -> list[Proposal]:
        if self._searching and self._direction is not None:
            return self._line(n, self._direction)
        self._noise = [torch.randn(self._shape, generator=self._rng, dtype=torch.float32) for _ in range(n)]
        return [Proposal(self._placed(self._x + self._set.mu * xi), "explore") for xi in self._noise]

    def _line(self, n: int, direction: Tensor) -> list[Proposal]:
        known = [Proposal(self._x, "incumbent")]
        if n > 2 and self._previous_best is not None:
            known.insert(0, Proposal(self._previous_best, "explore"))
        trials = n - len(known)
        steps = [self._set.step * self._set.shrink**i for i in range(trials)]
        return [Proposal(self._placed(self._x + s * direction), "line_search") for s in steps] + known

    def _learn(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        if self._searching:
            self._learn_line(proposals, answer)
        else:
            self._learn_direction(proposals, answer)

    def _learn_direction(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        weight = ranking.weights(answer)
        if answer.none_better or not weight.any():
            return
        found = combine(self._noise, [float(w) for w in weight])
        if not self._set.line_search:
            self._x = self._placed(self._x + self._set.step * found)
            self._moves += 1
            return
        self._averaged += 1
        old = torch.zeros_like(found) if self._direction is None else self._direction
        self._direction = old + (found - old) / self._averaged
        winner = favourite(proposals, answer)
        self._previous_best = None if winner is None else proposals[winner].latent
        self._searching = True

    def _learn_line(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        self._searching = False  # a line that was skipped or lost is followed by new exploration from the same x
        winner = favourite(proposals, answer)
        if winner is None:
            return
        self._x = proposals[winner].latent
        self._direction, self._averaged, self._previous_best = None, 0, None
        self._moves += 1

    @property
    def incumbent(self) -> Tensor | None:
        """The point that is explored from, ``[C, h, w]``; ``None`` before the first answer."""
        return self._x if self._rounds else None

    def state(self) -> OptimizerState:
        """Moves made, and how many rounds the present direction averages."""
        return OptimizerState(
            self._rounds, {"moves": float(self._moves), "directions_averaged": float(self._averaged)}
        )


def combine(noise: list[Tensor], weight: list[float]) -> Tensor:
    """Return g = Σ w_i·ξ_i, the ascent direction, in the shape of the noise."""
    total = torch.zeros_like(noise[0], dtype=torch.float64)
    for xi, w in zip(noise, weight, strict=True):
        if w:
            total += w * xi.double()
    return total.float()
