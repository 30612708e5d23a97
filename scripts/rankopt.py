"""Registers Rank-Optimize with the webui, which runs this file at every start and at every *Reload UI*."""

from modules import script_callbacks

from lib_rankopt.hosts.webui.script import RankOptimizeScript  # noqa: F401  (the webui looks for scripts among this file's names)
from lib_rankopt.ui import webui

script_callbacks.on_ui_settings(webui.settings)
script_callbacks.on_ui_tabs(webui.tabs)
script_callbacks.on_app_started(webui.app_started)
