"""The always-visible scripts through which we reach into the webui's processing; idle while they are switched off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modules import scripts

from lib_rankopt.errors import NotFoundError
from lib_rankopt.hosts.webui import image_scores, saving, selection_values, start
from lib_rankopt.hosts.webui.selection import Selecting, forget, say_left_out

if TYPE_CHECKING:
    from torch import Tensor

    from lib_rankopt.hosts.webui.feedback import GalleryFeedback

# Our runs are attributes of the processing object, so that no other run of the webui can meet them.
RUN = "rankopt_run"
SELECTING = "rankopt_selecting"


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

    def feedback(self) -> GalleryFeedback | None:
        """What watches the webui's own runs, where something does."""
        return None

    def process(self, p: Any, *args: Any) -> None:
        """Seeds and prompts of all images are known."""
        if getattr(p, RUN, None) is None and (feedback := self.feedback()):
            feedback.run_begins(p, "img2img" if self.is_img2img else "txt2img")

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
        elif feedback := self.feedback():
            feedback.sampling_ended(p)

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        """One image is as it will be saved."""
        if run := getattr(p, RUN, None):
            run.image_is_done(p, pp.image)
        else:
            image_scores.image_is_done(p, pp.image)
            if feedback := self.feedback():
                feedback.image_is_done(p, pp.image)
        saving.image_is_done(p, pp.image)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        """All images are there."""
        if getattr(p, RUN, None) is None and (feedback := self.feedback()):
            feedback.run_ended(p)


class CandidateSelectionScript(scripts.Script):
    """Hands the webui's hooks to the selection of a run, where it is switched on or is asked for by a round of ours.

    Its arguments are those of :data:`lib_rankopt.hosts.webui.selection_values.NAMES`, or a dictionary of them.
    """

    def title(self) -> str:
        """Name in the API's list of scripts."""
        return "Candidate selection"

    def show(self, is_img2img: bool) -> Any:
        """Take part in txt2img and img2img."""
        return scripts.AlwaysVisible

    def process(self, p: Any, *args: Any) -> None:
        """Seeds and prompts of all images are known."""
        vars(p).pop(SELECTING, None)  # img2img's batches have one object for all runs
        forget(p)  # X/Y/Z plot copies it for each of its images, but not the parameters in it
        run = getattr(p, RUN, None)
        with _or_plainly(p):
            if run is not None:
                found = run.request.selection and (run.request.selection, False)
            else:
                found = selection_values.read(args, getattr(p, selection_values.AXES, {}))
            if found:
                selecting = Selecting(found[0], is_round=run is not None, show=found[1])
                selecting.run_begins(p)
                setattr(p, SELECTING, selecting)

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """The batch's seeds, prompts and generator are what they stay; its noise has not been used."""
        if selecting := getattr(p, SELECTING, None):
            with _or_plainly(p):
                selecting.image_begins(p)

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """The sampler exists; called for each of its passes."""
        if selecting := getattr(p, SELECTING, None):
            with _or_plainly(p):
                selecting.sampling_begins(p)

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        """One image is as it will be saved."""
        if selecting := getattr(p, SELECTING, None):
            selecting.image_is_done(p)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        """All images are there."""
        if selecting := getattr(p, SELECTING, None):
            selecting.run_ended(processed)


@contextlib.contextmanager
def _or_plainly(p: Any) -> Iterator[None]:
    """Where a hook of selection fails, which the webui would only print, make a round fail and other runs go on without selection."""
    run = getattr(p, RUN, None)
    try:
        with run.kept_failure() if run is not None else contextlib.nullcontext():
            yield
    except Exception as error:
        vars(p).pop(SELECTING, None)
        say_left_out(p, error)
        forget(p)
