"""Objective on ranked lists: Diffusion-DPO made list-wise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lib_rankopt.training.objectives import checks
from lib_rankopt.training.objectives.base import Errors, Kind, Loss, Objective


@dataclass(frozen=True)
class Lpo(Objective):
    """loss = mean over i of −log( exp(s_i) / (exp(s_i) + Σ_j exp(s_j)) ), s = −(β/2)·(E_policy − E_reference) (Plackett-Luce).

    i runs over the images that have strictly worse ones, j over the images strictly worse than i: images of one tier are never compared.
    A list of two is :class:`~lib_rankopt.training.objectives.dpo.Dpo`; a list of one tier has loss 0.
    Source: Diffusion-LPO, arXiv 2510.01540; ties and the mean over i (a list's weight does not grow with its length) are this project's.
    """

    beta: float = field(default=5000.0, metadata={"help": "how tightly the network is held to the reference, in the unit of DPO"})

    name: ClassVar[str] = "lpo"
    title: ClassVar[str] = "LPO (whole rankings)"
    explanation: ClassVar[str] = (
        "Learns from whole rankings, in which each image is set against all the worse ones at once. "
        "Gets more out of a ranking than DPO, which sees it as separate pairs."
    )
    kind: ClassVar[Kind] = "lists"
    needs_reference: ClassVar[bool] = True
    shares_noise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.positive("beta", self.beta)

    def __call__(self, errors: Errors) -> Loss:
        assert errors.tiers is not None
        tiers = errors.tiers
        drift = errors.drift.float().masked_fill(tiers < 0, 0.0)  # whatever stands in places without an image, not a number included
        score = -0.5 * self.beta * drift
        worse = (tiers[:, None, :] > tiers[:, :, None]) & (tiers >= 0)[:, :, None]  # [n, i, j]: j is strictly worse than i
        counts = worse.any(2)
        compared = worse | torch.eye(tiers.shape[1], dtype=torch.bool, device=tiers.device)
        rest = score[:, None, :].expand(compared.shape).masked_fill(~compared, float("-inf")).logsumexp(2)
        items = _mean(rest - score, counts)
        return Loss(items, _watched(score.detach(), drift.detach(), worse, tiers))


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean over all but the first dimension where ``counts``; 0 where nothing does."""
    dims = tuple(range(1, values.dim()))
    return values.masked_fill(~counts, 0.0).sum(dims) / counts.sum(dims).clamp(min=1)


def _watched(score: Tensor, drift: Tensor, worse: Tensor, tiers: Tensor) -> dict[str, Tensor]:
    margin = score[:, :, None] - score[:, None, :]
    return {
        "logit": _mean(margin, worse),
        "implicit_accuracy": _mean((margin > 0).float(), worse),
        "winner_drift": _mean(drift, tiers == 0),
        "loser_drift": _mean(drift, tiers > 0),
    }
