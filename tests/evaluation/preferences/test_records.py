"""Answers go in one by one or by the array, and come out as they were; nothing unusable gets in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.preferences import Builder


def test_answers_come_out_as_they_went_in() -> None:
    builder = Builder()
    builder.win(3, 1)
    builder.win(0, 2, 0.5)
    builder.tie(4, 2, 2.0)
    builder.ranking([[5], [0, 3], [], [1, 2]], 0.25)
    builder.like(2)
    builder.like(2, 0.5)
    builder.dislike(0, 3.0)
    found = builder.finish(7)
    assert list(zip(found.wins.first, found.wins.second, found.wins.weight, strict=True)) == [(3, 1, 1.0), (0, 2, 0.5)]
    assert list(zip(found.ties.first, found.ties.second, found.ties.weight, strict=True)) == [(4, 2, 2.0)]
    assert found.rankings.items.tolist() == [5, 0, 3, 1, 2]
    assert found.rankings.tiers.tolist() == [0, 1, 3, 5]
    assert found.rankings.starts.tolist() == [0, 3]
    assert found.likes.tolist() == [0, 0, 1.5, 0, 0, 0, 0]
    assert found.dislikes.tolist() == [3.0, 0, 0, 0, 0, 0, 0]
    assert found.games.tolist() == [0.5 + 0.25 + 3.0, 1.25, 0.5 + 2.0 + 0.25 + 1.5, 1.25, 2.0, 0.25, 0.0]


def test_rankings_of_two_are_pairs() -> None:
    builder = Builder()
    builder.ranking([[1], [0]])
    builder.ranking([[0, 1]])
    found = builder.finish()
    assert (len(found.wins), len(found.ties), len(found.rankings), found.n) == (1, 1, 0, 2)


def test_array_of_pairs_equals_single_ones() -> None:
    single, many = Builder(), Builder()
    for winner, loser, weight in ((0, 1, 1.0), (2, 0, 0.0), (1, 2, 0.5)):
        single.win(winner, loser, weight)
    many.wins([0, 2, 1], [1, 0, 2], [1.0, 0.0, 0.5])
    a, b = single.finish(3), many.finish(3)
    assert len(a.wins) == 2
    for name in ("first", "second", "weight"):
        assert getattr(a.wins, name).tolist() == getattr(b.wins, name).tolist()


def test_a_pair_takes_twelve_bytes_and_is_frozen() -> None:
    builder = Builder()
    builder.wins(np.zeros(1000, np.int64), np.ones(1000, np.int64))
    pairs = builder.finish().wins
    assert sum(column.nbytes for column in (pairs.first, pairs.second, pairs.weight)) == 12_000
    with pytest.raises(ValueError, match="read-only"):
        pairs.first[0] = 1


def test_builder_starts_anew() -> None:
    builder = Builder()
    builder.win(0, 1)
    first = builder.finish()
    builder.win(1, 0)
    second = builder.finish()
    assert (first.wins.first.tolist(), second.wins.first.tolist()) == ([0], [1])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("win", (1, 1)),
        ("win", (-1, 1)),
        ("win", (0, 2**31)),
        ("tie", (0, 1, -1.0)),
        ("tie", (0, 1, math.nan)),
        ("win", (0, 1, math.inf)),
        ("like", (-3,)),
        ("dislike", (0, -0.5)),
        ("ranking", ([[0]],)),
        ("ranking", ([],)),
        ("ranking", ([[0], [1], [0]],)),
        ("ranking", ([[0], [1], [-2]],)),
        ("ranking", ([[0], [1], [2]], math.nan)),
        ("wins", ([0, 1], [1, 1])),
        ("wins", ([0, 1], [1])),
        ("wins", ([0.5], [1.0])),
        ("wins", ([0], [1], [math.nan])),
        ("wins", ([0, 1], [1, 0], [1.0])),
        ("wins", ([-1], [1])),
    ],
)
def test_unusable_answers_are_refused_and_leave_nothing(method: str, arguments: tuple[Any, ...]) -> None:
    builder = Builder()
    with pytest.raises(InvalidInputError):
        getattr(builder, method)(*arguments)
    found = builder.finish()
    assert (found.n, len(found.wins), len(found.ties), len(found.rankings)) == (0, 0, 0, 0)


@pytest.mark.parametrize(("method", "arguments"), [("win", (0, 1.5)), ("like", (0.5,)), ("ranking", ([[0], [1], ["2"]],))])
def test_other_types_leave_nothing(method: str, arguments: tuple[Any, ...]) -> None:
    builder = Builder()
    with pytest.raises(TypeError):
        getattr(builder, method)(*arguments)
    builder.win(0, 1)
    found = builder.finish(2)
    assert (len(found.wins.first), len(found.wins.second), len(found.rankings.items)) == (1, 1, 0)


def test_too_few_images_lose_nothing() -> None:
    builder = Builder()
    builder.win(0, 5)
    with pytest.raises(InvalidInputError, match="image 5"):
        builder.finish(5)
    assert len(builder.finish(6).wins) == 1
