"""The part of the form that says how each image is chosen among candidates while they are sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from lib_rankopt.ui.selection_controls import Controls

if TYPE_CHECKING:
    from lib_rankopt.ui.form import Form

PATH = "settings.selection"
_ID = "rankopt_selection"
_MOST = 16  # of a study, whose rounds have several images
ABOUT = (
    "Several candidates of each image are compared while they are being made, and only the better ones are finished: better images for "
    "the same work. **halving** drops the worse half of twice as many, twice; **greedy** goes on from the best every few steps; "
    "**resample** multiplies the better ones; **human** asks you; **best-of-n** compares finished images only. Candidates of a study's "
    "image start from one latent, so the sampler has to add noise (Euler a, DPM++ SDE …)."
)


def build_selection(form: Form, scorers: tuple[str, ...]) -> None:
    """Lay the accordion out in the open gradio context; closed, and without a policy until one is chosen."""
    controls = Controls(_ID)
    with gr.Accordion("Candidate selection (several candidates per image)", open=False, elem_id=_ID):
        gr.Markdown(ABOUT)
        with gr.Row():
            controls.policy(without=True)
            controls.pool(_MOST)
            controls.scorer(scorers, without=True)
        with gr.Row():
            controls.looks()
        with gr.Accordion("More about selection", open=False, elem_id=f"{_ID}_more"):
            with gr.Row():
                controls.resampling()
            with gr.Row():
                controls.running()
    for name, component in controls.components.items():
        form.add(f"{PATH}.{name}", component)
