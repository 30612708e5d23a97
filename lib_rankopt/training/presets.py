"""Settings that fit a graphics card of a size, at SD1.5's 512² and SDXL's 1024² alike. Equal in what is learnt: 16 items an update."""

from __future__ import annotations

from typing import Any

from lib_rankopt.errors import InvalidInputError

PRESETS: dict[str, dict[str, Any]] = {
    "6gb": {"batch_size": 1, "accumulation": 16, "gradient_checkpointing": True, "precision": "auto", "targets": "attention", "rank": 8},
    "8gb": {"batch_size": 2, "accumulation": 8, "gradient_checkpointing": True, "precision": "auto"},
    "12gb": {"batch_size": 4, "accumulation": 4, "gradient_checkpointing": True, "precision": "auto"},
    "24gb": {"batch_size": 8, "accumulation": 2, "gradient_checkpointing": False, "precision": "auto"},
}


def values(name: str) -> dict[str, Any]:
    """A preset's settings.

    Raises:
        InvalidInputError: none of that name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InvalidInputError(f"There is no preset {name!r}; known are {', '.join(PRESETS)}.")
    return dict(PRESETS[name])


def smaller(name: str) -> str:
    """The next smaller preset, or the smallest."""
    order = list(PRESETS)
    return order[max(0, order.index(name) - 1)] if name in PRESETS else "8gb"
