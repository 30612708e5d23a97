"""Checks of the values that options take."""

from __future__ import annotations

import sys
from typing import Any

from lib_rankopt.errors import InvalidInputError


def positive(option: str, value: Any) -> None:
    """Raise InvalidInputError unless ``value`` is a finite number above 0."""
    if not _is_number(value) or value <= 0:
        raise InvalidInputError(f"{option} is {value!r}; give a finite number above 0.")


def not_negative(option: str, value: Any) -> None:
    """Raise InvalidInputError unless ``value`` is a finite number, 0 or above."""
    if not _is_number(value) or value < 0:
        raise InvalidInputError(f"{option} is {value!r}; give a finite number, 0 or above.")


def count(option: str, value: Any) -> None:
    """Raise InvalidInputError unless ``value`` is a whole number, 0 or above."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(f"{option} is {value!r}; give a whole number, 0 or above.")


def share(option: str, value: Any) -> None:
    """Raise InvalidInputError unless ``value`` is a number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise InvalidInputError(f"{option} is {value!r}; give a number from 0 to 1.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
