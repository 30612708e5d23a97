"""Supervised fine-tuning on liked and disliked images, told apart by a prefix of the prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.training.objectives.base import Errors, Kind, Loss, Objective


@dataclass(frozen=True)
class Csft(Objective):
    """loss = E_policy of every image, liked or not (HPS v1, arXiv 2303.14420).

    Disliked images carry ``bad_prefix`` in their prompt. Nothing pushes away from them in training: guidance does, when the prefix stands
    in the negative prompt.
    """

    bad_prefix: str = field(default="Weird image. ", metadata={"help": "put before the prompts of disliked images, as it is"})
    good_prefix: str = field(default="", metadata={"help": "put before the prompts of liked images, as it is"})

    name: ClassVar[str] = "csft"
    title: ClassVar[str] = "SFT with a negative prompt"
    explanation: ClassVar[str] = (
        "Learns from liked and disliked images alike, and marks the disliked ones by words before their prompt. "
        "Put these words into the negative prompt when you use the result, or it does little."
    )
    kind: ClassVar[Kind] = "labels"

    def __post_init__(self) -> None:
        for option in ("bad_prefix", "good_prefix"):
            value = getattr(self, option)
            if not isinstance(value, str):
                raise InvalidInputError(f"{option} is {value!r}; give a text.")
        if self.bad_prefix.strip() == self.good_prefix.strip():
            raise InvalidInputError(f"bad_prefix and good_prefix are both {self.bad_prefix.strip()!r}; give texts that differ.")

    def __call__(self, errors: Errors) -> Loss:
        return Loss(errors.policy[:, 0].float())

    def prompt(self, prompt: str, label: int) -> str:
        return (self.bad_prefix if label < 0 else self.good_prefix) + prompt

    @property
    def negative_text(self) -> str:
        return self.bad_prefix.strip()

    @property
    def activation_text(self) -> str:
        return self.good_prefix.strip()
