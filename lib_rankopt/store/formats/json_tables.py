"""Rows of JSON data sets: what is wrong with one is said in it, and the others go in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files
from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry, Row
from lib_rankopt.store.formats.shapes import MOST_IMAGES, Occurrences
from lib_rankopt.store.formats.sources import Source
from lib_rankopt.store.formats.text import Line


@dataclass(frozen=True)
class Made:
    """What one row comes to; see :class:`~.base.Row`."""

    images: tuple[ImageEntry, ...] = ()
    feedback: tuple[FeedbackEntry, ...] = ()
    problem: str = ""


Maker = Callable[[Mapping[str, Any], Occurrences], Made]


def rows(source: Source, lines: Iterable[Line], make: Maker, unit: str = "element") -> Iterator[Row]:
    """Make a row of each line.

    Args:
        make: is given the line's values and what makes the tokens of this source; may raise InvalidInputError, which becomes the row's
            problem.
        unit: what is counted, for messages.
    """
    tokens = Occurrences()
    for values, number, position, problem in lines:
        done, place = source.start + position, f"{source.name}, {unit} {number}"
        if problem:
            yield Row(done, place, problem=problem)
            continue
        made = _attempt(make, values, tokens)
        yield Row(done, place, made.images, made.feedback, made.problem)


def _attempt(make: Maker, values: Any, tokens: Occurrences) -> Made:
    if not isinstance(values, dict):
        return Made(problem=f"{str(values)[:80]!r} is no object with named values")
    try:
        return make(values, tokens)
    except InvalidInputError as error:
        return Made(problem=str(error))


def paths(values: Mapping[str, Any], name: str, below: str = "") -> list[str]:
    """Return a row's list of image paths, relative to the root.

    Args:
        below: the folder, relative to the root, that the row's paths are relative to.

    Raises:
        InvalidInputError: no list, too long, one leads out of the folder, or two are the same.
    """
    found = values.get(name)
    if not isinstance(found, list) or not 0 < len(found) <= MOST_IMAGES:
        raise InvalidInputError(f"{name} is {str(found)[:80]!r}, no list of up to {MOST_IMAGES} paths")
    checked = [files.relative(one) for one in found]
    if below:
        checked = [one if one.startswith(f"{below}/") else f"{below}/{one}" for one in checked]
    if len(set(checked)) < len(checked):
        raise InvalidInputError(f"{name} names the same image twice")
    return checked
