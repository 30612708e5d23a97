"""The default optimiser: steps on the Gaussian shell that remember every answer.

The first round is fresh seeds. Each answer updates a preference model (:mod:`.preference`) over *all* rounds so far, and the centre
moves to the top of its posterior mean. In many dimensions the gradient of that mean at the centre is the rank-weighted sum
Σ w_i·ξ_i of the last round's neighbours, so this is the rank-weighted evolution step; what the model adds is

* the length of the step: the reward known so far, f, makes the landscape fall off as f/ℓ², so steps shrink as the search climbs
  (on a linear reward the best step is c/f, see c(m, k) in the tests);
* memory: directions tried in earlier rounds still count, as far as the length scale ℓ says;
* the spread u·ℓ: the best of 8 neighbours is highest at u = 1.4/f, which is wide at first and narrows by itself; but with answer noise σ,
  neighbours closer than about u = (2σ²)^¼ cannot be told apart. The larger of the two is taken;
* ℓ and σ themselves: a grid of each is weighed by how probable it makes the answers, and the weighted mean is used.

Neighbours are √d·(cos(ℓu)·x + sin(ℓu)·ξ) with directions ξ that add up to nothing: only differences can be ranked, and so these are
larger at the same distance. Every sixth round shows the best image of the round before again, as the incumbent; a few early rounds hold
a neighbour at a tenth of the spread. How these two fare among the others tells luck from progress, hence σ, and how far to trust a
step, hence ℓ; each costs the room of one new direction, which is why they are rare.

A scorer's numbers compare between rounds, and then the order over all images says all of that by itself: no image is shown again, a new
one is placed among the old ones, and ℓ and σ are weighed together. Eight candidates then teach eight directions, because the level of
the round is known too; they need not add up to nothing, and do only where answers are so noisy that larger differences matter more.
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

_SCALES = (0.4, 0.55, 0.75, 1.05, 1.45)
_NOISES = (0.01, 0.04, 0.15, 0.5, 1.2)
_FIRST_SCALE, _FIRST_NOISE = 0.7, 0.3
_ORDERED_SCALES, _ORDERED_NOISES = (0.38, 0.5, 0.66, 0.87, 1.15), (0.015, 0.15, 0.6)
_ORDERED_NOISE = 0.1  # what gives numbers gives them with care
_UNLIKELY, _ALL_WEIGHED = 1e-3, 4  # pairs of ℓ and σ that were so unlikely are tried again in every fourth round only
_EVEN_FROM = 0.15  # σ from which candidates surround the centre evenly although their own level is known too
_LEAST_NOISE = 0.003
_LEAST_SPREAD, _MOST_SPREAD = 0.1, 0.75  # of ℓ
_PROBED = (2, 3, 4, 6, 8)  # moves after which a round holds a neighbour next to the centre
_PROBE = 0.1  # its distance, of the spread
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
    incumbent_every: int = field(
        default=6,
        metadata={"help": "where people rank, show the incumbent again in the second round and every so many rounds after it (0: never)"},
    )

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
        self._noise = _FIRST_NOISE if self._set.noise is None else max(float(self._set.noise), _LEAST_NOISE)
        self._centre: Tensor | None = None
        self._known_best: int | None = None
        self._weights: dict[tuple[float, float], float] = {}  # of pairs of ℓ and σ when they were last weighed
        self._moves = 0
        self._height = 0.0
        self._doubted = False  # "none is better" in a round without the incumbent: only beside it does that say something

    @property
    def spread(self) -> float:
        """Angle between the centre and the next candidates, in radians."""
        if self._set.spread is not None:
            return float(self._set.spread)
        told_apart = 0.85 * math.sqrt(math.sqrt(2.0) * self._noise)  # 0.85: the optimum beyond leading order, tuned
        highest = 1.4 / max(self._height, 1.0)
        return self._scale * min(max(told_apart, highest, _LEAST_SPREAD), _MOST_SPREAD)

    def _propose(self, n: int) -> list[Proposal]:
        if self._centre is None:
            return [Proposal(shell.fresh(self._shape, self._rng), "fresh") for _ in range(n)]
        if self._known_best is not None and self._shows_incumbent():
            known = Proposal(self._latent(self._known_best), "incumbent")
            return [known, *self._neighbours(self._centre, n - 1, self.spread)]
        if self._model.ordered:
            return self._neighbours(self._centre, n, self.spread, even=self._noise > _EVEN_FROM)
        if self._moves in _PROBED and n > 2:
            probe = self._neighbours(self._centre, 1, _PROBE * self.spread)
            return probe + self._neighbours(self._centre, n - 1, self.spread)
        return self._neighbours(self._centre, n, self.spread)

    def _shows_incumbent(self) -> bool:
        every = self._set.incumbent_every
        if every == 0:
            return False
        return self._doubted or (not self._model.ordered and (self._moves - 1) % every == 0)

    def _neighbours(self, centre: Tensor, count: int, angle: float, even: bool = True) -> list[Proposal]:
        """Return ``count`` latents at ``angle`` from the centre, in new directions; ``even`` ones, three or more, add up to nothing."""
        x = centre.double()
        noise = [torch.randn(self._shape, generator=self._rng, dtype=torch.float32).double() for _ in range(count)]
        if even and count > 2:
            mean = sum(noise[1:], noise[0]) / count
            noise = [xi - mean for xi in noise]
        out = []
        for xi in noise:
            tangent = xi - x * (float((xi * x).sum()) / self._dimension)
            size = shell.norm(tangent)
            if size > 0.0:
                turned = math.cos(angle) * x + math.sin(angle) * (self._dimension**0.5 / size) * tangent
                out.append(Proposal(shell.project(turned), "explore"))
            else:
                out.append(Proposal(centre, "explore"))
        return out

    def _learn(self, proposals: list[Proposal], answer: ranking.Answer) -> None:
        edges = ranking.edge_counts(answer).any()
        if not answer.is_skip:
            self._doubted = answer.none_better and not edges
        if not edges:
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
        """Weigh ℓ and σ by the evidence; then fit thoroughly."""
        if self._moves:  # one round of unrelated seeds tells nothing about either
            if self._model.ordered:
                self._weigh_together()
            else:
                self._weigh_in_turn()
        self._model.keep(self._model.fit(self._gram, self._scale, self._noise, 4, "kept"))

    def _weigh_in_turn(self) -> None:
        """ℓ at the present σ, and σ at the present ℓ: rankings alone say too little for more."""
        scales = _SCALES if self._set.length_scale is None else ()
        noises = _NOISES if self._set.noise is None else ()
        by_scale = [self._log_weight(v, self._noise, f"scale {v}", 1) + _log_prior(v, self._noise) for v in scales]
        by_noise = [self._log_weight(self._scale, v, f"noise {v}", 1) + _log_prior(self._scale, v) for v in noises]
        self._scale = _geometric_mean(scales, by_scale, self._scale)
        self._noise = _geometric_mean(noises, by_noise, self._noise)

    def _weigh_together(self) -> None:
        """All pairs of ℓ and σ: an order over rounds tells a rough landscape from careless answers, but not one value at a time."""
        scales = _ORDERED_SCALES if self._set.length_scale is None else (self._scale,)
        noises = _ORDERED_NOISES if self._set.noise is None else (self._noise,)
        every = [(scale, noise) for scale in scales for noise in noises]
        pairs = [p for p in every if self._moves % _ALL_WEIGHED == 0 or self._weights.get(p, 1.0) > _UNLIKELY]
        weights = [self._log_weight(*pair, f"both {pair}", 2) + _log_prior(*pair, 0.4, _ORDERED_NOISE) for pair in pairs]
        self._weights |= {pair: math.exp(w - max(weights)) for pair, w in zip(pairs, weights, strict=True)}
        if len(scales) > 1:
            self._scale = _geometric_mean(tuple(scale for scale, _ in pairs), weights, self._scale)
        if len(noises) > 1:
            self._noise = _geometric_mean(tuple(noise for _, noise in pairs), weights, self._noise)

    def _log_weight(self, scale: float, noise: float, name: str, sweeps: int) -> float:
        return self._model.fit(self._gram, scale, noise, sweeps, name).log_evidence

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


def _geometric_mean(values: tuple[float, ...], log_weights: list[float], otherwise: float) -> float:
    """Return the mean of ``values`` under unnormalised logarithms of weights; ``otherwise`` where there are none."""
    if not values:
        return otherwise
    weights = [math.exp(w - max(log_weights)) for w in log_weights]
    return math.exp(sum(w * math.log(v) for w, v in zip(weights, values, strict=True)) / sum(weights))


def _log_prior(scale: float, noise: float, width: float = 0.5, expected: float = _FIRST_NOISE) -> float:
    """Weak log-normal priors: answers about few rounds must not drive either to an extreme."""
    return -0.5 * (math.log(scale / _FIRST_SCALE) / width) ** 2 - 0.5 * (math.log(noise / expected) / 2.5) ** 2
