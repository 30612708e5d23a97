"""Objectives by name. A new one is one file here and one line in ``_OBJECTIVES``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.training.objectives.base import Errors, Kind, Loss, Objective
from lib_rankopt.training.objectives.csft import Csft
from lib_rankopt.training.objectives.dpo import Dpo, Ipo, Sdpo
from lib_rankopt.training.objectives.hinge import Hinge
from lib_rankopt.training.objectives.kto import Kto
from lib_rankopt.training.objectives.lpo import Lpo
from lib_rankopt.training.objectives.sft import Sft

__all__ = ["Errors", "Kind", "Loss", "Objective", "create", "get", "names"]

_OBJECTIVES: tuple[type[Objective], ...] = (Sft, Csft, Dpo, Sdpo, Ipo, Lpo, Kto, Hinge)
_BY_NAME = {objective.name: objective for objective in _OBJECTIVES}


def names() -> tuple[str, ...]:
    """All names."""
    return tuple(_BY_NAME)


def get(name: str) -> type[Objective]:
    """An objective's class.

    Raises:
        NotFoundError: none of that name.
    """
    if name not in _BY_NAME:
        raise NotFoundError(f"There is no objective {name!r}; known are {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def create(name: str, options: dict[str, Any] | None = None) -> Objective:
    """Make an objective.

    Raises:
        NotFoundError: no such name. InvalidInputError: no such option, or a value that it does not take.
    """
    objective = get(name)
    known = [f.name for f in fields(objective)]
    for key in options or {}:
        if key not in known:
            raise InvalidInputError(f"The objective {name!r} has no option {key!r}; it has {', '.join(known) or 'none'}.")
    return objective(**(options or {}))
