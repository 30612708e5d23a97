"""What txt2img's controls, its API and X/Y/Z plot say about selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib_rankopt.selection.settings import Selection, from_dict, shares_of

NAMES = (
    "enabled", "policy", "pool", "scorer", "at", "every", "start", "potential", "strength", "threshold", "decoder", "at_once",
    "wait_seconds", "hires", "path", "show",
)  # fmt: skip
"""The controls in their order, which is that of the arguments: fields of a selection between a switch and whether to show the tree."""

AXES = "rankopt_axes"
"""Attribute of a processing object: names and values that X/Y/Z plot has set."""

OFF = "off"
_WHOLE = ("pool", "every", "at_once")


def read(args: Sequence[Any], axes: Mapping[str, Any]) -> tuple[Selection, bool] | None:
    """Read the arguments of one run.

    Args:
        args: the controls' values, or from the API a dictionary alone, in which everything has a default and ``enabled`` is true.
        axes: what X/Y/Z plot sets instead; it switches selection on, and its policy ``off`` switches it off.

    Returns:
        The selection, and whether to show how each image was chosen; ``None`` where nothing is selected.

    Raises:
        InvalidInputError: a value that is not allowed.
    """
    given = isinstance(args[0], Mapping) if args else False
    values = dict(args[0]) if given else dict(zip(NAMES, args, strict=False))
    enabled, show = values.pop("enabled", given), values.pop("show", True)
    values.update(axes)
    if not (enabled or axes) or values.get("policy") == OFF:
        return None
    return from_dict({name: _value(name, value) for name, value in values.items() if value is not None}), bool(show)


def _value(name: str, value: Any) -> Any:
    if name == "at" and isinstance(value, str):
        return shares_of(value)
    if name in _WHOLE and isinstance(value, float) and value.is_integer():
        return int(value)  # a slider's
    return value.strip() if isinstance(value, str) else value


def defaults() -> dict[str, Any]:
    """Value of every control as long as nobody touches it."""
    return {"enabled": False, "show": True, **Selection().to_dict(), "at": ""}
