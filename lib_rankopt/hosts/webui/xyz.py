"""Axes of selection in the webui's *X/Y/Z plot*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import scripts

from lib_rankopt import scorers
from lib_rankopt.hosts.webui.selection_values import AXES, OFF
from lib_rankopt.selection.settings import POLICIES

_FILE = "xyz_grid.py"


def add_axes() -> None:
    """Add our axes to the loaded script; called after the scripts are loaded and before their controls are built.

    A webui that has no such script, or another one, goes without.
    """
    plot = next((data.module for data in scripts.scripts_data if data.script_class.__module__ == _FILE), None)
    option, options = getattr(plot, "AxisOption", None), getattr(plot, "axis_options", None)
    if option is None or options is None:
        return
    there = {one.label for one in options}
    fields: tuple[tuple[str, str, type, Any], ...] = (
        ("Policy", "policy", str, lambda: [OFF, *POLICIES]), ("Pool", "pool", int, None),
        ("Scorer", "scorer", str, lambda: list(scorers.names())), ("At", "at", str, None),
    )  # fmt: skip
    for label, field, kind, choices in fields:
        name = f"[Selection] {label}"
        if name not in there:
            options.append(option(name, kind, _apply(field), choices=choices))


def _apply(field: str) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, _values: Any) -> None:
        setattr(p, AXES, {**getattr(p, AXES, {}), field: value})  # the plot copies p, but not what hangs on it

    return apply
