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
from lib_rankopt.hosts.webui import exchange, saving, script, start, surroundings, xyz
from lib_rankopt.hosts.webui.feedback import GalleryFeedback
from lib_rankopt.hosts.webui.host import WebuiHost
from lib_rankopt.ui import compat
from lib_rankopt.ui.exchange import TAB, Exchange
from lib_rankopt.ui.score_folder import scoring
from lib_rankopt.ui.tab import build_tab

if TYPE_CHECKING:
    from torch import Tensor

    from lib_rankopt.hosts.gallery import FeedbackSink
    from lib_rankopt.studies.service import StudyService

log = logging.getLogger("rankopt.ui")


def host() -> WebuiHost:
    """The host of this process."""
    return surroundings.kept("host", lambda: WebuiHost(script_args, feedback()))


def feedback() -> GalleryFeedback:
    """What watches the webui's own images; the service is made when there is something to note."""

    def sink() -> FeedbackSink:
        return service().data.gallery

    return surroundings.kept("feedback", lambda: GalleryFeedback(sink, surroundings.data_dir() / "webui"))


def service() -> StudyService:
    """The studies service of this process, made when a page first asks for studies; it outlives *Reload UI*."""

    def make() -> StudyService:
        from lib_rankopt.studies.service import StudyService

        made = StudyService(surroundings.data_dir(), host(), surroundings.database_url())
        atexit.register(made.close)
        return made

    return surroundings.kept("service", make)


def tabs(others: Exchange) -> list[tuple[gr.Blocks, str, str]]:
    """Build the tab, connected with the webui's others. Its form has no menu of models: the webui's own says which one is used."""
    info = dataclasses.replace(describe_host(host()), models=())
    # as for the webui's own work on folders: whoever hides that does not want strangers to name any
    score = None if surroundings.hides_folders() else scoring(surroundings.scorers, surroundings.data_dir())
    return [(build_tab(info, api=api.PREFIX.lstrip("/"), extend=others.connect, score=score), "Rank-Optimize", TAB)]


def app_started(_demo: gr.Blocks | None, app: FastAPI) -> None:
    """Put the API onto the webui's application, which is a new one after every *Reload UI*."""
    auth = surroundings.credentials()
    session = compat.logged_in(app) if auth else None
    api.mount(app, service, auth=auth, session=session, takes_paths=not surroundings.hides_folders())
    feedback().look()


class RankOptimize(script.RankOptimizeScript):
    """The script with its controls: an accordion in txt2img and img2img."""

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the accordion; without side effects, because the webui builds it several times."""
        name = f"{'img' if is_img2img else 'txt'}2img_rankopt_start"
        with exchange.input_accordion("Start latent", name) as enabled:
            gr.Markdown(
                "An image of Rank-Optimize was made from a certain noise, its latent, which its PNG carries. The same prompt then gives "
                "the same image; another prompt or LoRA starts from the same composition."
            )
            file = gr.File(label="PNG with a latent", file_types=[".png"], elem_id=f"{name}_file")
            kept = gr.Textbox(
                "",  # which tells the webui that what it pastes is text; gradio 4's default is None
                label="or a latent of your studies", elem_id=f"{name}_latent", lines=1,
                placeholder="Filled in by Send to txt2img, and with the parameters of your own images",
            )  # fmt: skip
        for one in (enabled, file, kept):
            one.do_not_save_to_config = True
        self.infotext_fields = [(enabled, lambda found: bool(self.kept(found))), (kept, self.kept), (file, self.emptied)]
        return [enabled, file, kept]

    def kept(self, parameters: dict[str, Any]) -> str:
        """The latent of pasted parameters, where the data folder has it.

        An image of txt2img that is to be repainted must not begin with its own noise once more, which would burn it in.
        """
        if self.is_img2img and "Denoising strength" not in parameters:
            return ""
        name = str(parameters.get(start.KEPT_LABEL, ""))
        return name if name and service().has_latent(name) else ""

    def emptied(self, parameters: dict[str, Any]) -> Any:
        """Take the file out where the parameters bring another latent."""
        return gr.update(value=None) if self.kept(parameters) else gr.update()

    def find_latent(self, name: str) -> Tensor:
        """Return a latent of the data folder."""
        return service().latent(name)

    def feedback(self) -> GalleryFeedback:
        """What watches the webui's own runs."""
        return feedback()


def before_ui() -> None:
    """Add what the webui's own scripts show of us."""
    xyz.add_axes()


def before_image_saved(params: Any) -> None:
    """Add what our images carry."""
    saving.add_chunks(params)


def image_saved(params: Any) -> None:
    """Take notice of an image that the webui has saved."""
    feedback().image_saved(params)


def settings() -> None:
    """Add the section of the settings page."""
    surroundings.add_options(gr.Slider, lambda: feedback().look(at_once=True))


def script_args(is_img2img: bool) -> list[Any]:
    """Default arguments of all always-visible scripts of txt2img or img2img, as their own controls have them."""
    runner = script.runner(is_img2img)
    values: list[Any] = [None] * max([1, *(one.args_to for one in runner.scripts)])
    values[0] = 0
    with gr.Blocks():
        for one in runner.scripts:
            components = one.ui(one.is_img2img)
            if components:
                values[one.args_from : one.args_to] = [component.value for component in components]
    return values
