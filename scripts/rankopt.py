"""Registers Rank-Optimize with the webui, which runs this file at every start and at every *Reload UI*."""

from modules import script_callbacks

from lib_rankopt.ui import webui
from lib_rankopt.ui.webui import RankOptimize  # noqa: F401  (the webui looks for scripts among this file's names)

script_callbacks.on_ui_settings(webui.settings)
exchange = webui.Exchange(webui.service)
script_callbacks.on_after_component(exchange.after_component)
script_callbacks.on_ui_tabs(lambda: webui.tabs(exchange))
script_callbacks.on_app_started(webui.app_started)
script_callbacks.on_before_image_saved(webui.before_image_saved)
