"""Objective on single images with a like or a dislike: Diffusion-KTO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.training.objectives import checks
from lib_rankopt.training.objectives.base import Errors, Kind, Loss, Objective

Utility = Literal["kahneman_tversky", "loss_averse", "risk_seeking"]


@dataclass(frozen=True)
class Kto(Objective):
    """loss = w·(1 − U(u)), u = s·β·(g − z), g = E_reference − E_policy, s = ±1, z = max(0, mean g).

    Source: Diffusion-KTO, arXiv 2404.04465.
    U(u) is σ(u) (kahneman_tversky), log σ(u) (loss_averse) or −log σ(−u) (risk_seeking). z comes from :attr:`Errors.level`, a
    running mean over many items rather than the few of one batch. At u = 0 the slope of σ is half that of the other two.
    """

    beta: float = field(default=2500.0, metadata={"help": "how tightly the network is held to the reference; 2500 compares to 5000 of DPO"})
    utility: Utility = field(default="kahneman_tversky", metadata={"help": "how gains are felt: " + ", ".join(get_args(Utility))})
    liked_share: float = field(default=0.8, metadata={"help": "share of liked images among those drawn (gamma), however many there are"})
    liked_weight: float = field(default=1.0, metadata={"help": "factor on the loss of liked images"})
    disliked_weight: float = field(default=1.0, metadata={"help": "factor on the loss of disliked images"})

    name: ClassVar[str] = "kto"
    title: ClassVar[str] = "KTO"
    explanation: ClassVar[str] = (
        "Learns from single images that you liked or disliked, and needs no comparisons. "
        "Good for thumbs up and down, also when there are far more of one than of the other."
    )
    kind: ClassVar[Kind] = "labels"
    needs_reference: ClassVar[bool] = True
    uses_level: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.positive("beta", self.beta)
        checks.share("liked_share", self.liked_share)
        checks.not_negative("liked_weight", self.liked_weight)
        checks.not_negative("disliked_weight", self.disliked_weight)
        if self.utility not in get_args(Utility):
            raise InvalidInputError(f"utility is {self.utility!r}; give one of {', '.join(get_args(Utility))}.")
        if self.liked_weight == self.disliked_weight == 0:
            raise InvalidInputError("liked_weight and disliked_weight are both 0; give at least one above 0.")

    def __call__(self, errors: Errors) -> Loss:
        assert errors.labels is not None
        label = errors.labels[:, 0].float()
        drift = errors.drift[:, 0].float()
        gain = label * self.beta * (-drift - max(0.0, float(errors.level)))
        weight = torch.where(label > 0, self.liked_weight, self.disliked_weight).to(gain)
        watched = {
            "gain": gain.detach(),
            "implicit_accuracy": (gain.detach() > 0).float(),
            "drift": drift.detach(),
            "level": torch.tensor(float(errors.level)),
        }
        return Loss(weight * (1.0 - self._utility(gain)), watched)

    def _utility(self, gain: Tensor) -> Tensor:
        if self.utility == "kahneman_tversky":
            return torch.sigmoid(gain)
        if self.utility == "loss_averse":
            return functional.logsigmoid(gain)
        return -functional.logsigmoid(-gain)
