"""Labels and records of comparisons from events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected import derive
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS, NetLabel, Record
from lib_rankopt.store.collected.records import FeedbackRecord


def said(number: int, kind: str, image: int = 1, rater: str = "me", source: str = "", **more: Any) -> FeedbackRecord:
    images = () if kind == "retraction" else (image,)
    return FeedbackRecord(kind, images, ((0,),) if images else (), str(number), rater=rater, source=source, number=number, **more)  # type: ignore[arg-type]


def compared(number: int, kind: str, images: tuple[int, ...], tiers: tuple[tuple[int, ...], ...]) -> FeedbackRecord:
    return FeedbackRecord(kind, images, tiers, str(number), number=number)  # type: ignore[arg-type]


def test_the_latest_label_that_was_said_counts() -> None:
    events = [said(1, "like"), said(2, "dislike"), said(3, "like", 2), said(4, "unlike", 2), said(5, "dislike", 3)]
    assert derive.net_labels(events) == {1: (NetLabel("me", -1, (), (2,)),), 3: (NetLabel("me", -1, (), (5,)),)}


def test_order_of_appending_counts_and_not_order_of_arrival() -> None:
    assert derive.net_labels([said(2, "dislike"), said(1, "like")])[1][0].value == -1


def test_what_was_said_wins_over_what_was_concluded() -> None:
    events = [said(1, "dislike"), said(2, "like", source="saved"), said(3, "like", source="favourite")]
    (label,) = derive.net_labels(events)[1]
    assert (label.value, label.explicit, label.events) == (-1, True, (1,))


def test_what_was_concluded_is_added_up() -> None:
    (label,) = derive.net_labels([said(1, "like", source="saved"), said(2, "dislike", source="regenerated")])[1]
    assert label.value == pytest.approx(IMPLICIT_WEIGHTS["saved"] - IMPLICIT_WEIGHTS["regenerated"])
    assert (label.liked, label.explicit, label.sources, label.events) == (True, False, ("regenerated", "saved"), (1, 2))


def test_one_source_counts_once_and_its_latest_word_counts() -> None:
    often = [said(n, "like", source="saved") for n in range(1, 9)]
    assert derive.net_labels(often)[1][0] == NetLabel("me", 0.5, ("saved",), (8,))
    assert derive.net_labels([*often, said(9, "unlike", source="saved")]) == {}


def test_much_concluded_never_weighs_more_than_one_word() -> None:
    (label,) = derive.net_labels([said(n, "like", source=s) for n, s in enumerate(("saved", "sent", "upscaled", "favourite"), 1)])[1]
    assert (label.value, label.explicit) == (1.0, False)


def test_unlike_forgets_what_was_before_and_not_what_comes_after() -> None:
    events = [said(1, "like", source="saved"), said(2, "like"), said(3, "unlike")]
    assert derive.net_labels(events) == {}
    assert derive.net_labels([*events, said(4, "dislike", source="deleted")])[1] == (NetLabel("me", -0.5, ("deleted",), (4,)),)


def test_weights_are_the_callers() -> None:
    events = [said(1, "like", source="saved"), said(2, "like", 2, source="dreamt")]
    assert derive.net_labels(events, {"saved": 0.25}) == {1: (NetLabel("me", 0.25, ("saved",), (1,)),)}
    assert derive.net_labels(events, {"saved": 0.0}) == {}
    assert derive.net_labels([said(1, "like", source="a"), said(2, "dislike", source="b")], {"a": 0.5, "b": 0.5}) == {}


def test_raters_are_kept_apart_and_contradictions_said() -> None:
    both = derive.net_labels([said(1, "like", rater="b"), said(2, "dislike", rater="a")])[1]
    assert [(one.rater, one.value) for one in both] == [("a", -1), ("b", 1)]
    assert derive.contradictory(both)
    assert not derive.contradictory(both[:1])
    mild = derive.net_labels([said(1, "like", rater="b"), said(2, "dislike", rater="a", source="deleted")])[1]
    assert not derive.contradictory(mild)


def test_what_was_taken_back_does_not_count() -> None:
    events = [said(1, "like"), said(2, "dislike"), said(3, "retraction", retracts=2), compared(4, "pair", (1, 2), ((0,), (1,)))]
    assert derive.net_labels(events)[1][0].value == 1
    assert [event.number for event in derive.standing(events)] == [1, 4]


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan"), "0.5", True, None])
def test_weights_that_are_none_are_refused(weight: Any) -> None:
    with pytest.raises(InvalidInputError, match="saved"):
        derive.checked_weights({"saved": weight})


def test_the_default_weights_are_good_ones() -> None:
    assert derive.checked_weights(IMPLICIT_WEIGHTS) == dict(IMPLICIT_WEIGHTS)


def test_wins_losses_and_ties() -> None:
    events = [
        compared(1, "pair", (7, 8), ((1,), (0,))),
        compared(2, "ranking", (7, 8, 9, 10), ((2,), (0, 1), (3,))),
        compared(3, "pair", (7, 9), ((0, 1),)),
        said(4, "like", 7),
    ]
    found = derive.comparisons(events)
    assert found[7] == Record(3, 1, 2, 2)
    assert found[8] == Record(2, 2, 1, 1)
    assert found[9] == Record(2, 3, 0, 1)
    assert found[10] == Record(1, 0, 3, 0)


_kinds, _raters, _sources = (st.sampled_from(some) for some in (["like", "dislike", "unlike"], ["me", "a"], ["", *IMPLICIT_WEIGHTS]))
_events = st.lists(st.tuples(_kinds, st.integers(1, 3), _raters, _sources), max_size=30)


@given(_events)
def test_labels_hold_what_they_promise(drawn: list[tuple[str, int, str, str]]) -> None:
    events = [said(n, kind, image, rater, source) for n, (kind, image, rater, source) in enumerate(drawn, 1)]
    found = derive.net_labels(events)
    by_number = {event.number: event for event in events}
    for image, labels in found.items():
        assert [one.rater for one in labels] == sorted({one.rater for one in labels})
        for one in labels:
            assert 0 < abs(one.value) <= 1
            assert all(by_number[n].images == (image,) and by_number[n].rater == one.rater for n in one.events)
            assert one.explicit == all(not by_number[n].source for n in one.events)
    undone = [said(100 + event.number, "retraction", retracts=event.number) for event in events]
    assert derive.net_labels(events + undone) == {}


@given(st.permutations(range(5)), st.integers(1, 5))
def test_wins_and_losses_balance(order: list[int], cut: int) -> None:
    tiers = tuple(t for t in (tuple(order[:cut]), tuple(order[cut:])) if t)
    found = derive.comparisons([compared(1, "ranking", (11, 12, 13, 14, 15), tiers)])
    assert sum(one.wins for one in found.values()) == sum(one.losses for one in found.values())
    assert all(one.wins + one.losses + one.ties == 4 for one in found.values())
