"""Objectives on pairs: Diffusion-DPO, and two variants that do not push without end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from lib_rankopt.training.objectives import checks
from lib_rankopt.training.objectives.base import Errors, Kind, Loss, Objective


@dataclass(frozen=True)
class Dpo(Objective):
    """loss = −log σ(logit), logit = −(β/2)·(d_w − d_l), d = E_policy − E_reference (Diffusion-DPO, arXiv 2311.12908).

    T and the weight ω(λ_t) of the paper are absorbed in β, as in the authors' code, whose unit β has: errors are means over C·h·w, and the
    factor on d_w − d_l is β/2.
    """

    beta: float = field(default=5000.0, metadata={"help": "how tightly the network is held to the reference: higher stays closer"})

    name: ClassVar[str] = "dpo"
    title: ClassVar[str] = "DPO"
    explanation: ClassVar[str] = (
        "Learns from pairs to explain the better image more, and the worse image less, than the original network does. "
        "Follows comparisons closely, but can make both images less likely when it trains for long."
    )
    kind: ClassVar[Kind] = "pairs"
    needs_reference: ClassVar[bool] = True
    shares_noise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.positive("beta", self.beta)

    def __call__(self, errors: Errors) -> Loss:
        drift = errors.drift.float()
        return self._loss(drift[:, 0], drift[:, 1])

    def _loss(self, winner: Tensor, loser: Tensor) -> Loss:
        logit = -0.5 * self.beta * (winner - loser)
        return Loss(-functional.logsigmoid(logit), _watched(logit, winner, loser))


@dataclass(frozen=True)
class Ipo(Dpo):
    """loss = (−(d_w − d_l) − 1/(2β))², d = E_policy − E_reference (IPO, arXiv 2310.12036, with −d for the log-ratio).

    What the 'ipo' branch of the diffusers example for Diffusion-DPO intends. The default β is that example's 2500: the difference of the
    drifts is then steered to 2e-4, in the middle of the drifts that are useful (1e-5 to 1e-3), and no further. Losses are of the order
    1/(4β²) = 4e-8 and gradients as small, which Adam evens out only as long as its epsilon is smaller still.
    """

    beta: float = field(default=2500.0, metadata={"help": "the difference of the drifts is steered to 1/(2 beta): higher stays closer"})

    name: ClassVar[str] = "ipo"
    title: ClassVar[str] = "IPO"
    explanation: ClassVar[str] = (
        "Learns from pairs like DPO, but steers to a fixed lead of the better image and then stops. "
        "Suits few pairs or contradictory answers, which DPO overfits."
    )

    def _loss(self, winner: Tensor, loser: Tensor) -> Loss:
        logit = loser - winner
        return Loss((logit - 0.5 / self.beta).square(), _watched(logit, winner, loser))


@dataclass(frozen=True)
class Sdpo(Dpo):
    """loss as of :class:`Dpo`, but the gradient of the loser's error times μ = min(1, E_w / overlap) (Diffusion-SDPO, arXiv 2511.03317).

    overlap = mean(r_w · r_l) of the residuals; μ = 1 where it is not above 0. A step of size η along the gradient in the space of outputs
    (the JJᵀ of the network taken as identity) changes E_w by −η·c·(E_w − μ·overlap), c > 0: never upwards to first order, thanks to μ.
    Straight-through, d_l' = μ·d_l + (1 − μ)·stop(d_l), so the value stays that of DPO.
    """

    name: ClassVar[str] = "sdpo"
    title: ClassVar[str] = "DPO, winner guarded"
    explanation: ClassVar[str] = (
        "Learns from pairs like DPO, but pushes away from the worse image only as far as the better one does not suffer. "
        "A safer choice than DPO where the two images of a pair look alike."
    )

    def __call__(self, errors: Errors) -> Loss:
        assert errors.overlap is not None
        guard = _guard(errors.policy[:, 0].detach().float(), errors.overlap.detach().float())
        drift = errors.drift.float()
        loser = drift[:, 1]
        # not μ·d + (1 − μ)·stop(d): that rounds, and drifts are small differences
        loss = self._loss(drift[:, 0], loser.detach() + guard * (loser - loser.detach()))
        return Loss(loss.items, {**loss.watched, "guard": guard})


def _guard(winner: Tensor, overlap: Tensor) -> Tensor:
    """μ: 1 where the push on the loser does not harm the winner, less where it would."""
    harmful = overlap > 0
    ratio = winner / torch.where(harmful, overlap, torch.ones_like(overlap))
    return torch.where(harmful, ratio.clamp(max=1.0), torch.ones_like(ratio))


def _watched(logit: Tensor, winner: Tensor, loser: Tensor) -> dict[str, Tensor]:
    return {
        "logit": logit.detach(),
        "implicit_accuracy": (logit.detach() > 0).float(),
        "winner_drift": winner.detach(),
        "loser_drift": loser.detach(),
    }
