"""The controls of candidate selection, which stand in the form of a study and in the webui's txt2img and img2img."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lib_rankopt.selection.settings import DECODERS, POLICIES, POTENTIALS, Selection

NONE = "none"  # the board's script leaves a policy or scorer of this name out


class Controls:
    """Builds controls in the open gradio context.

    Args:
        prefix: of their ids.

    Attributes:
        components: by field of :class:`~lib_rankopt.selection.settings.Selection`, in the order of their building.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.components: dict[str, Any] = {}

    def policy(self, without: bool) -> None:
        """Who goes on; ``without`` adds the choice of no selection, and takes it."""
        choices = (NONE, *POLICIES) if without else POLICIES
        self._menu("policy", "Policy", choices, NONE if without else Selection.policy, "How candidates are thinned.")

    def pool(self, most: int) -> None:
        """How many candidates."""
        self._slider("pool", "Pool", (2, most, 1), Selection.pool, "What an image costs, in whole images.")

    def scorer(self, scorers: Sequence[str], without: bool) -> None:
        """Who compares; ``without`` adds the choice of nobody."""
        choices = (*scorers, NONE) if without else tuple(scorers)
        own = Selection.scorer if Selection.scorer in choices else choices[0]
        self._menu("scorer", "Scorer", choices, own, "Who compares; for human, who answers when you do not.")

    def looks(self) -> None:
        """When candidates are compared."""
        info = "Shares of the steps; empty is the policy's own."
        self._add("at", gr.Textbox("", label="Compare at", lines=1, placeholder="25% 50%", info=info, elem_id=self._id("at")))
        self._slider("every", "Steps between looks", (1, 150, 1), Selection.every, "greedy and resample")
        self._slider("start", "First look at", (0.0, 1.0, 0.05), Selection.start, "greedy and resample; a share of the steps")

    def resampling(self) -> None:
        """What only ``resample`` has."""
        self._menu("potential", "Potential", POTENTIALS, Selection.potential, "resample: what weights are made of")
        self._slider("strength", "Strength of selection", (0.0, 50.0, 0.5), Selection.strength, "resample")
        self._slider("threshold", "Resample below", (0.0, 1.0, 0.05), Selection.threshold, "resample: effective share of the candidates")

    def running(self) -> None:
        """How it runs, which decides about no image."""
        self._menu("decoder", "Previews by", DECODERS, Selection.decoder, "what makes pictures of unfinished images")
        self._slider("wait_seconds", "Seconds to wait for you", (5, 3600, 5), Selection.wait_seconds, "human")
        self._slider("at_once", "Candidates at once", (0, 128, 1), Selection.at_once, "0 for all that fit; the images do not depend on it")

    def _menu(self, name: str, label: str, choices: Sequence[str], value: str, info: str) -> None:
        self._add(name, gr.Dropdown(list(choices), value=value, label=label, info=info, elem_id=self._id(name)))

    def _slider(self, name: str, label: str, span: tuple[float, float, float], value: float, info: str) -> None:
        low, high, step = span
        self._add(name, gr.Slider(low, high, value=value, step=step, label=label, info=info, elem_id=self._id(name)))

    def _add(self, name: str, component: Any) -> None:
        self.components[name] = component

    def _id(self, name: str) -> str:
        return f"{self._prefix}_{name}"
