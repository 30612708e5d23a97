"""What all raters said about images, brought together: one strength for each, with its uncertainty, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lib_rankopt.evaluation.preferences.agreement import Agreement, Answer, agreement, outcomes
from lib_rankopt.evaluation.preferences.fit import Ratings, fit
from lib_rankopt.evaluation.preferences.records import Builder, Comparisons
from lib_rankopt.store.collected.records import COMPARISONS
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry
from lib_rankopt.studies.data.beliefs import REPEATS


@dataclass(frozen=True)
class Aggregate:
    """Strengths of images, by position in ``keys``.

    Attributes:
        keys, prompts: of all images, those without feedback too.
        comparisons: what the strengths follow from. ratings: see :class:`~lib_rankopt.evaluation.preferences.fit.Ratings`.
        raters: how many answers each has given, labels too.
    """

    keys: tuple[str, ...]
    prompts: tuple[str, ...]
    comparisons: Comparisons
    ratings: Ratings
    raters: dict[str, int]


def aggregate(dataset: Dataset, concluded: bool = True) -> Aggregate:
    """Fit strengths to all rankings, pairs and labels of a data set; one pass over each of images and feedback.

    Comparisons that were shown again to see how consistent a rater is count for the agreement alone.

    Args:
        concluded: labels that were concluded from what somebody did count too, by their weight.
    """
    numbers: dict[str, int] = {}
    prompts: list[str] = []
    for image in dataset.images():
        if image.key not in numbers:
            numbers[image.key] = len(prompts)
            prompts.append(image.prompt)
    builder, raters = Builder(), dict[str, int]()
    for said, _ in dataset.feedback():
        if (said.source and not concluded) or not all(key in numbers for key in said.images):
            continue
        raters[said.rater] = raters.get(said.rater, 0) + 1
        _add(builder, said, [numbers[key] for key in said.images])
    comparisons = builder.finish(len(numbers))
    return Aggregate(tuple(numbers), tuple(prompts), comparisons, fit(comparisons), raters)


def _add(builder: Builder, said: FeedbackEntry, images: list[int]) -> None:
    if said.kind in ("like", "dislike"):
        weight = said.about.get("weight", 1.0) if said.source else 1.0
        (builder.like if said.kind == "like" else builder.dislike)(images[0], float(weight))
    elif REPEATS not in said.about and len(set(images)) == len(images):
        builder.ranking([[images[position] for position in tier] for tier in said.tiers])


def agreement_of(dataset: Dataset) -> Agreement:
    """Return how far the raters agree: over all comparisons, two images at a time."""
    return agreement(answers_of(dataset))


def answers_of(dataset: Dataset) -> Iterator[Answer]:
    """Yield (rater, image, image, outcome) of all comparisons."""
    for said, _ in dataset.feedback():
        if said.kind in COMPARISONS:
            for one, other, outcome in outcomes(said.tiers):
                if said.images[one] != said.images[other]:
                    yield said.rater, said.images[one], said.images[other], outcome
