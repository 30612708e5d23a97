"""Frozen records of training data. Nothing here knows where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class TrainingImage:
    """One image file.

    Attributes:
        sha256: identity by content, as :func:`lib_rankopt.store.blobs.image_hash` has it.
        width, height: pixels.
        model: what made it: the checkpoint's sha256, or its beginning as parameters hold it, or a name; ``None`` where unknown.
    """

    sha256: str
    path: Path
    width: int
    height: int
    model: str | None = None


@dataclass(frozen=True)
class RankedImages:
    """Images of one prompt in order of preference.

    Attributes:
        prompt: as written, without ``<lora:…>`` tags.
        images: best first.
        tiers: tier of each image, 0 best, ascending; equal numbers are ties.
        rater: who said so.
        source: for messages: study and round, or file and line.
    """

    prompt: str
    images: tuple[TrainingImage, ...]
    tiers: tuple[int, ...]
    rater: str = "me"
    source: str = ""


@dataclass(frozen=True)
class LabelledImage:
    """One image that was liked (true) or disliked (false) by itself.

    Attributes:
        weight: above 0; 1 of what somebody said, less of what was concluded from what they did.
        said: somebody said so on purpose; such labels win over others.
    """

    prompt: str
    image: TrainingImage
    liked: bool
    rater: str = "me"
    source: str = ""
    weight: float = 1.0
    said: bool = True


@dataclass(frozen=True)
class Feedback:
    """All that was said, before an objective decides what it takes from it.

    Attributes:
        problems: sentences about what was left out and why (a missing file with its line, contradictory labels …).
    """

    rankings: tuple[RankedImages, ...] = ()
    labels: tuple[LabelledImage, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """One item that an objective trains on.

    Attributes:
        prompt: as the objective wants it.
        images: best first; one for experts and labels, two for pairs, two or more for lists.
        tiers: as in :class:`RankedImages`.
        label: +1 or −1 of objectives on labels, +1 for experts, 0 otherwise.
        weight: the mean over all training examples is 1.
    """

    prompt: str
    images: tuple[TrainingImage, ...]
    tiers: tuple[int, ...] = (0,)
    label: int = 0
    weight: float = 1.0


@dataclass(frozen=True)
class Split:
    """Training examples and held-out ones; no prompt is in both.

    Attributes:
        held_out_pairs: pairs of held-out prompts, whatever the objective, for validation.
        summary: sentences for the person: how much there is, label balance, what such an amount has supported in the literature.
        counts: ``prompts, images, pairs, liked, disliked, foreign, held_out_prompts`` …
    """

    training: tuple[Example, ...]
    held_out: tuple[Example, ...]
    held_out_pairs: tuple[Example, ...]
    summary: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
