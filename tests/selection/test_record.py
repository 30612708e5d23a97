"""The record of a choice: the path through the pool, and that strangers' records are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.record import Look, SelectionRecord, from_json, parse_path

ALL = (True, True, True)
RECORD = SelectionRecord(
    "greedy", "clip", 12, (7, 8, 9),
    (
        Look(2, (0.1, 0.3, 0.2), (1, 1, 1), ALL),
        Look(5, (0.4, 0.5, 0.6), None, ALL, {"effective sample size": 2.5}),
        Look(8, (0.4, 0.5, 0.6), (2, 2, 2), ALL),
        Look(12, (0.9, None, 0.7), None, (True, False, False)),
    ),
    36,
    ((None, "QQ==", None), (None,) * 3, (None,) * 3, (None,) * 3),
)  # fmt: skip


def test_the_path_is_traced_back_from_the_image() -> None:
    assert (RECORD.taken, RECORD.score) == (0, 0.9)
    # row 0 at the end came from row 2 at step 8, and that from row 1 at step 2
    assert RECORD.path() == [(0, 1), (2, 2), (8, 0)]
    assert RECORD.path_text() == "8 9@2 7@8"
    assert parse_path(RECORD.path_text()) == ((0, 8), (2, 9), (8, 7))
    assert RECORD.parameters() == {"Selection path": "8 9@2 7@8", "Selection score": "0.90"}


def test_json_brings_it_back() -> None:
    assert from_json(RECORD.to_json()) == RECORD


def spoilt(**changes: Any) -> str:
    return json.dumps({**json.loads(RECORD.to_json()), **changes})


LOOKS = json.loads(RECORD.to_json())["looks"]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", "{" * 100, spoilt(looks=[]), spoilt(looks=7), spoilt(seeds=[]), spoilt(seeds=["x"]), spoilt(seeds=[1, 2]),
        spoilt(looks=[{**LOOKS[0], "parents": [0, 1, 3]}]), spoilt(looks=[{**LOOKS[0], "scores": [1]}]),
        spoilt(looks=[{**LOOKS[0], "scores": ["a", 1, 2]}]), spoilt(looks=[{**LOOKS[0], "alive": [False] * 3}]),
        spoilt(thumbnails=[["x"]]), spoilt(thumbnails=[[1, 2, 3]] * 4), spoilt(looks=[*LOOKS[:3], {**LOOKS[3], "scores": [None] * 3}]),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="record of a selection"):
        from_json(text)


@pytest.mark.parametrize("text", ["", "x", "1 2", "1 2@", "1 2@5 3@5", "1 2@5 3@4", "-1", "1 2@x", "9" * 30])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="path"):
        parse_path(text)
