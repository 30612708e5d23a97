"""*Candidate selection* in txt2img and img2img: the script with its accordion."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_rankopt import scorers
from lib_rankopt.errors import RankOptError
from lib_rankopt.hosts.webui import exchange, script, selection_values
from lib_rankopt.selection.settings import DECODERS, POLICIES, POTENTIALS, Selection, from_parameters

_ABOUT = (
    "Every image is chosen among candidates while it is made: at some steps their predicted results are compared, and the run goes on "
    "from the better ones. One image costs as much as <b>Pool</b> images."
)


class CandidateSelection(script.CandidateSelectionScript):
    """The script with its controls."""

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the accordion; without side effects, because the webui builds it several times."""
        name = f"{'img' if is_img2img else 'txt'}2img_rankopt_selection"
        with exchange.input_accordion("Candidate selection", name) as enabled:
            gr.Markdown(_ABOUT)
            controls = {"enabled": enabled, **_main(name)}
            with gr.Accordion("More", open=False, elem_id=f"{name}_more"):
                controls |= _more(name, is_img2img)
        controls["path"].do_not_save_to_config = True
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


def _main(name: str) -> dict[str, Any]:
    usual = Selection()
    with gr.Row():
        policy = gr.Dropdown(list(POLICIES), value=usual.policy, label="Policy", elem_id=f"{name}_policy")
        pool = gr.Slider(2, 64, usual.pool, step=1, label="Pool (cost in images)", elem_id=f"{name}_pool")
        scorer = gr.Dropdown(list(scorers.names()), value=usual.scorer, label="Scorer", elem_id=f"{name}_scorer")
    with gr.Row():
        show = gr.Checkbox(True, label="Show how each image was chosen", elem_id=f"{name}_show")
        path = gr.Textbox(
            "", label="Path to take again", placeholder="Filled in with the parameters of an image", elem_id=f"{name}_path"
        )
    return {"policy": policy, "pool": pool, "scorer": scorer, "show": show, "path": path}


def _more(name: str, is_img2img: bool) -> dict[str, Any]:
    usual = Selection()
    with gr.Row():
        at = gr.Textbox("", label="Compare after", lines=1, placeholder="such as 25% 50%", elem_id=f"{name}_at")
        every = gr.Slider(1, 150, usual.every, step=1, label="Every … steps (greedy, resample)", elem_id=f"{name}_every")
        start = gr.Slider(0, 1, usual.start, step=0.05, label="First after (share)", elem_id=f"{name}_start")
    with gr.Row():
        potential = gr.Dropdown(list(POTENTIALS), value=usual.potential, label="Potential (resample)", elem_id=f"{name}_potential")
        strength = gr.Number(usual.strength, label="Strength (resample)", elem_id=f"{name}_strength")
        threshold = gr.Slider(0, 1, usual.threshold, step=0.05, label="Threshold (resample)", elem_id=f"{name}_threshold")
    with gr.Row():
        decoder = gr.Dropdown(list(DECODERS), value=usual.decoder, label="Decoder", elem_id=f"{name}_decoder")
        at_once = gr.Slider(0, 128, usual.at_once, step=1, label="At once (0: all)", elem_id=f"{name}_at_once")
        wait = gr.Slider(1, 3600, usual.wait_seconds, step=1, label="Wait seconds (human)", elem_id=f"{name}_wait")
    hires = gr.Checkbox(usual.hires, label="Also in the Hires. fix pass", visible=not is_img2img, elem_id=f"{name}_hires")
    return {
        "at": at, "every": every, "start": start, "potential": potential, "strength": strength, "threshold": threshold,
        "decoder": decoder, "at_once": at_once, "wait_seconds": wait, "hires": hires,
    }  # fmt: skip
