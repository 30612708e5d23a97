"""What follows from feedback about collected images. Pure functions: the same events give the same result everywhere.

Labels. Somebody *says* that they like an image (``source`` is empty), or it is *concluded* from what they did with it (``saved``,
``deleted`` …). What somebody said always wins over what was concluded about the same person; raters are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected.records import COMPARISONS, LABEL_KINDS, FeedbackRecord

IMPLICIT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"saved": 0.5, "sent": 0.4, "upscaled": 0.6, "favourite": 0.8, "deleted": 0.5, "interrupted": 0.2, "regenerated": 0.2}
)
"""How much a label counts that was concluded from an action, where one that somebody gave counts 1.

Chosen, not measured: the more deliberate the action, the more it says. A favourite is nearly a like; saving, deleting and upscaling take
a decision about this image; sending on may be about its composition alone; stopping or asking for another one may have other reasons.
A source that is not named here counts nothing. The webui's settings replace these.
"""


@dataclass(frozen=True)
class NetLabel:
    """What one rater thinks of one image, all in all.

    Attributes:
        value: −1 (dislike) to 1 (like), never 0; exactly ±1 where it was said on purpose.
        sources: what it was concluded from, sorted; empty where it was said on purpose.
        events: numbers of the events behind it, ascending.
    """

    rater: str
    value: float
    sources: tuple[str, ...] = ()
    events: tuple[int, ...] = ()

    @property
    def liked(self) -> bool:
        """The label's direction."""
        return self.value > 0

    @property
    def explicit(self) -> bool:
        """Whether it was said on purpose."""
        return not self.sources


@dataclass(frozen=True)
class Record:
    """How an image did in comparisons: how many events it stood in, and over how many single opponents it won, lost or tied."""

    comparisons: int = 0
    wins: int = 0
    losses: int = 0
    ties: int = 0


def standing(events: Iterable[FeedbackRecord]) -> list[FeedbackRecord]:
    """Return the events that were not taken back, in order of appending; retractions themselves are left out."""
    every = sorted(events, key=lambda event: event.number)
    gone = {event.retracts for event in every if event.kind == "retraction"}
    return [event for event in every if event.kind != "retraction" and event.number not in gone]


def checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Return weights as plain numbers.

    Raises:
        InvalidInputError: a weight is not a number from 0 to 1.
    """
    found = {}
    for source, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or not 0 <= weight <= 1:
            raise InvalidInputError(f"The weight of '{source}' is {weight!r}; give a number from 0 (no weight) to 1 (as if said).")
        found[source] = float(weight)
    return found


def net_labels(events: Iterable[FeedbackRecord], weights: Mapping[str, float] = IMPLICIT_WEIGHTS) -> dict[int, tuple[NetLabel, ...]]:
    """Return, by image number, what each rater thinks of it; raters by name, images without any label left out.

    The latest label that a rater gave on purpose counts, and ``unlike`` takes all away that was known of this rater and image before.
    Without one, the latest label of each source counts with the source's weight, and they are added up, within −1 and 1: saving an image
    five times says no more than saving it once.

    Args:
        events: feedback that stands, of any kind; those that are no labels are passed over. Retractions are heeded if they are given.
        weights: by source, 0 to 1; a source that is not in it counts nothing.
    """
    of: dict[tuple[int, str], list[FeedbackRecord]] = {}
    for event in standing(events):
        if event.kind in LABEL_KINDS:
            of.setdefault((int(event.images[0]), event.rater), []).append(event)
    found: dict[int, list[NetLabel]] = {}
    for (image, rater), said in sorted(of.items()):
        label = _net(rater, said, weights)
        if label is not None:
            found.setdefault(image, []).append(label)
    return {image: tuple(labels) for image, labels in found.items()}


def _net(rater: str, said: Sequence[FeedbackRecord], weights: Mapping[str, float]) -> NetLabel | None:
    """``said``: all standing labels of one rater about one image, in order of appending."""
    explicit: FeedbackRecord | None = None
    implicit: dict[str, FeedbackRecord] = {}
    for event in said:
        if event.source:
            implicit[event.source] = event
        elif event.kind == "unlike":
            explicit, implicit = None, {}
        else:
            explicit = event
    if explicit is not None:
        return NetLabel(rater, _sign(explicit), (), (explicit.number,))
    counting = {source: event for source, event in implicit.items() if weights.get(source, 0.0) * _sign(event)}
    value = max(-1.0, min(1.0, math.fsum(weights[source] * _sign(event) for source, event in counting.items())))
    if not value:
        return None
    return NetLabel(rater, value, tuple(sorted(counting)), tuple(sorted(event.number for event in counting.values())))


def _sign(event: FeedbackRecord) -> float:
    return {"like": 1.0, "dislike": -1.0}.get(event.kind, 0.0)


def said_by(rater: str, events: Iterable[FeedbackRecord]) -> dict[int, str]:
    """Return, by image number, ``like`` or ``dislike`` as one rater last said on purpose; images that they have no opinion of left out."""
    own = net_labels(event for event in events if event.rater == rater and not event.source)
    return {image: "like" if label.liked else "dislike" for image, (label,) in own.items()}


def contradictory(labels: Iterable[NetLabel]) -> bool:
    """Whether raters said opposite things of an image on purpose. What was only concluded contradicts nobody."""
    return len({label.liked for label in labels if label.explicit}) > 1


def comparisons(events: Iterable[FeedbackRecord]) -> dict[int, Record]:
    """Return, by image number, how it did in the pairs and rankings of ``events``, of all raters together."""
    found: dict[int, list[int]] = {}  # a page of images has thousands of answers: records are made at the end
    for event in standing(events):
        if event.kind not in COMPARISONS:
            continue
        above, total = 0, sum(map(len, event.tiers))
        for tier in event.tiers:
            size = len(tier)
            for place in tier:
                counts = found.setdefault(int(event.images[place]), [0, 0, 0, 0])
                counts[0] += 1
                counts[1] += total - above - size
                counts[2] += above
                counts[3] += size - 1
            above += size
    return {image: Record(*counts) for image, counts in found.items()}
