"""Supervised fine-tuning on liked images: the control that every other objective has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lib_rankopt.training.objectives.base import Errors, Kind, Loss, Objective


@dataclass(frozen=True)
class Sft(Objective):
    """loss = E_policy of the liked image (DDPM, arXiv 2006.11239, eq. 14)."""

    name: ClassVar[str] = "sft"
    title: ClassVar[str] = "SFT"
    explanation: ClassVar[str] = (
        "Learns to make images like the ones that you liked, and does not look at the others. Simple and strong with a few hundred images."
    )
    kind: ClassVar[Kind] = "experts"

    def __call__(self, errors: Errors) -> Loss:
        return Loss(errors.policy[:, 0])
