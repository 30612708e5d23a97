"""The contract of objectives: pure functions of per-image errors, from which the loop makes the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

Kind = Literal["experts", "labels", "pairs", "lists"]
"""What one item of an objective is: one liked image; one image with a label; a better and a worse image; a ranked list."""


@dataclass(frozen=True)
class Errors:
    """Errors of ``n`` items of ``k`` images each, best first.

    An error is the mean over C·h·w of the squared difference between the network's output and its target (the noise, or v), float32.

    Attributes:
        policy: ``[n, k]``, under the network that is trained, with gradient.
        reference: ``[n, k]``, the same with its LoRA off, without gradient; ``None`` where the objective needs none.
        labels: ``[n, k]``, +1 liked, −1 disliked; of objectives on labels.
        tiers: ``[n, k]``, of lists: 0 for the best tier, equal numbers for ties, −1 for places that hold no image.
        overlap: ``[n]``, of pairs: mean over C·h·w of the product of both residuals (better · worse), without gradient.
        distance: ``[n, k]``, mean over C·h·w of the squared difference of the outputs with and without the LoRA, without gradient.
        level: running mean of reference − policy over recent items of all processes; of objectives that ask for it (z_ref of KTO).
    """

    policy: Tensor
    reference: Tensor | None = None
    labels: Tensor | None = None
    tiers: Tensor | None = None
    overlap: Tensor | None = None
    level: float = 0.0
    distance: Tensor | None = None

    @property
    def drift(self) -> Tensor:
        """policy − reference ``[n, k]``: below 0 where the trained network explains an image better than the reference."""
        assert self.reference is not None
        return self.policy - self.reference


@dataclass(frozen=True)
class Loss:
    """What an objective makes of a batch.

    Attributes:
        items: ``[n]``, loss of each item; the loop takes their weighted mean.
        watched: quantities to plot, ``[n]`` or scalars, without gradient.
    """

    items: Tensor
    watched: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective(ABC):
    """One way to learn from feedback. Subclasses are frozen dataclasses whose fields are the options, with ``help`` in their metadata.

    Attributes:
        name: in the registry, on the command line and in file names.
        title: for people.
        explanation: two plain sentences.
        kind: what an item is.
        needs_reference: whether errors with the LoRA off are wanted.
        shares_noise: the images of an item get one timestep and one noise.
        uses_level: :attr:`Errors.level` is wanted.
        samples_policy: each item gets a second column, a point of the policy's own sampling path with the policy's prediction as target.
        learning_rate: default for LoRA.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    explanation: ClassVar[str]
    kind: ClassVar[Kind]
    needs_reference: ClassVar[bool] = False
    shares_noise: ClassVar[bool] = False
    uses_level: ClassVar[bool] = False
    samples_policy: ClassVar[bool] = False
    learning_rate: ClassVar[float] = 1e-4

    @abstractmethod
    def __call__(self, errors: Errors) -> Loss:
        """Loss of each item."""

    def prompt(self, prompt: str, label: int) -> str:
        """The prompt that an image is trained with; ``label`` is +1 or −1."""
        return prompt

    @property
    def negative_text(self) -> str:
        """What belongs into the negative prompt when the LoRA is used; empty for most objectives."""
        return ""

    @property
    def activation_text(self) -> str:
        """What belongs into the prompt when the LoRA is used; empty for most objectives."""
        return ""
