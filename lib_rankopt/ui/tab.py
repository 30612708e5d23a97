"""The Rank-Optimize tab: settings of a new study in gradio, and the container that the board's script fills."""

from __future__ import annotations

import json

import gradio as gr

from lib_rankopt.api.host_info import HostInfo
from lib_rankopt.ui import compat
from lib_rankopt.ui.settings import NOBODY, build_form

BOARD = """
<div id="rankopt_board" data-api="{api}">
  <p class="rankopt-loading">The ranking board is loading…</p>
  <noscript>The ranking board needs JavaScript.</noscript>
</div>
"""


def build_tab(info: HostInfo, *, api: str = "rankopt/v1", themed: bool = False) -> gr.Blocks:
    """Build the tab.

    Args:
        info: what the host offers, see :func:`lib_rankopt.api.host_info.describe_host`.
        api: address of the API relative to the page, so that it works behind any path prefix.
        themed: the page is our own and brings its theme.
    """
    with compat.blocks("Rank-Optimize", themed) as tab, gr.Row(elem_id="rankopt_tab", equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_id="rankopt_settings"):
            form = build_form(info)
            with gr.Row(elem_id="rankopt_buttons"):
                start = gr.Button("Start study", variant="primary", elem_id="rankopt_generate")
                interrupt = gr.Button("Interrupt", elem_id="rankopt_interrupt", elem_classes=["rankopt-hotkey"])
                skip = gr.Button("Skip", elem_id="rankopt_skip", elem_classes=["rankopt-hotkey"])
        with gr.Column(scale=3, min_width=320, elem_id="rankopt_board_column"):
            gr.HTML(BOARD.format(api=api), elem_id="rankopt_board_html")
        paths = json.dumps([*form.components])
        nobody = json.dumps(NOBODY)
        compat.run_script(
            start.click,
            f"(...values) => {{ window.rankopt && window.rankopt.startStudy({paths}, values, {nobody}); return []; }}",
            list(form.components.values()),
        )
        for button, command in ((interrupt, "interrupt"), (skip, "skip")):
            compat.run_script(
                button.click, f"() => {{ window.rankopt && window.rankopt.command('{command}'); return []; }}", []
            )
    return tab
