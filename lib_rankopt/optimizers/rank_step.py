"""The default optimiser: steps on the Gaussian shell that remember every answer.

The first round is fresh seeds. Each answer updates a preference model (:mod:`.preference`) over *all* rounds so far, and the centre
moves to the top of its posterior mean. In many dimensions the gradient of that mean at the centre is the rank-weighted sum
Σ w_i·ξ_i of the last round's neighbours, so this is the rank-weighted evolution step; what the model adds is

* the length of the step: the reward known so far, f, makes the landscape fall off as f/ℓ², so steps shrink as the search climbs
  (on a linear reward the best step is c/f, see c(m, k) in the tests);
* memory: directions tried in earlier rounds still count, as far as the length scale ℓ says;
* the spread: with answer noise σ, neighbours at an angle ℓ·u give the most gradient per image at u = (2σ²)^¼, the maximum of
  u²·exp(−u²) / (1 − exp(−u²) + σ²) to leading order;
* ℓ and σ themselves, moved every round to whichever neighbouring values make the answers most probable.

Later rounds show the best image of the round before again, as the incumbent, with new neighbours of the centre
√d·(cos(ℓu)·x + sin(ℓu)·ξ). Comparing the two is what tells luck from progress, hence σ, and how far to trust a step, hence ℓ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInputError
from . import ranking, shell
from ._protocol import RoundOptimizer, require
from .base import OptimizerSettings, OptimizerState, Proposal
from .preference import Floats, PreferenceModel, climb

_SCALES = (0.25, 2.5)
_NOISES = (0.01, 2.0)
_SCALE_FACTOR, _NOISE_FACTOR = 1.2, 2.0
_FIRST_SCALE, _FIRST_NOISE = 0.7, 0.3
_GRID = 2.0**20
_PIECE = 4096


@dataclass(frozen=True)
class RankStepSettings(OptimizerSettings):
    """Settings of :class:`RankStep`. Rewards are measured in standard deviations over random latents."""

    noise: float | None = field(
        default=None,
        metadata={"help": "how uncertain answers are: 0 for a scorer, about 0.5 for a person; learned when not given"},
    )
    length_scale: float | None = field(
        default=None, metadata={"help": "angle over which the reward changes, in radians; learned when not given"}
    )
    spread: float | None = field(
        default=None, metadata={"help": "angle between centre and candidates, in radians; follows the noise when not given"}
    )
    incumbent_every: int = field(default=1, metadata={"help": "show the incumbent again in every round, every second one, … (0: never)"})

    def __post_init__(self) -> None:
        for name, low, high in (("noise", 0.0, 10.0), ("length_scale", 0.05, 10.0), ("spread", 0.005, 1.5)):
            if getattr(self, name) is not None:
                require(getattr(self, name), name, low, high)
        require(self.incumbent_every, "incumbent_every", 0, 1000)
        if not isinstance(self.incumbent_every, int):
            raise InvalidInputError(f"incumbent_every must be a whole number, not {self.incumbent_every!r}")


class RankStep(RoundOptimizer):
    """Rank-weighted steps with a memory.

    A round without any preference changes nothing. :attr:`incumbent` is the top of the model, usually between the images seen;
    the proposal marked ``incumbent`` is the best *image* of the last answered round.
    """

    name = "rank_step"
    settings_type = RankStepSettings

    def __init__(self, shape: tuple[int, int, int], seed: int, settings: OptimizerSettings | None = None) -> None:
        super().__init__(shape, seed, settings)
        self._set = settings if isinstance(settings, RankStepSettings) else RankStepSettings()
        self._model = PreferenceModel()
        self._blocks: list[Tensor] = []  # latents that were compared, one [count, d] float32 block per answered round
        self._gram = np.zeros((0, 0))
        self._scale = _FIRST_SCALE if self._set.length_scale is None else float(self._set.length_scale)
        self._noise = _FIRST_NOISE if self._set.noise is None else max(float(self._set.noise), _NOISES[0])
        self._centre: Tensor | None = None
        self._known_best: int | None = None
        self._moves = 0
        self._height = 0.0

    @property
    def spread(self) -> float:
        """Angle between the centre and the next candidates, in radians."""
        if self._set.spread is not None:
            return float(self._set.spread)
        best = math.sqrt(math.sqrt(2.0) * self._noise)
        return self._scale * min(max(best, 0.1), 0.85)

    def _propose(self, n: int) -> list[Proposal]:
        if self._centre is None:
            return [Proposal(shell.fresh(self._shape, self._rng), "fresh") for _ in range(n)]
        every = self._set.incumbent_every
        out = []
        if every and self._known_best is not None and self._moves % every == 0:
            out.append(Proposal(self._latent(self._known_best), "incumbent"))
        return out + [self._neighbour(self._centre) for _ in range(n - len(out))]

    def _neighbour(self, centre: Tensor) -> Proposal:
        x = centre.double()
        xi = torch.randn(self._shape, generator=self._rng, dtype=torch.float32).double()
        xi -= x * (float((xi * x).sum()) / self._dimension)
        size = shell.norm(xi)
        if size == 0.0:
            return Proposal(centre, "explore")
        xi *= self._dimension**0.5 / size
        return Proposal(shell.project(math.cos(self.spread) * x + math.sin(self.spread) * xi), "explore")

    def _learn(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        if not ranking.edge_counts(answer).any():
            return
        points = self._remember(proposals, answer)
        self._model.add(answer, points)
        self._adapt()
        alpha = self._model.alpha(len(self._gram))
        value = np.einsum("ij,j->i", np.exp((self._gram - 1.0) / self._scale**2), alpha)
        self._known_best = max(points.values(), key=lambda p: (value[p], -p))
        start = np.zeros(len(alpha))
        start[int(np.argmax(value))] = 1.0
        beta, self._height = climb(self._gram, alpha, self._scale, start)
        self._centre = self._combination(beta)
        self._moves += 1

    def _remember(self, proposals: list[Proposal], answer: ranking.Answer) -> dict[int, int]:
        """Store the latents of a round, and return the number of each shown candidate's latent."""
        points: dict[int, int] = {}
        new: list[Tensor] = []
        for i in answer.shown:
            if proposals[i].origin == "incumbent" and self._known_best is not None:
                points[i] = self._known_best
            else:
                points[i] = len(self._gram) + len(new)
                new.append(proposals[i].latent.flatten())
        if new:
            self._append(torch.stack(new))
        return points

    def _append(self, block: Tensor) -> None:
        """Extend the matrix of cosines, rounded so that the order of summation in a matrix product cannot be seen."""
        self._blocks.append(block)
        rows = np.concatenate([_products(block, old) for old in self._blocks], axis=1) / self._dimension
        old, total = len(self._gram), rows.shape[1]
        gram = np.zeros((total, total))
        gram[:old, :old] = self._gram
        gram[old:, :] = np.round(rows * _GRID) / _GRID
        gram[:old, old:] = gram[old:, :old].T
        gram[old:, old:] = 0.5 * (gram[old:, old:] + gram[old:, old:].T)
        np.fill_diagonal(gram, 1.0)
        self._gram = gram

    def _adapt(self) -> None:
        """Move ℓ and σ one step if a neighbouring value explains all answers better; then fit thoroughly."""
        choices = [(self._scale, self._noise)]
        if self._moves:  # one round of unrelated seeds tells nothing about either
            if self._set.length_scale is None:
                choices += [(v, self._noise) for v in _around(self._scale, _SCALE_FACTOR, _SCALES)]
            if self._set.noise is None:
                choices += [(self._scale, v) for v in _around(self._noise, _NOISE_FACTOR, _NOISES)]
        if len(choices) > 1:
            fits = [self._model.fit(self._gram, scale, noise, sweeps=2) for scale, noise in choices]
            best = max(range(len(choices)), key=lambda i: fits[i].log_evidence + _log_prior(*choices[i]))
            self._scale, self._noise = choices[best]
            self._model.keep(fits[best])
        self._model.keep(self._model.fit(self._gram, self._scale, self._noise, sweeps=6))

    def _latent(self, point: int) -> Tensor:
        for block in self._blocks:
            if point < len(block):
                return block[point].reshape(self._shape).clone()
            point -= len(block)
        raise AssertionError(f"latent {point} is not stored")

    def _combination(self, beta: Floats) -> Tensor:
        total, first = torch.zeros(self._dimension, dtype=torch.float64), 0
        for block in self._blocks:
            part = torch.from_numpy(beta[first : first + len(block)].copy()).float()
            total += part @ block
            first += len(block)
        return shell.project(total.reshape(self._shape))

    @property
    def incumbent(self) -> Tensor | None:
        """The centre, ``[C, h, w]``; ``None`` until something was preferred."""
        return self._centre

    def state(self) -> OptimizerState:
        """Moves, spread, length scale (radians), noise and the reward that the model expects at the centre."""
        values = {
            "moves": float(self._moves),
            "spread": self.spread,
            "length_scale": self._scale,
            "noise": self._noise,
            "expected_reward": self._height,
        }
        return OptimizerState(self._rounds, values)


def _products(a: Tensor, b: Tensor) -> Floats:
    """Inner products of the rows of two float32 blocks: float32 inside pieces of 4096 elements, float64 across them."""
    pieces = zip(a.split(_PIECE, dim=1), b.split(_PIECE, dim=1), strict=True)
    total = torch.zeros(len(a), len(b), dtype=torch.float64)
    for left, right in pieces:
        total += left @ right.T
    return np.asarray(total.numpy())


def _around(value: float, factor: float, limits: tuple[float, float]) -> list[float]:
    return [v for v in (value * factor, value / factor) if limits[0] <= v <= limits[1]]


def _log_prior(scale: float, noise: float) -> float:
    """Weak log-normal priors: answers about few rounds must not drive either to an extreme."""
    return -0.5 * (math.log(scale / _FIRST_SCALE) / 0.5) ** 2 - 0.5 * (math.log(noise / _FIRST_NOISE) / 1.5) ** 2
