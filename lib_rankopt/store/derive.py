"""What follows from feedback events. Pure functions: the same events give the same result everywhere."""

from __future__ import annotations

from collections.abc import Iterable

from lib_rankopt.store.records import EventKind, EventRecord

CLOSING: tuple[EventKind, ...] = ("ranking", "pair", "skip", "none_better")
LABELS: tuple[EventKind, ...] = ("like", "dislike", "unlike")


def standing(events: Iterable[EventRecord]) -> list[EventRecord]:
    """Return the events that were not taken back, in order; retractions themselves are left out."""
    every = list(events)
    gone = {event.retracts for event in every if event.kind == "retraction"}
    return [event for event in every if event.kind != "retraction" and event.number not in gone]


def closing(events: Iterable[EventRecord]) -> list[EventRecord]:
    """Return those of the standing events that answer a round."""
    return [event for event in events if event.kind in CLOSING]


def labels(events: Iterable[EventRecord], rater: str | None = None) -> dict[int, bool]:
    """Return position → liked (true) or disliked (false) from one round's standing events; the latest of a rater counts.

    With ``rater=None`` all raters count; where they disagree on a candidate it has no label.
    """
    latest: dict[tuple[str, int], str] = {}
    for event in events:
        if event.kind in LABELS and (rater is None or event.rater == rater):
            latest[event.rater, int(event.payload["tiers"][0][0])] = event.kind
    said: dict[int, set[bool]] = {}
    for (_, position), kind in latest.items():
        if kind != "unlike":
            said.setdefault(position, set()).add(kind == "like")
    return {position: votes.pop() for position, votes in said.items() if len(votes) == 1}
