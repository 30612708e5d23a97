"""From standing events to what the optimiser is told and what a face shows. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib_rankopt.optimizers import ranking
from lib_rankopt.optimizers.base import RoundFeedback, Scores, Tiers
from lib_rankopt.store import derive

if TYPE_CHECKING:
    from lib_rankopt.store.records import EventRecord


def feedback_of(size: int, standing: Sequence[EventRecord]) -> RoundFeedback | None:
    """Return the answer to a round of ``size`` candidates, ``None`` while it has none.

    Rankings, comparisons and "none is better" of all raters count together. A skip says nothing by itself: where only skips stand, the
    answer is a skip. Likes and dislikes are not heard here; they count when they have been turned into a ranking.
    """
    closing = derive.closing(standing)
    if not closing:
        return None
    shown = sorted({position for event in closing for position in event.shown})
    rankings = [e for e in closing if e.kind == "ranking"]
    scores = tuple(_scores_of(event, shown) for event in rankings)
    pairs = [(e.payload["tiers"][0][0], e.payload["tiers"][1][0]) for e in closing if e.kind == "pair"]
    return RoundFeedback(
        size=size,
        rankings=tuple(tuple(tuple(tier) for tier in e.payload["tiers"]) for e in rankings),
        pairs=tuple(pairs),
        shown=None if len(shown) == size else tuple(shown),
        none_better=any(e.kind == "none_better" for e in closing),
        scores=scores if any(scores) else (),
    )


def _scores_of(event: EventRecord, shown: Sequence[int]) -> Scores | None:
    """Return the numbers behind a ranking; ``None`` where it has none that fit (others saw more of the round, or a file was made up)."""
    tiers, scale = event.payload["tiers"], event.payload.get("scale")
    values = ranking.falling(event.payload.get("scores"))
    named = {position for tier in tiers for position in tier}
    if not isinstance(scale, str) or len(values) != len(tiers) or named != set(shown):
        return None
    return Scores(scale, values)


def derived_tiers(feedback: RoundFeedback | None, incumbent: int | None) -> Tiers:
    """Return the ranking that follows from all answers, best first; empty where nothing was said.

    Candidates are ordered by the weights that the optimisers use. Among equals of the first tier the incumbent stands first.
    """
    if feedback is None:
        return ()
    answer = ranking.check(feedback, feedback.size, incumbent)
    if not answer.rankings and not answer.pairs:
        return ()
    weights = ranking.weights(answer)
    tiers = ranking.tiers_from_scores([float(weights[i]) for i in answer.shown], answer.shown)
    first = sorted(tiers[0], key=lambda i: i != incumbent)
    return (tuple(first), *tiers[1:])


def tiers_from_labels(standing: Sequence[EventRecord], rater: str, shown: Sequence[int]) -> Tiers:
    """Return the ranking in a rater's likes and dislikes of one round, empty where they set nothing apart."""
    labels = {i: liked for i, liked in derive.labels(standing, rater).items() if i in shown}
    if not labels:
        return ()
    liked = [i for i, yes in labels.items() if yes]
    disliked = [i for i, yes in labels.items() if not yes]
    tiers = ranking.tiers_from_labels(liked, disliked, sorted(shown))
    return tiers if len(tiers) > 1 else ()
