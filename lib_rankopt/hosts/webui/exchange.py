"""The webui's own ways of handing images and parameters from one tab to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import infotext_utils, sd_samplers, ui_components

TARGETS = ("txt2img", "img2img", "inpaint", "extras")

Source = str | Callable[[dict[str, Any]], Any]
"""Where a field of a form finds its value in parameters: their name of it, or a function of them all."""


def register_tab(tab: str, image: Any, fields: list[tuple[Any, Source]], paste_button: Any, prompt: Any) -> None:
    """Let the webui paste an image and parameters into a tab of ours.

    Args:
        paste_button: reads parameters from the ``prompt`` box, or those of the last generation where that is empty.
    """
    infotext_utils.add_paste_fields(tab, image, fields)
    binding = infotext_utils.ParamBinding(paste_button=paste_button, tabname=tab, source_text_component=prompt)
    infotext_utils.register_paste_params_button(binding)


def register_send(button: Any, target: str, text: Any, image: Any) -> None:
    """Let a button send the image and parameters in two of our components to one of :data:`TARGETS`, as *Send to* does on PNG Info."""
    binding = infotext_utils.ParamBinding(
        paste_button=button, tabname=target, source_text_component=text, source_image_component=image
    )
    infotext_utils.register_paste_params_button(binding)


def tool_button(sign: str, elem_id: str, tooltip: str) -> Any:
    """Make a small button as the webui's own below its galleries."""
    return ui_components.ToolButton(sign, elem_id=elem_id, tooltip=tooltip)


def input_accordion(label: str, elem_id: str) -> Any:
    """Open an accordion whose head is a checkbox, as *Hires. fix* is; the checkbox is what it returns."""
    return ui_components.InputAccordion(False, label=label, elem_id=elem_id)


def parse(text: str) -> dict[str, Any]:
    """Read an infotext into the webui's names and values."""
    found: dict[str, Any] = infotext_utils.parse_generation_parameters(text or "")
    return found


def with_parameters(text: str, more: dict[str, Any]) -> str:
    """Add parameters to an infotext."""
    return ", ".join([text, *(f"{name}: {infotext_utils.quote(value)}" for name, value in more.items())])


def sampler_of(parameters: dict[str, Any]) -> Any:
    """Sampler of parameters of any release: older ones have the schedule in the sampler's name."""
    known = getattr(sd_samplers, "get_sampler_from_infotext", None)
    return known(parameters) if known else parameters.get("Sampler")


def scheduler_of(parameters: dict[str, Any]) -> Any:
    """Schedule of parameters of any release."""
    known = getattr(sd_samplers, "get_scheduler_from_infotext", None)
    return known(parameters) if known else parameters.get("Schedule type")
