"""The form of a new study: its components by what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Form:
    """Components by the path that their value takes in the request: ``settings.steps``, ``name``, ``auto.scorer`` …

    What only some hosts have is ``host.styles`` …. What stands below ``settings.selection`` becomes one dictionary, or none at all. A
    setting of an optimiser is ``optimizer.<optimiser>.<setting>``; the script keeps those of the chosen one.
    """

    components: dict[str, Any] = field(default_factory=dict)

    def add(self, path: str, component: Any) -> Any:
        """Remember a component and hand it back."""
        self.components[path] = component
        return component
