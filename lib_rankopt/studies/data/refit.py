"""All ratings of a collection again from all of its feedback, by one fit; and how far its raters agree."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_rankopt.evaluation.preferences import Builder, agreement, fit, outcomes
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS, net_labels
from lib_rankopt.store.collected.records import COMPARISONS, FeedbackRecord, Rating
from lib_rankopt.studies.data import beliefs
from lib_rankopt.studies.data.comparing_views import agreement_values
from lib_rankopt.studies.data.jobs import Step

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

_PAGE = 5000


@dataclass
class _Reading:
    """What was read of the feedback: images by place, comparisons, and every rater's answer to every pair."""

    places: dict[int, int]
    builder: Builder = field(default_factory=Builder)
    raters: dict[str, int] = field(default_factory=dict)
    who: array[int] = field(default_factory=lambda: array("i"))
    first: array[int] = field(default_factory=lambda: array("i"))
    second: array[int] = field(default_factory=lambda: array("i"))
    outcome: array[int] = field(default_factory=lambda: array("b"))
    last: int = 0


def refit(
    store: CollectionStore,
    collection: int,
    finish: Callable[[dict[int, Rating], int, dict[str, Any]], None],
    weights: Mapping[str, float] = IMPLICIT_WEIGHTS,
) -> Iterator[Step]:
    """Fit the strengths of all images, and keep them.

    Repeated comparisons count for the agreement alone. Labels count against an average image, concluded ones by their weight.

    Args:
        finish: called with the new ratings, the number of the last event in them, and the agreement as plain values, once they are kept.
        weights: of labels that were concluded, by source.

    Yields:
        a step for each page of feedback.
    """
    store.seed_ratings(collection)
    reading = _Reading(_places(store, collection))
    total = sum(number for name, number in store.tallies(collection).items() if name.startswith("kind:"))
    done = 0
    while page := store.feedback(collection, reading.last, _PAGE, standing=True):
        _read(store, page, reading, weights)
        done += len(page)
        yield Step(done, max(total, done), "answers")
    comparisons = reading.builder.finish(len(reading.places))
    fitted = fit(comparisons, prior_sd=beliefs.PRIOR.sd)
    games = comparisons.games - comparisons.likes - comparisons.dislikes
    values = zip(reading.places, fitted.mean.tolist(), fitted.sd.tolist(), games.tolist(), strict=True)
    ratings = [Rating(image, mean, sd, round(games)) for image, mean, sd, games in values]
    yield Step(done, max(total, done), "answers")
    for start in range(0, len(ratings), _PAGE):
        store.put_ratings(collection, ratings[start : start + _PAGE])
        yield Step(done, max(total, done), "answers")
    names = list(reading.raters)
    answers = zip((names[number] for number in reading.who), reading.first, reading.second, reading.outcome, strict=True)
    finish({one.image: one for one in ratings}, reading.last, agreement_values(agreement(answers)))
    yield Step(done, max(total, done), "answers", {"answers": done, "images": len(ratings)})


def _places(store: CollectionStore, collection: int) -> dict[int, int]:
    found: dict[int, int] = {}
    last = 0
    while page := store.ratings(collection, last, 20_000):
        last = page[-1].image
        for one in page:
            found[one.image] = len(found)
    return found


def _read(store: CollectionStore, page: list[FeedbackRecord], reading: _Reading, weights: Mapping[str, float]) -> None:
    reading.last = page[-1].number
    labelled = list(dict.fromkeys(event.images[0] for event in page if event.kind in ("like", "dislike")))
    net = net_labels(store.feedback_of(labelled), weights) if labelled else {}
    values = {label.events[-1]: label.value for labels in net.values() for label in labels}
    for event in page:
        places = [reading.places.get(image, -1) for image in event.images]
        if -1 in places:  # an image that came meanwhile
            continue
        if event.kind in COMPARISONS:
            tiers = [[places[place] for place in tier] for tier in event.tiers]
            if not beliefs.is_repeat(event):
                reading.builder.ranking(tiers)
            _note(event.rater, tiers, reading)
        elif value := values.get(event.number):
            (reading.builder.like if value > 0 else reading.builder.dislike)(places[0], abs(value))


def _note(rater: str, tiers: list[list[int]], reading: _Reading) -> None:
    """An answer as pairs."""
    number = reading.raters.setdefault(rater, len(reading.raters))
    for one, other, outcome in outcomes(tiers):
        reading.who.append(number)
        reading.first.append(one)
        reading.second.append(other)
        reading.outcome.append(outcome)
