"""Components in the webui's own look."""

import gradio as gr


def ToolButton(*args, tooltip="", **kwargs):  # a class in the webui; gradio would write a file for one here
    """A small button."""
    return gr.Button(*args, elem_classes=["tool"], **kwargs)


DropdownMulti = gr.Dropdown
