"""Rank-weighted steps on the Gaussian shell (the default optimiser).

The first round is fresh seeds. Then every round shows the centre x and neighbours x + μ·ξ_i, all on the shell, and moves by

    g = Σ_i w_i·ξ_i,    x ← √d·normalise(x + s·√d·g/‖g‖),    s = s₀/(1 + decay·moves),

with the rank weights w of :mod:`.ranking`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from . import ranking, shell
from ._protocol import RoundOptimizer, favourite, require
from .base import OptimizerSettings, OptimizerState, Proposal
from .zo_ranksgd import combine


@dataclass(frozen=True)
class RankStepSettings(OptimizerSettings):
    """Settings of :class:`RankStep`."""

    spread: float = field(
        default=0.3, metadata={"help": "μ: how far candidates lie from the centre, in latent standard deviations"}
    )
    step: float = field(default=0.5, metadata={"help": "s₀: length of the first move, in units of √d"})
    decay: float = field(default=0.1, metadata={"help": "how fast moves get shorter"})

    def __post_init__(self) -> None:
        require(self.spread, "spread", 0.01, 3.0)
        require(self.step, "step", 0.001, 10.0)
        require(self.decay, "decay", 0.0, 10.0)


class RankStep(RoundOptimizer):
    """Rank-weighted evolution step on the shell."""

    name = "rank_step"
    settings_type = RankStepSettings

    def __init__(self, shape: tuple[int, int, int], seed: int, settings: OptimizerSettings | None = None) -> None:
        super().__init__(shape, seed, settings)
        self._set = settings if isinstance(settings, RankStepSettings) else RankStepSettings()
        self._centre: Tensor | None = None
        self._moves = 0

    def _propose(self, n: int) -> list[Proposal]:
        if self._centre is None:
            return [Proposal(shell.fresh(self._shape, self._rng), "fresh") for _ in range(n)]
        around = [shell.perturb(self._centre, self._set.spread, self._rng) for _ in range(n - 1)]
        return [Proposal(self._centre, "incumbent"), *(Proposal(x, "explore") for x in around)]

    def _learn(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        weight = ranking.weights(answer)
        if answer.none_better or not weight.any():
            return
        if self._centre is None:
            winner = favourite(proposals, answer)
            self._centre = None if winner is None else proposals[winner].latent
            return
        offsets = [p.latent - self._centre for p in proposals]
        g = combine(offsets, [float(w) for w in weight])
        length = shell.norm(g)
        if length == 0.0:
            return
        step = self._set.step / (1.0 + self._set.decay * self._moves) * self._dimension**0.5
        self._centre = shell.project(self._centre + g * (step / length))
        self._moves += 1

    @property
    def incumbent(self) -> Tensor | None:
        """The centre, ``[C, h, w]``; ``None`` until something was preferred."""
        return self._centre

    def state(self) -> OptimizerState:
        """Moves made."""
        return OptimizerState(self._rounds, {"moves": float(self._moves)})
