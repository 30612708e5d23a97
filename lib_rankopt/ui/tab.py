"""The Rank-Optimize tab: settings of a new study in gradio, and the container that the board's script fills."""

from __future__ import annotations

import json
from collections.abc import Callable

import gradio as gr

from lib_rankopt.api.host_info import HostInfo
from lib_rankopt.ui import compat
from lib_rankopt.ui.form import Form
from lib_rankopt.ui.score_folder import Score, build_score_folder
from lib_rankopt.ui.settings import NOBODY, DefaultsOf, build_form

BOARD = """
<div id="rankopt_board" data-api="{api}">
  <p class="rankopt-loading">The ranking board is loading…</p>
  <noscript>The ranking board needs JavaScript.</noscript>
</div>
"""


def build_tab(
    info: HostInfo,
    *,
    api: str = "rankopt/v1",
    themed: bool = False,
    defaults_of: DefaultsOf | None = None,
    extend: Callable[[Form, gr.Button], None] | None = None,
    score: Score | None = None,
) -> gr.Blocks:
    """Build the tab.

    Args:
        info: what the host offers, see :func:`lib_rankopt.api.host_info.describe_host`.
        api: address of the API relative to the page, so that it works behind any path prefix.
        themed: the page is our own and brings its theme.
        defaults_of: settings that suit a model, filled in when one is chosen.
        extend: adds to the column of settings what only the webui has; is given the button that pastes parameters.
        score: scores a folder of the machine; without it the page does not offer that.
    """
    buttons: dict[str, gr.Button] = {}
    with compat.blocks("Rank-Optimize", themed) as tab, gr.Row(elem_id="rankopt_tab"):
        with gr.Column(scale=2, min_width=320, elem_id="rankopt_settings"):
            form = build_form(info, lambda: buttons.update(_buttons(extend is not None)), defaults_of)
            if extend is not None:
                extend(form, buttons["paste"])
            if score is not None:
                build_score_folder(info.scorers, score)
        with gr.Column(scale=3, min_width=320, elem_id="rankopt_board_column"):
            gr.HTML(BOARD.format(api=api), elem_id="rankopt_board_html")
        names = f"{json.dumps([*form.components])}, values, {json.dumps(NOBODY)}"
        start = f"(...values) => {{ window.rankopt && window.rankopt.startStudy({names}); return []; }}"
        compat.run_script(buttons["generate"].click, start, list(form.components.values()))
        for command in ("interrupt", "skip"):
            script = f"() => {{ window.rankopt && window.rankopt.command('{command}'); return []; }}"
            compat.run_script(buttons[command].click, script, [])
    return tab


def _buttons(with_paste: bool) -> dict[str, gr.Button]:
    """The webui's hot keys press buttons of these ids; the board has its own for interrupt and skip, so these two are not seen."""
    hidden = {"elem_classes": ["rankopt-hotkey"]}
    with gr.Row(elem_id="rankopt_buttons"):
        paste = {"paste": gr.Button("↙", elem_id="rankopt_paste", elem_classes=["tool"])} if with_paste else {}
        return {
            **paste,
            "generate": gr.Button("Start study", variant="primary", elem_id="rankopt_generate"),
            "interrupt": gr.Button("Interrupt", elem_id="rankopt_interrupt", **hidden),
            "skip": gr.Button("Skip", elem_id="rankopt_skip", **hidden),
        }
