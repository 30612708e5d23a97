"""The running ratings of a collection: what each answer changes, and what is believed once an answer was taken back.

They follow from the feedback and can be made again from it: :func:`replayed` goes through all of it in order; :mod:`.refit` fits it all
at once, which is what counts in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lib_rankopt.evaluation.preferences import update, update_label
from lib_rankopt.store.collected.derive import net_labels, standing
from lib_rankopt.store.collected.records import COMPARISONS, LABEL_KINDS, FeedbackRecord, Rating

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

REPEATS = "repeats"  # in ``about``: number of the answer whose images were shown again
PRIOR = Rating(0)  # as the store seeds it


def is_repeat(event: FeedbackRecord) -> bool:
    """Whether an answer only tells how consistent its rater is."""
    return REPEATS in event.about


def after(beliefs: Mapping[int, Rating], event: FeedbackRecord, value: float | None = None) -> dict[int, Rating]:
    """Return the new ratings of an event's images; empty where it says nothing of them.

    Args:
        beliefs: at least of the event's images.
        value: of a label, −1 … 1, where it is not the whole of what it says.
    """
    if event.kind in COMPARISONS and not is_repeat(event):
        before = [beliefs[image] for image in event.images]
        means, sds = update([one.mean for one in before], [one.sd for one in before], event.tiers)
        return {
            one.image: replace(one, mean=float(mean), sd=float(sd), games=one.games + 1)
            for one, mean, sd in zip(before, means, sds, strict=True)
        }
    if event.kind in ("like", "dislike"):
        strength = (1.0 if event.kind == "like" else -1.0) if value is None else value
        one = beliefs[event.images[0]]
        mean, sd = update_label(one.mean, one.sd, strength > 0, weight=abs(strength))
        return {one.image: replace(one, mean=mean, sd=sd)}
    return {}


def through(beliefs: Mapping[int, Rating], events: Iterable[FeedbackRecord], only: Sequence[int] | None = None) -> dict[int, Rating]:
    """Return the ratings after some events, in order. Of each rater's labels about an image the last word counts, at its place.

    Args:
        beliefs: before, of all images that the events are about.
        only: images that change; the others stay as they are.
    """
    found = dict(beliefs)
    every = standing(events)
    values = {label.events[-1]: label.value for labels in net_labels(every).values() for label in labels}
    chosen = None if only is None else set(only)
    for event in every:
        if event.kind in LABEL_KINDS and event.number not in values:
            continue
        new = after(found, event, values.get(event.number))
        found.update(new if chosen is None else {image: one for image, one in new.items() if image in chosen})
    return found


def relearned(store: CollectionStore, images: Sequence[int]) -> dict[int, Rating]:
    """Return the ratings of some images made again from all that stands about them, against opponents as they are now.

    An approximation for the time until the next fit: what those opponents have learnt from the images meanwhile stays with them.
    """
    events = store.feedback_of(images)
    others = {image for event in events for image in event.images}
    before = {**known(store, sorted(others)), **{image: Rating(image) for image in images}}
    found = through(before, events, images)
    return {image: found[image] for image in images}


def known(store: CollectionStore, images: Sequence[int]) -> dict[int, Rating]:
    """Return the ratings of images, the prior where they have none."""
    found = store.ratings_of(images)
    return {image: found.get(image, Rating(image)) for image in images}


def replayed(store: CollectionStore, collection: int) -> dict[int, Rating]:
    """Return the running ratings of all images that were ever compared or labelled, from the feedback alone."""
    events: list[FeedbackRecord] = []
    while page := store.feedback(collection, events[-1].number if events else 0, 10_000, standing=True):
        events += page
    images = {image for event in events for image in event.images}
    return through({image: Rating(image) for image in images}, events)
