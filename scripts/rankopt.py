"""Registers Rank-Optimize with the webui, which runs this file at every start and at every *Reload UI*."""

from threading import Thread

from modules import script_callbacks

from lib_rankopt.ui import webui
from lib_rankopt.ui.webui import RankOptimize  # noqa: F401
from lib_rankopt.ui.webui_selection import CandidateSelection  # noqa: F401  (the webui looks for scripts among this file's names)


def register() -> None:
    """Add our callbacks."""
    exchange = webui.Exchange(webui.service)
    script_callbacks.on_ui_settings(webui.settings)
    script_callbacks.on_before_ui(webui.before_ui)
    script_callbacks.on_after_component(exchange.after_component)
    script_callbacks.on_ui_tabs(lambda: webui.tabs(exchange))
    script_callbacks.on_app_started(webui.app_started)
    script_callbacks.on_before_image_saved(webui.before_image_saved)
    script_callbacks.on_image_saved(webui.image_saved)


# For every callback the webui looks up the source of each function on the stack: 0.2 s in all from here, nothing where the stack is short.
_thread = Thread(target=register)
_thread.start()
_thread.join()
