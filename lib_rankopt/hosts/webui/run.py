"""One request in the webui: its own job in the queue, its own pipeline, our latents."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import call_queue, paths, processing, progress, scripts, sd_samplers_common, shared

from lib_rankopt.diffusion.memory import is_out_of_memory
from lib_rankopt.errors import GenerationError, GenerationInterrupted, ModelError, RankOptError
from lib_rankopt.hosts.base import GeneratedImage, GenerationRequest, Progress
from lib_rankopt.hosts.reporter import Reporter
from lib_rankopt.hosts.webui import options, probes, saving
from lib_rankopt.hosts.webui.noise import PresetFirstNoise
from lib_rankopt.hosts.webui.pools import ROW
from lib_rankopt.hosts.webui.script import RUN, SELECTING

if TYPE_CHECKING:
    from PIL import Image

    from lib_rankopt.selection.record import SelectionRecord

log = logging.getLogger("rankopt.hosts")

_LOOK_SECONDS = 0.1
_CHEAP_PREVIEW = 2  # the webui's number of the approximation that needs no weights
_PREVIEW_SIDE = 256

Item = GeneratedImage | Progress | BaseException | None


class WebuiRun:
    """Generates the images of one checked request.

    The work is done in a thread of its own, which waits for the webui's queue, holds its lock and shows in its progress bar like any
    other job; images and progress come out of :meth:`stream` in the caller's thread. The hooks of
    :class:`~lib_rankopt.hosts.webui.script.RankOptimizeScript` call the methods in the middle; what goes wrong in them is kept and
    raised after the run, because the webui prints and swallows it.

    Args:
        request: already validated.
        script_args: defaults of all always-visible scripts, as the webui's own API builds them.
        cancel: stops the run, also while it waits in the queue.
        checkpoint: file of the model that makes the images.
    """

    def __init__(
        self, request: GenerationRequest, script_args: list[Any], cancel: threading.Event | None, checkpoint: str
    ) -> None:
        self.request = request
        self._checkpoint = checkpoint
        self._script_args = script_args
        self._cancel = cancel or threading.Event()
        self._items: queue.Queue[Item] = queue.Queue()
        self._reporter = Reporter(len(request.seeds), self._items.put)
        self._begun = threading.Event()
        self._given_up = threading.Event()
        self._failure: BaseException | None = None
        self._rows = range(0)  # positions in the request of the process_images call under way
        self._batch: list[int] = []
        self._noise: PresetFirstNoise | None = None
        self._followed: Any = None
        self._whole = False
        self._shown = 0

    # -- the caller's side
    def stream(self, report: Any = None) -> Iterator[GeneratedImage]:
        """Yield the images as they finish; call ``report`` with every progress.

        Raises:
            GenerationInterrupted: cancelled, or interrupted or skipped in the webui. GenerationError: as it says.
        """
        threading.Thread(target=self._work, name="rankopt-webui", daemon=True).start()
        try:
            while (item := self._next()) is not None:
                if isinstance(item, GeneratedImage):
                    if self._cancel.is_set():  # the job runs ahead of its reader
                        raise GenerationInterrupted(f"interrupted; image {item.index + 1} came too late and was not kept")
                    yield item
                elif isinstance(item, Progress):
                    if report is not None:
                        report(item)
                else:
                    raise item
        finally:
            self._given_up.set()

    def _next(self) -> Item:
        while True:
            try:
                return self._items.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if self._cancel.is_set() and not self._begun.is_set():
                    return GenerationInterrupted("interrupted while waiting in the webui's queue")

    # -- the job
    def _work(self) -> None:
        try:
            task = progress.create_task_id("rankopt")
            progress.add_task_to_queue(task)
            with call_queue.queue_lock:
                self._begun.set()
                progress.start_task(task)
                shared.state.begin(job=task)
                try:
                    if not self._stopped:
                        probes.on_host_thread(self._process_all)
                finally:
                    progress.finish_task(task)
                    shared.state.end()
            done, total = self._reporter.done, self._reporter.total
            if done < total:
                raise GenerationInterrupted(f"interrupted after {done} of {total} images; nothing half-finished was kept")
        except BaseException as error:
            self._items.put(error)
        else:
            self._items.put(None)

    @property
    def _repaints(self) -> bool:
        return self.request.init_image is not None

    @property
    def _stopped(self) -> bool:
        return self._cancel.is_set() or self._given_up.is_set() or bool(shared.state.interrupted)

    def _process_all(self) -> None:
        """Run the pipeline, again with half the batch where memory ran out, until every image is there or the run was stopped."""
        first, total = 0, self._reporter.total
        size = 1 if self.request.selection else min(self.request.batch_size, total)  # one pool at a time
        while first < total and not self._stopped:
            size = min(size, total - first)
            # img2img encodes its image for whole batches, so a smaller last one is a run of its own
            stop = first + (total - first) // size * size if self._repaints else total
            try:
                self._process(range(first, stop), size)
                first = stop
                continue
            except RankOptError:
                raise
            except Exception as error:
                if not is_out_of_memory(error):
                    # among them the webui's NansException; its own text says what to try
                    raise GenerationError(f"The webui failed: {type(error).__name__}: {error}") from error
                if size == 1:
                    where = f"{self.request.width}×{self.request.height}"
                    raise GenerationError(f"out of memory with a single image of {where}: choose a smaller size ({error})") from error
            first = self._batch[0] if self._batch else first
            size = max(1, min(size, total - first) // 2)
            log.warning("out of memory; going on with %d images at once", size)

    def _process(self, rows: range, size: int) -> None:
        self._rows = rows
        p = self._processing(rows, size)
        try:
            with contextlib.closing(p), _params_file_kept():
                processing.process_images(p)
        finally:
            shared.total_tqdm.clear()
        if self._failure is not None:
            raise self._failure

    def _processing(self, rows: range, size: int) -> Any:
        request = self.request
        kind = processing.StableDiffusionProcessingTxt2Img
        values: dict[str, Any] = {"enable_hr": False}
        folder, runner = shared.opts.outdir_txt2img_samples, scripts.scripts_txt2img
        if self._repaints:
            kind = processing.StableDiffusionProcessingImg2Img
            values = {"init_images": [request.init_image], "denoising_strength": request.denoising_strength}
            folder, runner = shared.opts.outdir_img2img_samples, scripts.scripts_img2img
        values |= {
            "sd_model": shared.sd_model,
            "outpath_samples": shared.opts.outdir_samples or folder,
            "prompt": [request.prompt] * len(rows),
            "negative_prompt": request.negative_prompt,
            "styles": list(request.extra.get("styles", ())),
            "seed": [request.seeds[i] for i in rows],
            "sampler_name": request.sampler,
            "scheduler": request.scheduler,
            "batch_size": size,
            "n_iter": -(-len(rows) // size),
            "steps": request.steps,
            "cfg_scale": request.cfg_scale,
            "width": request.width,
            "height": request.height,
            "eta": request.eta,
            "do_not_save_grid": True,
            "override_settings": options.overrides(request),
            "override_settings_restore_afterwards": True,
        }
        p = kind(**probes.accepted(kind, values))
        # otherwise the scripts behind txt2img's own controls overwrite seed, steps and sampler with what those controls show
        p.is_api = True
        p.scripts = runner
        p.script_args = list(self._script_args)
        setattr(p, RUN, self)
        return p

    # -- called from the webui's hooks
    def batch_begins(self, p: Any) -> None:
        """Put our latents in the place of the batch's first noise."""
        with self.kept_failure():
            first = self._rows.start + p.iteration * p.batch_size
            self._batch = list(range(first, min(first + p.batch_size, self._rows.stop)))
            self._shown = 0
            self._whole = False
            self._check_unchanged(p)
            self._write_notes(p)
            given = self.request.latents
            own = None if given is None else given[self._batch[0] : self._batch[-1] + 1]
            self._noise = PresetFirstNoise(p.rng, own)
            saving.preset(p, self._noise)

    def _check_unchanged(self, p: Any) -> None:
        """Refuse a batch with another checkpoint, or one in which another extension has moved or replaced what a study compares.

        Raises:
            ModelError: which checkpoint is there. GenerationError: which extension that may be.
        """
        # chosen while the run waited in the queue; Forge loads what is chosen between two batches, too
        loaded = getattr(shared.sd_model, "sd_checkpoint_info", None)
        if loaded is not None and loaded.filename != self._checkpoint:
            wanted = Path(self._checkpoint).name
            raise ModelError(f"The checkpoint was changed to {loaded.name} before the round was done. Choose {wanted} and try again.")
        if list(p.seeds) != [self.request.seeds[i] for i in self._batch]:
            raise GenerationError("Another extension changed the seeds or the order of the images; switch it off while you rank.")
        if len(set(p.prompts)) > 1 or len(set(p.negative_prompts)) > 1:
            raise GenerationError(
                "Another extension gave the images different prompts (wildcards?). A round compares latents under one prompt: write the "
                "prompt out, or switch that extension off while you rank."
            )

    def _write_notes(self, p: Any) -> None:
        notes = [self.request.notes[i] for i in self._batch] if self.request.notes else []
        for name in notes[0] if notes else ():
            p.extra_generation_params[name] = probes.parameter_of_each([note[name] for note in notes])

    def sampling_begins(self, p: Any) -> None:
        """Follow the sampler. The hook is on its instance and goes with it; img2img has one sampler for all batches."""
        with self.kept_failure():
            if p.sampler is self._followed:
                return
            self._followed, original = p.sampler, p.sampler.callback_state

            def callback_state(values: dict[str, Any]) -> None:
                original(values)
                self._step(values, shared.state.sampling_steps or p.steps)  # img2img makes only the last of p.steps

            p.sampler.callback_state = callback_state

    def sampling_ended(self) -> None:
        """Note whether the batch was sampled to its end: the webui decodes and returns half-denoised images too."""
        self._whole = self._failure is None and not (shared.state.interrupted or shared.state.skipped)

    def image_is_done(self, p: Any, image: Image.Image) -> None:
        """Hand out a finished image."""
        with self.kept_failure():
            place = self._shown
            self._shown += 1
            if not self._whole or self._noise is None or self._noise.first is None:
                return
            index = self._batch[place]
            record = self._record(p)
            if self.request.selection is not None and record is None:
                raise GenerationError(f"image {index + 1} was made without its selection: another extension took over its sampler")
            text = processing.create_infotext(
                p, p.prompts, p.seeds, p.subseeds, index=place, all_negative_prompts=p.negative_prompts
            )
            self._reporter.done += 1
            self._reporter.report(0, p.steps, p.steps)
            seed = int(p.seeds[place])
            self._items.put(GeneratedImage(index, image.convert("RGB"), self._noise.first[place], seed, text, record))

    @staticmethod
    def _record(p: Any) -> SelectionRecord | None:
        selecting = getattr(p, SELECTING, None)
        return selecting.record if selecting else None

    def _step(self, values: dict[str, Any], steps: int) -> None:
        if self._stopped:
            shared.state.interrupt()
        step = int(values["i"]) + 1
        row, denoised = values.get(ROW, 0), values["denoised"]  # one of a pool's rows; UniPC has no prediction in its last step
        denoised = () if row is None or denoised is None else denoised[row:]
        self._reporter.report(len(self._batch), step, steps, self._previews(denoised, step, steps))

    def _previews(self, denoised: Any, step: int, steps: int) -> dict[int, Image.Image]:
        every = self.request.preview_every
        if not every or step % every or step >= steps:
            return {}
        found = {}
        for latent, index in zip(denoised, self._batch, strict=False):
            image = sd_samplers_common.single_sample_to_image(latent, _CHEAP_PREVIEW).convert("RGB")
            image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
            found[index] = image
        return found

    @contextlib.contextmanager
    def kept_failure(self) -> Iterator[None]:
        """Keep what goes wrong in a hook, and stop the run."""
        try:
            yield
        except Exception as error:
            if self._failure is None:
                self._failure = error
            shared.state.interrupt()


@contextlib.contextmanager
def _params_file_kept() -> Iterator[None]:
    """Leave the webui's record of the person's own last generation as it was."""
    path = Path(paths.data_path) / "params.txt"
    try:
        before = path.read_bytes()
    except OSError:
        before = None
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):
                path.write_bytes(before)
