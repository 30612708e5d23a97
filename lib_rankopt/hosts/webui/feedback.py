"""Feedback on the webui's own images: what a person says of them by ♥ and ✗, and what he does with them, where he lets that count.

The page tells of the former, of *Save*, *Send to* and ✨ (see ``javascript/rankopt_96_gallery.js``); everything else is noticed here, by
hooks that cost nothing while no switch is on. An image that was cut short is never noted: the webui saves none while a run is being
interrupted, and where it is told to, the hooks pass it by.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from modules import shared

from lib_rankopt.errors import RankOptError
from lib_rankopt.hosts.gallery import FeedbackSink, Kind
from lib_rankopt.hosts.webui import feedback_options, gallery_folders
from lib_rankopt.hosts.webui.feedback_options import SOURCES, is_on
from lib_rankopt.hosts.webui.kept_images import Favourites, Gone, HeldImages
from lib_rankopt.hosts.webui.later import Later

log = logging.getLogger("rankopt.hosts")

LOOK_EVERY = 60.0  # seconds between two looks at the folders, at least
AT_ONCE_FROM = 3.0  # seconds after which somebody may have looked at the images
_RUN = "rankopt_feedback"  # an attribute of the processing object, so that no other run of the webui can meet it
_BEFORE_HIRES = "-before-highres-fix"
_REMEMBERED = 2000
_WATCHED_IN_RUNS = ("deleted", "interrupted", "regenerated", "upscaled")


@dataclass
class _Run:
    """A run of the webui.

    Attributes:
        place: its tab and user.
        files: whole images that it has saved. firsts: those of the batch under way before Hires. fix.
        size: of the image that is about to be saved.
        touched: something good was done with one of its images.
    """

    place: tuple[str, str]
    prompts: tuple[Any, ...]
    seed: Any
    files: list[Path] = field(default_factory=list)
    firsts: list[Path] = field(default_factory=list)
    size: tuple[int, int] | None = None
    ended: float = 0.0
    touched: bool = False


class GalleryFeedback:
    """Takes and notices feedback. One per process; every method may be called from any thread, returns at once and raises nothing.

    Args:
        sink: gives the place where feedback goes, when there is some.
        folder: for what has to be remembered on the disk.
    """

    def __init__(self, sink: Callable[[], FeedbackSink], folder: Path) -> None:
        self._sink = sink
        self._held = HeldImages(folder / "held")
        self._favourites = Favourites(folder / "favourites.json")
        self._later = Later()
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], _Run] = {}
        self._made: OrderedDict[str, Path] = OrderedDict()  # by their parameters
        self._looked = -LOOK_EVERY
        self.wait = self._later.wait

    # -- from the page
    def wants(self, file: Path, kind: str, source: str) -> bool:
        """Whether feedback from the page is to be kept; remembers what was done well or is settled, whatever the switches say."""
        if kind == "like":
            with self._lock:
                for run in self._last.values():
                    run.touched = run.touched or file in run.files
        if kind == "like" or not source:
            self._later.do(lambda: self._held.let_go(file))
        return not source or (is_on(source) and SOURCES[source].kind == kind)

    # -- from the webui's hooks
    def run_begins(self, p: Any, tab: str) -> None:
        """Seeds and prompts of all images are known."""
        vars(p).pop(_RUN, None)  # img2img's batches have one object for all runs
        if not any(is_on(source) for source in _WATCHED_IN_RUNS):
            return
        seeds = getattr(p, "all_seeds", None) or [None]
        run = _Run((tab, getattr(p, "user", None) or ""), (p.prompt, p.negative_prompt, getattr(p, "styles", None)), seeds[0])
        setattr(p, _RUN, run)
        if not getattr(p, "is_api", False):
            self._compare(run, is_upscale=bool(getattr(p, "txt2img_upscale", False)))

    def sampling_ended(self, p: Any) -> None:
        """The batch is sampled; where that was cut short in Hires. fix, the images before it are whole."""
        if run := getattr(p, _RUN, None):
            firsts, run.firsts = run.firsts, []
            if is_on("interrupted") and _is_cut_short():
                self._note_later(firsts, "interrupted")

    def image_is_done(self, p: Any, image: Any) -> None:
        """One image is as it will be saved."""
        if run := getattr(p, _RUN, None):
            run.size = image.size

    def image_saved(self, params: Any) -> None:
        """The webui has saved an image: a result, or one of those that it saves beside (grids, masks, earlier states)."""
        if params.p is None:
            self._processed(params)
            return
        run, file = getattr(params.p, _RUN, None), Path(params.filename)
        if run is None or _is_cut_short():
            return
        file = file.resolve()
        if file.stem.endswith(_BEFORE_HIRES):
            run.firsts.append(file)
        elif run.size == params.image.size:
            run.size = None
            run.files.append(file)
            self._result(file, str(params.pnginfo.get("parameters") or ""))

    def run_ended(self, p: Any) -> None:
        """All images are there."""
        if run := getattr(p, _RUN, None):
            run.ended = time.monotonic()
            is_stopped = _is_cut_short() or getattr(shared.state, "stopping_generation", False)
            if run.files and not is_stopped and not getattr(p, "is_api", False):
                with self._lock:
                    self._last[run.place] = run
        self.look()

    # -- folders
    def look(self, at_once: bool = False) -> None:
        """Look at the folders that are watched, unless that was done within the last minute; in the background."""
        if not (is_on("favourite") or is_on("deleted") or self._held.exist()):
            return
        now = time.monotonic()
        with self._lock:
            if now - self._looked < LOOK_EVERY and not at_once:
                return
            self._looked = now
        self._later.do(self._look)

    def _look(self) -> None:
        folder = feedback_options.favourites()
        if is_on("favourite") and folder is not None:
            self._look_at_favourites(folder)
        if not is_on("deleted"):
            self._held.let_all_go()
            return
        for one in self._held.gone():
            if self._is_dislike(one) and not self._note(one.held, "deleted"):
                continue  # the next look tries again
            self._held.let_go(one.original)

    def _look_at_favourites(self, folder: Path) -> None:
        outputs = gallery_folders.outputs()
        if not folder.is_dir() or any(one.resolve().is_relative_to(folder.resolve()) for one in outputs):
            log.warning("favourites: %s is no folder, or holds all images of the webui; name another one in the settings", folder)
            return
        for file in self._favourites.new(folder, outputs):
            if self._note(file, "favourite"):
                self.wants(file.resolve(), "like", "favourite")
                self._favourites.count(file)
        self._favourites.save()

    def _is_dislike(self, one: Gone) -> bool:
        """Whether a deleted image was not rather put elsewhere, or judged otherwise."""
        if self._favourites.has(one.held):
            return False
        return not any(self._sink().label_of([one.held]))

    # -- runs
    def _compare(self, run: _Run, is_upscale: bool) -> None:
        """Note the last run's images where this one is made instead of them."""
        with self._lock:
            last = self._last.pop(run.place, None)
        if last is None or is_upscale or last.touched or not is_on("regenerated"):
            return
        passed = time.monotonic() - last.ended
        if AT_ONCE_FROM <= passed <= feedback_options.seconds() and last.prompts == run.prompts and last.seed != run.seed:
            self._later.do(lambda: self._note_regenerated(last.files))

    def _note_regenerated(self, files: list[Path]) -> None:
        files = [file for file in files if file.is_file()]
        labels = self._sink().label_of(files)
        if "like" not in labels:
            for file, label in zip(files, labels, strict=True):
                if not label:
                    self._note(file, "regenerated")

    def _result(self, file: Path, parameters: str) -> None:
        """A whole image of a run is on the disk."""
        if is_on("deleted"):
            self._later.do(lambda: self._held.hold(file))
        if is_on("upscaled") and parameters:
            with self._lock:
                self._made[parameters] = file
                while len(self._made) > _REMEMBERED:
                    self._made.popitem(last=False)
        # the webui goes on to the end of the batch in which Interrupt was pressed
        if is_on("interrupted") and getattr(shared.state, "stopping_generation", False):
            self._note_later([file], "interrupted")

    def _processed(self, params: Any) -> None:
        """Extras has saved an image; its parameters are those of the image that it was made of."""
        texts = params.pnginfo
        if not is_on("upscaled") or "Postprocess upscale" not in str(texts.get("extras") or texts.get("postprocessing") or ""):
            return
        with self._lock:
            file = self._made.get(str(texts.get("parameters") or ""))
        if file is not None and self.wants(file, "like", "upscaled"):
            self._note_later([file], "upscaled")

    # -- notes
    def _note_later(self, files: list[Path], source: str) -> None:
        for file in files:
            self._later.do(partial(self._note, file, source))

    def _note(self, file: Path, source: str) -> bool:
        """Note what was done; false where it could not be kept, which the log says."""
        kind: Kind = "like" if SOURCES[source].kind == "like" else "dislike"
        try:
            self._sink().note(file, kind, source)
        except RankOptError as error:
            log.warning("'%s' of %s is not kept: %s", source, file, error)
            return False
        return True


def _is_cut_short() -> bool:
    """Whether the images under way are being left half-made."""
    return bool(shared.state.interrupted or shared.state.skipped)
