"""Lists of prompts: what to make images of, or to choose images by."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import text
from lib_rankopt.store.formats.shapes import plain

_COLUMNS = ("prompt", "caption", "text")
_MOST_TOLD = 3  # bad entries that the log names
_log = logging.getLogger("rankopt.store")


@dataclass(frozen=True)
class Prompt:
    """One entry of a list.

    Attributes:
        place: for messages. done: how far the reading is, in bytes.
        about: other columns of its row.
        problem: why there is none; empty where all is well.
    """

    text: str
    place: str
    done: int
    about: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def read_prompts(path: Path) -> Iterator[str]:
    """Yield the prompts of a list, in order, also those that come again: their places count, as in HPDv2's benchmark.

    Entries that cannot be read are left out, the first three told to the log; :func:`entries` names each.

    Raises:
        InvalidInputError: see :func:`entries`.
    """
    bad = 0
    for entry in entries(path):
        if not entry.problem:
            yield entry.text
        elif bad < _MOST_TOLD:
            bad += 1
            _log.warning("%s: %s: %s", path, entry.place, entry.problem)


def entries(path: Path) -> Iterator[Prompt]:
    """Yield the entries of a list of prompts: ``.txt`` with one a line, ``.jsonl``, or ``.json`` with one list.

    Elements are texts, as in HPDv2's benchmark, or objects with ``prompt``, ``caption`` or ``text``, as SPO has them.

    Raises:
        InvalidInputError: another kind of file, missing, unreadable, or without any prompt.
    """
    kinds = {".txt": text.plain_lines, ".jsonl": text.json_lines, ".json": text.json_list}
    if path.suffix.lower() not in kinds:
        raise InvalidInputError(f"{path} is no list of prompts; a .txt with one a line, a .json or a .jsonl is expected.")
    word = "element" if path.suffix.lower() == ".json" else "line"
    is_empty = True
    for line in kinds[path.suffix.lower()](path):
        is_empty = False
        yield _entry(line, f"{path.name}, {word} {line.number}")
    if is_empty:
        raise InvalidInputError(f"{path} holds no prompts.")


def _entry(line: text.Line, place: str) -> Prompt:
    value, problem, about = line.value, line.problem, {}
    if isinstance(value, dict):
        column = next((name for name in _COLUMNS if isinstance(value.get(name), str)), None)
        about = {name: plain(other) for name, other in value.items() if name != column}
        value = value.get(column) if column else None
    if not isinstance(value, str):
        return Prompt("", place, line.done, about, problem or f"neither a text nor an object with {', '.join(_COLUMNS)}")
    prompt = text.clean(value).strip()
    return Prompt(prompt, place, line.done, about, problem or ("" if prompt else "an empty prompt"))
