"""*Candidate selection* in txt2img and img2img: the script with its accordion."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_rankopt import scorers
from lib_rankopt.errors import RankOptError
from lib_rankopt.hosts.webui import exchange, script, selection_values
from lib_rankopt.selection.settings import Selection, from_parameters
from lib_rankopt.ui.selection_controls import Controls

_ABOUT = (
    "Every image is chosen among candidates while it is made: at some steps their predicted results are compared, and the run goes on "
    "from the better ones. One image costs as much as <b>Pool</b> images."
)
_MOST = 64


class CandidateSelection(script.CandidateSelectionScript):
    """The script with its controls."""

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the accordion; without side effects, because the webui builds it several times."""
        name = f"{'img' if is_img2img else 'txt'}2img_rankopt_selection"
        with exchange.input_accordion("Candidate selection", name) as enabled:
            gr.Markdown(_ABOUT)
            built = Controls(name)
            with gr.Row():
                built.policy(without=False)
                built.pool(_MOST)
                built.scorer(scorers.names(), without=False)
            with gr.Accordion("More", open=False, elem_id=f"{name}_more"):
                with gr.Row():
                    built.looks()
                with gr.Row():
                    built.resampling()
                with gr.Row():
                    built.running()
                hires = gr.Checkbox(Selection.hires, label="Also in the Hires. fix pass", visible=not is_img2img, elem_id=f"{name}_hires")
            with gr.Row():
                show = gr.Checkbox(True, label="Show how each image was chosen", elem_id=f"{name}_show")
                path = gr.Textbox(
                    "", label="Path to take again", placeholder="Filled in with the parameters of an image", elem_id=f"{name}_path"
                )
        controls = {"enabled": enabled, **built.components, "hires": hires, "show": show, "path": path}
        path.do_not_save_to_config = True
        self.infotext_fields = [(enabled, lambda found: pasted(found) is not None)]
        self.infotext_fields += [(one, _source(field)) for field, one in controls.items() if field not in ("enabled", "show")]
        return [controls[field] for field in selection_values.NAMES]


def pasted(parameters: dict[str, Any]) -> Selection | None:
    """The selection of pasted parameters; ``None`` where there is none, or none that can be read."""
    try:
        return from_parameters(parameters)
    except RankOptError:
        return None


def _source(field: str) -> Any:
    """What of pasted parameters belongs into the control of one field; ``None`` leaves it as it is."""

    def value(parameters: dict[str, Any]) -> Any:
        found = pasted(parameters)
        if found is None:
            return "" if field == "path" else None
        if field == "at":
            return " ".join(f"{share * 100:g}%" for share in found.at)
        return getattr(found, field)

    return value
