"""The optimiser contract: ask for latents, tell what people (or a scorer) preferred.

Words: *m* candidates are shown in a round, of which an (m, k) oracle orders the best *k*; the others form one last unordered tier.
A latent is the initial noise x_T: float32 ``[C, h, w]``, unit variance, on the shell ``‖x‖ = √d`` with ``d = C·h·w``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor

Tiers = tuple[tuple[int, ...], ...]
Origin = Literal["fresh", "incumbent", "explore", "line_search", "centre"]


@dataclass(frozen=True)
class Proposal:
    """One latent to look at.

    Attributes:
        latent: float32 ``[C, h, w]`` on the CPU, with norm √d within 0.1 %.
        origin: why it is proposed. ``incumbent`` marks the best known latent, shown again among the new ones.
    """

    latent: Tensor
    origin: Origin


@dataclass(frozen=True)
class Scores:
    """The numbers that a ranking was made from, of a scorer whose numbers compare between rounds.

    Attributes:
        scale: what they are numbers of, for example the scorer's name and version. Only numbers of one scale compare.
        values: one finite number per tier of the ranking, which names every candidate that was shown; each lower than the one before.
    """

    scale: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class RoundFeedback:
    """Everything that was answered about one round; indices are positions in the list that :meth:`Optimizer.ask` returned.

    Attributes:
        size: number of proposals of the round.
        rankings: one entry per rater: tiers, best first. Shown candidates that a ranking does not name form its last, unordered tier.
        pairs: single comparisons ``(better, worse)``; contradicting ones cancel.
        shown: the candidates that were really on screen (an interrupted round shows fewer); ``None`` means all.
        none_better: the rater says that nothing beats the incumbent. Without an incumbent in the round: that nothing is worth following.
        scores: empty, or one entry per ranking: the numbers behind it, ``None`` where there are none (people rank without).

    A feedback with no ranking, no pair and ``none_better=False`` is a *skip*: the optimiser must not move, and proposes new candidates.
    """

    size: int
    rankings: tuple[Tiers, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    shown: tuple[int, ...] | None = None
    none_better: bool = False
    scores: tuple[Scores | None, ...] = ()


@dataclass(frozen=True)
class OptimizerSettings:
    """Base of each optimiser's settings: a frozen dataclass whose fields carry ``metadata={"help": …}`` for UI, CLI and API."""


@dataclass(frozen=True)
class OptimizerState:
    """What a user may want to see of an optimiser between rounds."""

    rounds_told: int
    values: dict[str, float] = field(default_factory=dict)


class Optimizer(ABC):
    """Proposes latents from rankings. Its state is a function of ``(shape, seed, settings, answers so far)`` and of nothing else.

    Replaying the same ``ask``/``tell`` calls on a new instance gives bit-identical proposals on the same torch version (all draws come
    from a CPU ``torch.Generator`` seeded with ``seed``). ``ask`` and ``tell`` alternate; ``tell`` belongs to the last ``ask``.
    Instances are not thread-safe.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[OptimizerSettings]]

    @abstractmethod
    def __init__(self, shape: tuple[int, int, int], seed: int, settings: OptimizerSettings | None = None) -> None:
        """Build an optimiser for latents of ``shape`` ``(C, h, w)``.

        Raises:
            InvalidInputError: a setting is out of its range (named, with the value seen).
        """

    @abstractmethod
    def ask(self, n: int) -> list[Proposal]:
        """Return ``n ≥ 2`` proposals. An optimiser may return fewer than ``n`` only where its docstring says so, never more.

        Raises:
            ConflictError: the last proposals have not been answered.
        """

    @abstractmethod
    def tell(self, feedback: RoundFeedback) -> None:
        """Take the answer to the last :meth:`ask`.

        Raises:
            InvalidInputError: unknown or repeated ids, a size that differs from the round's.
            ConflictError: nothing was asked.
        """

    @property
    @abstractmethod
    def incumbent(self) -> Tensor | None:
        """The latent to use now if the study ended here, ``[C, h, w]`` on the shell; ``None`` before the first answer."""

    @abstractmethod
    def state(self) -> OptimizerState:
        """Step size, spread and whatever else is worth showing."""
