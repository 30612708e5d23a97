"""The webui's tab and API: what ``scripts/rankopt.py`` registers."""

from __future__ import annotations

import atexit
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import FastAPI

from lib_rankopt import api
from lib_rankopt.api.host_info import describe_host
from lib_rankopt.hosts.webui import saving, script, surroundings
from lib_rankopt.hosts.webui.host import WebuiHost
from lib_rankopt.ui import compat
from lib_rankopt.ui.tab import build_tab

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService

log = logging.getLogger("rankopt.ui")

TAB = "rankopt"


def host() -> WebuiHost:
    """The host of this process."""
    return surroundings.kept("host", lambda: WebuiHost(script_args))


def service() -> StudyService:
    """The studies service of this process, made when a page first asks for studies; it outlives *Reload UI*."""

    def make() -> StudyService:
        from lib_rankopt.studies.service import StudyService

        made = StudyService(surroundings.data_dir(), host(), surroundings.database_url())
        atexit.register(made.close)
        return made

    return surroundings.kept("service", make)


def tabs() -> list[tuple[gr.Blocks, str, str]]:
    """Build the tab. Its form has no menu of models: the webui's own says which one is used."""
    info = dataclasses.replace(describe_host(host()), models=())
    return [(build_tab(info, api=api.PREFIX.lstrip("/")), "Rank-Optimize", TAB)]


def app_started(_demo: gr.Blocks | None, app: FastAPI) -> None:
    """Put the API onto the webui's application, which is a new one after every *Reload UI*."""
    auth = surroundings.credentials()
    api.mount(app, service, auth=auth, session=compat.logged_in(app) if auth else None)


class RankOptimize(script.RankOptimizeScript):
    """The script with its controls: an accordion in txt2img and img2img."""

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the accordion; without side effects, because the webui builds it several times."""
        name = f"{'img' if is_img2img else 'txt'}2img_rankopt_start"
        with gr.Accordion("Start latent", open=False, elem_id=name):
            gr.Markdown(
                "A PNG that was saved in Rank-Optimize carries the noise that it was made from. The same prompt then gives the same image; "
                "another prompt or LoRA starts from the same composition."
            )
            enabled = gr.Checkbox(False, label="Start from the latent of this PNG", elem_id=f"{name}_enabled")
            file = gr.File(label="PNG with a latent", file_types=[".png"], elem_id=f"{name}_file")
        for one in (enabled, file):
            one.do_not_save_to_config = True
        return [enabled, file]


def before_image_saved(params: Any) -> None:
    """Add what our images carry."""
    saving.add_latent(params)


def settings() -> None:
    """Add the section of the settings page."""
    surroundings.add_options()


def script_args() -> list[Any]:
    """Default arguments of all always-visible txt2img scripts, as their own controls have them."""
    runner = script.runner()
    values: list[Any] = [None] * max([1, *(one.args_to for one in runner.scripts)])
    values[0] = 0
    with gr.Blocks():
        for one in runner.scripts:
            components = one.ui(one.is_img2img)
            if components:
                values[one.args_from : one.args_to] = [component.value for component in components]
    return values
