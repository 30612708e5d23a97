"""Candidate selection in runs of the webui: every image of a run gets a pool of candidates, and one of them is taken."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modules import processing, sd_samplers_common, shared

from lib_rankopt.errors import InvalidInputError, RankOptError
from lib_rankopt.hosts.judging import Judging
from lib_rankopt.hosts.picks import PickBoard
from lib_rankopt.hosts.webui import pictures, probes, saving, surroundings
from lib_rankopt.hosts.webui.pools import SamplerHook
from lib_rankopt.selection.create import SamplerRun, policy_of, seeds_of
from lib_rankopt.selection.record import SelectionRecord, parse_path

if TYPE_CHECKING:
    from lib_rankopt.selection.settings import Selection

log = logging.getLogger("rankopt.hosts")

_LABEL = "Selection"
_HIRES = "Selection hires"


def picks() -> PickBoard:
    """Where a person is asked; one for the process, which outlives *Reload UI*."""
    return surroundings.kept("picks", PickBoard)


def check(selection: Selection, sampler: str, steps: int, eta: float | None, seed: int, equal_start: bool, churn: float = 0.0) -> None:
    """Check before a run what does not need it; the webui's options say ``eta`` and ``churn`` where the run does not.

    Raises:
        RankOptError: the scorer is missing, or the sampler or the steps do not suit the policy; says what to use instead.
    """
    if selection.scorer and not selection.path:
        surroundings.scorers().check(selection.scorer)
    function = probes.sampler_function(sampler)
    if function is None:
        return
    option = "eta_ddim" if function.startswith(("ddim", "plms", "unipc")) else "eta_ancestral"
    noise = getattr(shared.opts, option, None) if eta is None else eta
    run = SamplerRun(function, steps, noise, churn or getattr(shared.opts, "s_churn", 0.0), equal_start, sampler)
    policy_of(selection, run, seeds_of(selection, seed))


def kept_steps(steps: int, strength: float) -> int:
    """Steps that a run from an image makes: the last of those that it is set to, or all of them where the webui's options say so."""
    return int(sd_samplers_common.setup_img2img_steps(SimpleNamespace(steps=steps, denoising_strength=strength))[1]) + 1


class Selecting:
    """Selection in one run of the webui, kept at its processing object: no other run can meet it.

    Args:
        selection: as it was asked for.
        is_round: whether the run is one of Rank-Optimize, which then fails rather than going on without selection.
        show: whether pictures of how the images were chosen are added to the run's.

    Attributes:
        selection: of the image under way: a path is followed only by the image whose seed it begins with.
        shown: for every image that was chosen its record and its parameters.
    """

    def __init__(self, selection: Selection, is_round: bool, show: bool = True) -> None:
        self.selection = self._asked = selection
        self._is_round, self._show = is_round, show
        self.record: SelectionRecord | None = None
        self.shown: list[tuple[SelectionRecord, str]] = []
        self._p: Any = None
        self._label = _LABEL

    # -- the webui's hooks
    def run_begins(self, p: Any) -> None:
        """Let every batch be one image.

        Raises:
            RankOptError: the run has to go on without selection; nothing was changed.
        """
        if p.subseed_strength:
            raise InvalidInputError("variations of one seed would all be the same candidate; set the variation strength to 0.")
        starts = getattr(p, "init_images", None) or []
        if any(one is not starts[0] for one in starts):
            raise InvalidInputError("the images of a batch begin from different pictures; repaint one picture at a time.")
        selection, seed = self._of_image(int(p.all_seeds[0])), int(p.all_seeds[0])
        steps = kept_steps(p.steps, p.denoising_strength) if starts else p.steps
        check(selection, p.sampler_name, steps, p.eta, seed, equal_start=False, churn=p.s_churn or 0.0)
        if starts:
            p.init_images = starts[:1]
        total = min(len(p.all_prompts), p.batch_size * p.n_iter)
        p.batch_size, p.n_iter = 1, total

    def image_begins(self, p: Any) -> None:
        """Write what will be known of the image into its parameters; called with its seed and before its noise is used."""
        self._p, self.record = p, None
        self.selection = self._of_image(int(p.seeds[0]))
        forget(self._p)
        for name, value in self.selection.parameters().items():
            p.extra_generation_params[name] = value

    def sampling_begins(self, p: Any) -> None:
        """Wait for the run of the sampler; called for each of its passes."""
        is_second = bool(getattr(p, "is_hr_pass", False))
        if "sample" in vars(p.sampler) or (is_second and not (self._asked.hires and self.record)):
            return
        self._label = _HIRES if is_second else _LABEL
        if is_second:
            self.selection = replace(self._asked, path="")
        scale = 1.0 if is_second else float(getattr(p, "initial_noise_multiplier", None) or 1.0)
        SamplerHook(p, seeds_of(self.selection, int(p.seeds[0])), self, scale).install()

    def image_is_done(self, p: Any) -> None:
        """Keep what is shown of the image."""
        if self._show and self.record is not None:
            text = processing.create_infotext(
                p, p.prompts, p.seeds, p.subseeds, index=0, all_negative_prompts=p.negative_prompts
            )
            self.shown.append((self.record, text))

    def run_ended(self, processed: Any) -> None:
        """Show how the images were chosen, behind all of them."""
        if not self.shown:
            return
        from lib_rankopt.selection import picture

        for record, text in self.shown:
            missing = len(processed.images) - len(processed.infotexts)  # masks have no parameters
            processed.infotexts.extend([text] * (missing + 1))
            processed.images.append(picture.draw(record))

    # -- called from the pool, see lib_rankopt.hosts.webui.pools.Chooser
    @contextlib.contextmanager
    def judge(self, steps: int) -> Iterator[Judging]:
        selection = self.selection
        small, whole = pictures.maker(selection.decoder), pictures.maker("full")
        judges = bool(selection.scorer) and not selection.path
        with surroundings.scorers().lent(selection.scorer) if judges else contextlib.nullcontext() as scorer:
            yield Judging(selection, self._p.prompts[0], steps, small, whole, scorer, picks(), _is_stopped)

    def chosen(self, seed: int, record: SelectionRecord) -> None:
        p = self._p
        for name, value in record.parameters().items():
            p.extra_generation_params[name.replace(_LABEL, self._label, 1)] = _entry(value)
        if self._label == _HIRES:
            return
        self.record = record
        self._take(seed)
        saving.note_record(p, record)

    def stopped(self, seed: int) -> None:
        forget(self._p)  # whole images alone were chosen
        self.record = None
        saving.note_record(self._p, None)
        if self._label == _LABEL:
            self._take(seed)

    def left_out(self, error: Exception) -> None:
        if self._is_round:
            raise error
        say_left_out(self._p, error)
        forget(self._p, self._label)

    # -- the image
    def _of_image(self, seed: int) -> Selection:
        asked = self._asked
        if asked.path and not self._is_round and parse_path(asked.path)[0][1] != seed:
            return replace(asked, path="")
        return asked

    def _take(self, seed: int) -> None:
        self._p.seeds = [seed]
        self._p.all_seeds[self._p.iteration] = seed


def forget(p: Any, label: str = _LABEL) -> None:
    """Take away what an image or a run before this one, or a pass that failed, has left in the parameters."""
    entries = p.extra_generation_params
    for name in [name for name in entries if name == label or name.startswith(f"{label} ")]:
        del entries[name]


def say_left_out(p: Any, error: Exception) -> None:
    """Say below the images, and in the log for who uses the API, why they were made plainly."""
    is_known = isinstance(error, RankOptError)
    log.warning("candidate selection is left out: %s", error, exc_info=None if is_known else error)
    p.comment(f"Candidate selection was left out: {error if is_known else f'{type(error).__name__}: {error}'}")


def _entry(value: str) -> Any:
    """An entry of one image's parameters, which a grid of several has not."""

    def entry(use_main_prompt: bool = False, **_: Any) -> str | None:
        return None if use_main_prompt else value

    return entry


def _is_stopped() -> bool:
    return bool(shared.state.interrupted or shared.state.skipped)
