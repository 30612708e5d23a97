"""The part of the form that says how each image is chosen among candidates while they are sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_rankopt.selection.settings import DECODERS, POLICIES, POTENTIALS, Selection

if TYPE_CHECKING:
    from lib_rankopt.ui.form import Form

NONE = "none"  # the board's script leaves a policy or scorer of this name out
PATH = "settings.selection"
ABOUT = (
    "Several candidates of each image are compared while they are being made, and only the better ones are finished: better images for "
    "the same work. **halving** drops the worse half of twice as many, twice; **greedy** goes on from the best every few steps; "
    "**resample** multiplies the better ones; **human** asks you; **best-of-n** compares finished images only. Candidates of a study's "
    "image start from one latent, so the sampler has to add noise (Euler a, DPM++ SDE …)."
)


def build_selection(form: Form, scorers: tuple[str, ...]) -> None:
    """Lay the accordion out in the open gradio context; closed, and without a policy until one is chosen."""
    with gr.Accordion("Candidate selection (several candidates per image)", open=False, elem_id="rankopt_selection"):
        gr.Markdown(ABOUT)
        with gr.Row():
            _add(form, "policy", _menu("Selection policy", (NONE, *POLICIES), NONE, "policy", "How candidates are thinned."))
            _add(form, "pool", gr.Slider(
                2, 16, value=Selection.pool, step=1, label="Selection pool", elem_id=_id("pool"),
                info="What an image may cost, in whole images.",
            ))  # fmt: skip
        with gr.Row():
            own = Selection.scorer if Selection.scorer in scorers else (*scorers, NONE)[0]
            _add(form, "scorer", gr.Dropdown(
                [*scorers, NONE], value=own, label="Selection scorer", elem_id=_id("scorer"),
                info="Who compares; for human, who answers when you do not.",
            ))  # fmt: skip
            _add(form, "at", gr.Textbox(
                "", label="Compare at", lines=1, placeholder="25% 50%", elem_id=_id("at"),
                info="Shares of the steps; empty is the policy's own.",
            ))  # fmt: skip
        with gr.Accordion("More about selection", open=False, elem_id=_id("more")):
            _more(form)


def _more(form: Form) -> None:
    with gr.Row():
        _add(form, "every", gr.Slider(
            1, 50, value=Selection.every, step=1, label="Steps between looks", info="greedy and resample", elem_id=_id("every"),
        ))  # fmt: skip
        _add(form, "start", gr.Slider(
            0.0, 1.0, value=Selection.start, step=0.05, label="First look at", info="greedy and resample; a share of the steps",
            elem_id=_id("start"),
        ))  # fmt: skip
    with gr.Row():
        _add(form, "potential", _menu("Potential", POTENTIALS, Selection.potential, "potential", "resample: what weights are made of"))
        _add(form, "strength", gr.Slider(
            0.0, 50.0, value=Selection.strength, step=0.5, label="Strength of selection", info="resample", elem_id=_id("strength"),
        ))  # fmt: skip
        _add(form, "threshold", gr.Slider(
            0.0, 1.0, value=Selection.threshold, step=0.05, label="Resample below", elem_id=_id("threshold"),
            info="resample: effective share of the candidates",
        ))  # fmt: skip
    with gr.Row():
        _add(form, "decoder", _menu("Previews by", DECODERS, Selection.decoder, "decoder", "what makes pictures of unfinished images"))
        _add(form, "wait_seconds", gr.Slider(
            5, 600, value=int(Selection.wait_seconds), step=5, label="Seconds to wait for you", info="human", elem_id=_id("wait_seconds"),
        ))  # fmt: skip
        _add(form, "at_once", gr.Slider(
            0, 32, value=Selection.at_once, step=1, label="Candidates at once", elem_id=_id("at_once"),
            info="0 for all that fit; the images do not depend on it",
        ))  # fmt: skip


def _menu(label: str, choices: tuple[str, ...], value: str, name: str, info: str) -> Any:
    return gr.Dropdown(list(choices), value=value, label=label, info=info, elem_id=_id(name))


def _add(form: Form, name: str, component: Any) -> None:
    form.add(f"{PATH}.{name}", component)


def _id(name: str) -> str:
    return f"rankopt_selection_{name}"
