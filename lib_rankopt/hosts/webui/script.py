"""The always-visible script through which a run of ours reaches into the webui's processing; idle for every other run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modules import scripts

from lib_rankopt.errors import NotFoundError
from lib_rankopt.hosts.webui import saving, start

if TYPE_CHECKING:
    from torch import Tensor

# Our run is an attribute of the processing object, so that no other run of the webui can meet it.
RUN = "rankopt_run"


def runner(is_img2img: bool) -> Any:
    """The webui's scripts of txt2img or img2img; made here where no user interface has made them (``--nowebui``)."""
    found = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
    if not found.scripts:
        found.initialize_scripts(is_img2img)
    return found


class RankOptimizeScript(scripts.Script):
    """Hands the webui's hooks to the run that a processing object carries, and starts other runs from a given latent.

    Its arguments are those of the controls in :mod:`lib_rankopt.ui.webui`: whether to start from a latent, the PNG that carries it, and
    the hash of one in the data folder, which is taken where there is no PNG.
    """

    def title(self) -> str:
        """Name in the API's list of scripts."""
        return "Rank-Optimize"

    def show(self, is_img2img: bool) -> Any:
        """Take part in txt2img and img2img."""
        return scripts.AlwaysVisible

    def find_latent(self, name: str) -> Tensor:
        """Return a latent of the data folder.

        Raises:
            RankOptError: there is none of that hash.
        """
        raise NotFoundError(f"There is no latent '{name}'.")

    def before_process_batch(
        self, p: Any, enabled: bool = False, file: Any = None, latent: str = "", **kwargs: Any
    ) -> None:
        """The batch's generator exists and has not been used."""
        if run := getattr(p, RUN, None):
            run.batch_begins(p)
        elif enabled and file:
            start.use(p, lambda: start.read(file))
        elif enabled and latent:
            start.use(p, lambda: self.find_latent(latent), latent)

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """The sampler exists; called for each of its passes."""
        if run := getattr(p, RUN, None):
            run.sampling_begins(p)

    def post_sample(self, p: Any, ps: Any, *args: Any) -> None:
        """The batch is sampled and not decoded."""
        if run := getattr(p, RUN, None):
            run.sampling_ended()

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        """One image is as it will be saved."""
        if run := getattr(p, RUN, None):
            run.image_is_done(p, pp.image)
        saving.image_is_done(p, pp.image)
