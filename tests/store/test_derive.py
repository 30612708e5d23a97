"""What follows from events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lib_rankopt.store import derive
from lib_rankopt.store.records import EventRecord


def event(number: int, kind: str, position: int = 0, rater: str = "me", retracts: int | None = None) -> EventRecord:
    payload = {"tiers": [[position]]}
    return EventRecord("s", kind, "r", payload, (), rater, str(number), None, retracts, None, "", number)  # type: ignore[arg-type]


def test_retracted_events_do_not_stand() -> None:
    events = [event(1, "ranking"), event(2, "like"), event(3, "retraction", retracts=1), event(4, "skip")]
    stand = derive.standing(events)
    assert [e.number for e in stand] == [2, 4]
    assert [e.kind for e in derive.closing(stand)] == ["skip"]


def test_the_latest_label_of_a_rater_counts() -> None:
    events = [event(1, "like", 0), event(2, "like", 1), event(3, "dislike", 0), event(4, "like", 2), event(5, "unlike", 2)]
    assert derive.labels(events) == {0: False, 1: True}


def test_raters_who_disagree_leave_no_label() -> None:
    events = [event(1, "like", 0, "a"), event(2, "dislike", 0, "b"), event(3, "like", 1, "a"), event(4, "like", 1, "b")]
    assert derive.labels(events) == {1: True}
    assert derive.labels(events, "b") == {0: False, 1: True}


@given(st.lists(st.tuples(st.sampled_from(["like", "dislike", "unlike"]), st.integers(0, 3)), max_size=30))
def test_retracting_everything_leaves_nothing(said: list[tuple[str, int]]) -> None:
    events = [event(i, kind, position) for i, (kind, position) in enumerate(said)]
    undone = [event(100 + e.number, "retraction", retracts=e.number) for e in events]
    assert derive.standing(events + undone) == []
    half = len(events) // 2
    assert derive.labels(derive.standing(events + undone[half:])) == derive.labels(events[:half])
