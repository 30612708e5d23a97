"""How an image was chosen: the looks at its pool, the path that it took through it, and the evaluations that it cost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lib_rankopt.errors import InvalidInputError


@dataclass(frozen=True)
class Look:
    """One look at the pool: what the tree of who came from whom is drawn from.

    Attributes:
        step: that had just been evaluated; the number of steps for the look at the finished images.
        scores: by row, ``None`` for rows that were dropped before.
        parents: row that each row goes on from; ``None`` where each goes on as it is.
        alive: rows that go on.
        values: what the policy said besides.
    """

    step: int
    scores: tuple[float | None, ...]
    parents: tuple[int, ...] | None
    alive: tuple[bool, ...]
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SelectionRecord:
    """How one image was chosen.

    Attributes:
        policy: its name. scorer: who judged; empty for a person.
        steps: of the run.
        seeds: noise seed of every row.
        looks: in order, the last one at the finished images.
        evaluated: model evaluations, counted by row; the guidance's two halves are one.
        thumbnails: small pictures by look and row, JPEG in base64; ``None`` where there is none. Empty where they were not kept.
    """

    policy: str
    scorer: str
    steps: int
    seeds: tuple[int, ...]
    looks: tuple[Look, ...]
    evaluated: int
    thumbnails: tuple[tuple[str | None, ...], ...] = ()

    @property
    def taken(self) -> int:
        """The row that was taken."""
        return self.looks[-1].alive.index(True)

    @property
    def score(self) -> float:
        """Of the image that was taken."""
        found = self.looks[-1].scores[self.taken]
        assert found is not None
        return found

    def lineage(self) -> tuple[int, ...]:
        """The row that the image was at, by look."""
        rows = [self.taken]
        for look in reversed(self.looks[:-1]):
            rows.append(rows[-1] if look.parents is None else look.parents[rows[-1]])
        return tuple(reversed(rows))

    def path(self) -> list[tuple[int, int]]:
        """Rows that the image went through: ``(step from which on, row)``, the first from step 0."""
        rows = self.lineage()
        moves = zip(self.looks, rows, rows[1:], strict=False)
        return [(0, rows[0]), *((look.step, after) for look, before, after in moves if after != before)]

    def path_text(self) -> str:
        """The path with seeds in place of rows, as :func:`parse_path` reads it: ``"123 77@5"``."""
        (_, first), *rest = self.path()
        return " ".join([str(self.seeds[first]), *(f"{self.seeds[row]}@{step}" for step, row in rest)])

    def parameters(self) -> dict[str, str]:
        """Return what an image's parameters say besides :meth:`~lib_rankopt.selection.settings.Selection.parameters`."""
        judged = self.policy not in ("path", "human")  # along a path nothing is judged, and a person gives marks
        score = {"Selection score": f"{self.score:.2f}"} if judged else {}
        return {"Selection path": self.path_text(), **score}

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)


def from_json(text: str) -> SelectionRecord:
    """Read what :meth:`SelectionRecord.to_json` wrote.

    Raises:
        InvalidInputError: it is something else.
    """
    try:
        values: Mapping[str, Any] = json.loads(text)
        looks = tuple(
            Look(
                int(look["step"]), tuple(look["scores"]), None if look["parents"] is None else tuple(look["parents"]),
                tuple(map(bool, look["alive"])), dict(look["values"]),
            )
            for look in values["looks"]
        )  # fmt: skip
        record = SelectionRecord(
            str(values["policy"]), str(values["scorer"]), int(values["steps"]), tuple(map(int, values["seeds"])), looks,
            int(values["evaluated"]), tuple(tuple(row) for row in values["thumbnails"]),
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidInputError("This is no record of a selection.") from error
    if not _fits(record):
        raise InvalidInputError("This record of a selection does not fit together.")
    return record


def parse_path(text: str) -> tuple[tuple[int, int], ...]:
    """Read a path ``"123 77@5"``: from step 0 the noise of seed 123, after the exchange at step 5 that of seed 77.

    Returns:
        ``(step, seed)``, the first with step 0.

    Raises:
        InvalidInputError: no path.
    """
    first, *rest = text.split() or [""]
    found = [re.fullmatch(r"(\d{1,20})", first), *(re.fullmatch(r"(\d{1,20})@(\d{1,4})", one) for one in rest)]
    if None in found:
        raise InvalidInputError(f"'{text}' is no path; one looks like 123 77@5, as an image's parameters have it.")
    path = tuple((int(one[2]) if place else 0, int(one[1])) for place, one in enumerate(found) if one)
    steps = [step for step, _ in path[1:]]
    if steps != sorted(set(steps)):
        raise InvalidInputError(f"'{text}' is no path: its steps have to increase.")
    return path


def _fits(record: SelectionRecord) -> bool:
    """Whether it can be drawn: records come with strangers' files."""
    rows = len(record.seeds)
    for look in record.looks:
        if not len(look.scores) == len(look.alive) == rows or not any(look.alive):
            return False
        if not all(score is None or isinstance(score, (int, float)) for score in look.scores):
            return False
        parents = look.parents if look.parents is not None else tuple(range(rows))
        if len(parents) != rows or not all(isinstance(row, int) and 0 <= row < rows for row in parents):
            return False
    shown = record.thumbnails
    if shown and (len(shown) != len(record.looks) or not all(len(one) == rows for one in shown)):
        return False
    named = all(name is None or isinstance(name, str) for one in shown for name in one)
    return named and bool(record.looks) and record.looks[-1].scores[record.taken] is not None
