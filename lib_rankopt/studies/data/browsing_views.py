"""Frozen records of looking through what there is; JSON-able with :func:`lib_rankopt.studies.views.to_json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SourceView:
    """A study or a collection.

    Attributes:
        id: what training takes as data: a study's id, or ``c`` and a collection's number.
        kind: ``study``, ``import``, ``folder`` or ``webui``.
        origin: where its images are from: a folder, a format; of a study its prompt.
        rankings, pairs, likes, dislikes: answers that stand.
        raters, models, states, labelled_by: counts by name: of answers, of images, of images, of labels by what they were concluded from.
        collection: its number, ``None`` of a study.
    """

    id: str
    name: str
    kind: str
    origin: str = ""
    images: int = 0
    prompts: int = 0
    rankings: int = 0
    pairs: int = 0
    likes: int = 0
    dislikes: int = 0
    raters: dict[str, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    labelled_by: dict[str, int] = field(default_factory=dict)
    created_at: str = ""
    collection: int | None = None

    @property
    def answers(self) -> int:
        """All answers from which something can be learnt."""
        return self.rankings + self.pairs + self.likes + self.dislikes


@dataclass(frozen=True)
class Overview:
    """All that is there, newest first; ``total`` adds up the counts, so a prompt of two sources counts twice."""

    sources: tuple[SourceView, ...]
    total: SourceView


@dataclass(frozen=True)
class LabelView:
    """What one rater thinks of an image, −1 to 1; ``sources`` says what it was concluded from, empty where it was said."""

    rater: str
    value: float
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class RatingView:
    """How strong an image is believed to be after some comparisons."""

    mean: float
    sd: float
    games: int


@dataclass(frozen=True)
class ImageView:
    """An image with what follows from its feedback.

    Attributes:
        comparisons: answers in which it was compared. wins, losses, ties: single opponents in these.
        contradictory: raters said opposite things of it.
    """

    number: int
    collection: int
    key: str
    prompt: str
    state: str
    width: int
    height: int
    model: str
    labels: tuple[LabelView, ...] = ()
    contradictory: bool = False
    comparisons: int = 0
    wins: int = 0
    losses: int = 0
    ties: int = 0
    rating: RatingView | None = None


@dataclass(frozen=True)
class ImagePage:
    """Some images, by number; ``next`` is what to ask for behind them, ``None`` at the end."""

    images: tuple[ImageView, ...]
    next: int | None = None


@dataclass(frozen=True)
class EventView:
    """One answer about an image. ``tiers`` are numbers of images, best first; ``source`` as of labels."""

    number: int
    kind: str
    rater: str
    source: str
    created_at: str
    tiers: tuple[tuple[int, ...], ...]
    prompt: str | None = None


@dataclass(frozen=True)
class ImageDetail:
    """All that is known of an image.

    Attributes:
        path: where its file lies, below its collection's folder or the data folder; empty where there is none.
        about: what its data set says of it. events: standing feedback, oldest first, the latest 500.
        same: numbers of images, in any collection, with the same file or pixels.
    """

    image: ImageView
    collection_name: str
    path: str
    file_sha256: str
    sha256: str
    about: dict[str, Any] = field(default_factory=dict)
    events: tuple[EventView, ...] = ()
    same: tuple[int, ...] = ()


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are or look the same; ``keep`` is the one with the most feedback, of these the largest, of these the first."""

    images: tuple[ImageView, ...]
    keep: int


@dataclass(frozen=True)
class Duplicates:
    """Groups of duplicates.

    Attributes:
        groups: the first of them. total: how many there are, ``more`` tells that not even all of these were counted.
        unseen: images whose files nobody has looked at, so that they are compared by nothing.
    """

    groups: tuple[DuplicateGroup, ...]
    total: int
    more: bool = False
    unseen: int = 0


@dataclass(frozen=True)
class ObjectiveReach:
    """What an objective would get of some data.

    Attributes:
        kind: what an item is: experts, labels, pairs, lists. items: how many; at least so many where they are counted.
        liked, disliked: of items that are labels.
        sentences: what training says of such data, or why there is nothing.
    """

    name: str
    title: str
    kind: str
    items: int
    prompts: int
    liked: int = 0
    disliked: int = 0
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReachView:
    """What each objective would get: of examples that were made (``built``), or counted from the answers, and ``why``.

    ``problems`` are the first hundred things that had to be left out.
    """

    objectives: tuple[ObjectiveReach, ...]
    built: bool
    why: str = ""
    problems: tuple[str, ...] = ()
