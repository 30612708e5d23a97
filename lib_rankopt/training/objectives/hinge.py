"""Objective on liked images against the network's own samples: Diffusion-DRO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from lib_rankopt.training.objectives import checks
from lib_rankopt.training.objectives.base import Errors, Kind, Loss, Objective


@dataclass(frozen=True)
class Hinge(Objective):
    """loss = max(0, margin + d_expert − d_sample), d = E_policy − E_reference (Diffusion-DRO, arXiv 2510.18353, max(m, −L_L + L_R)).

    Columns are the expert image and a point of the policy's own sampling path, whose target is the prediction of the snapshot that sampled
    it. With ``lag`` 0 that is the current network: E_policy of the sample and its gradient are 0, and what is left is SFT on the experts
    that are still active. Only an older snapshot also pushes away from the network's own samples.
    """

    margin: float = field(default=0.001, metadata={"help": "lead at which an image stops to train, in the unit of errors"})
    lag: int = field(default=0, metadata={"help": "updates between snapshots of the network that samples; 0 takes one at every update"})

    name: ClassVar[str] = "hinge"
    title: ClassVar[str] = "DRO"
    explanation: ClassVar[str] = (
        "Learns to make images like the ones that you liked, and lets go of each as soon as it is ahead of the network's own images. "
        "Holds back from overfitting better than SFT, but takes longer because it also has to sample."
    )
    kind: ClassVar[Kind] = "experts"
    needs_reference: ClassVar[bool] = True
    samples_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.not_negative("margin", self.margin)
        checks.count("lag", self.lag)

    def __call__(self, errors: Errors) -> Loss:
        drift = errors.drift.float()
        items = (self.margin + drift[:, 0] - drift[:, 1]).relu()
        watched = {
            "active": (items.detach() > 0).float(),
            "expert_drift": drift[:, 0].detach(),
            "sample_drift": drift[:, 1].detach(),
        }
        return Loss(items, watched)
