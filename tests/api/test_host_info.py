"""Settings of an optimiser as a page needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lib_rankopt.api.host_info import OptionInfo, options_of


@dataclass(frozen=True)
class Settings:
    """One field of each kind."""

    spread: float = field(default=0.3, metadata={"help": "how far"})
    moves: int = 4
    switch: bool = True
    kind: Literal["normal", "sparse"] = "normal"
    name: str = "x"
    limit: float | None = None


def test_kinds_defaults_help_and_choices():
    assert options_of(Settings) == (
        OptionInfo("spread", "float", 0.3, "how far"),
        OptionInfo("moves", "int", 4),
        OptionInfo("switch", "bool", True),
        OptionInfo("kind", "choice", "normal", "", ("normal", "sparse")),
        OptionInfo("name", "str", "x"),
        OptionInfo("limit", "float", None),
    )
