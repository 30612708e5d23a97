"""What a selection may be, and that its text brings it back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.settings import Selection, from_dict, from_parameters, shares_of

KINDS = [
    Selection(),
    Selection("greedy", 8, every=2, start=0.5),
    Selection("resample", 6, "other", potential="diff", strength=2.5, threshold=1.0),
    Selection("human", 3, "", at=(0.25, 0.5), decoder="cheap", hires=True),
    Selection("best-of-n", 16),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.policy)
def test_json_and_parameters_bring_it_back(kind: Selection) -> None:
    assert from_dict(json.loads(json.dumps(kind.to_dict()))) == kind
    texts = {name: str(value) for name, value in kind.parameters().items()}
    assert not any(sign in text for text in texts.values() for sign in ",:")  # nothing that an infotext has to quote
    assert from_parameters({"Steps": "20", **texts}) == kind
    assert from_parameters({**texts, "Selection path": "1 2@3"}) == Selection(**{**kind.to_dict(), "path": "1 2@3"})


def test_an_image_without_selection_has_none() -> None:
    assert from_parameters({"Steps": "20"}) is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"Selection": "halving"},
        {"Selection": "magic", "Selection pool": "4", "Selection scorer": "clip"},
        {"Selection": "greedy", "Selection pool": "4", "Selection scorer": "clip", "Selection options": "speed=9"},
        {"Selection": "greedy", "Selection pool": "many", "Selection scorer": "clip"},
        {"Selection": "greedy", "Selection pool": "4", "Selection scorer": "clip", "Selection options": "every=x"},
    ],
)
def test_broken_parameters_are_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        from_parameters(parameters)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"policy": "best"}, "policy is 'best'; use halving"),
        ({"pool": 1}, "pool is 1; use a whole number from 2"),
        ({"pool": 4.0}, "pool is 4.0"),
        ({"pool": True}, "pool is True"),
        ({"pool": 10_000}, "from 2 to 64"),
        ({"scorer": ""}, "'halving' needs a scorer"),
        ({"scorer": None}, "scorer is None"),
        ({"at": (0.5, 0.25)}, "have to increase"),
        ({"at": (0.0,)}, "above 0 and below 1"),
        ({"at": "25%"}, "shares of the steps"),
        ({"at": (float("nan"),)}, "above 0"),
        ({"every": 0}, "every is 0"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"threshold": 2}, "threshold is 2"),
        ({"potential": "min"}, "potential is 'min'; use diff"),
        ({"decoder": "fast"}, "decoder is 'fast'"),
        ({"wait_seconds": 0}, "wait_seconds is 0"),
        ({"at_once": -1}, "at_once is -1"),
        ({"hires": 1}, "hires is 1"),
        ({"speed": 1}, "knows no speed"),
    ],
)
def test_what_is_not_allowed_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        from_dict(values)


@pytest.mark.parametrize(("text", "shares"), [("", ()), ("25% 50%", (0.25, 0.5)), ("0.2, 0.6", (0.2, 0.6)), ("10%,20%", (0.1, 0.2))])
def test_shares_are_read(text: str, shares: tuple[float, ...]) -> None:
    assert shares_of(text) == pytest.approx(shares)


def test_no_shares_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="25% 50%"):
        shares_of("a quarter")
