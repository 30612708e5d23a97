"""Components in the webui's own look."""

import gradio as gr


def ToolButton(*args, tooltip="", **kwargs):  # noqa: N802 (the webui's is a class; gradio would write a file for one here)
    """A small button."""
    return gr.Button(*args, elem_classes=["tool"], **kwargs)
