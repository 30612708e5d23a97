"""One image of a request with selection on the standalone host: a pool of candidates and the one that is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib_rankopt.diffusion.decode import pictures, preview
from lib_rankopt.diffusion.memory import is_out_of_memory, release
from lib_rankopt.diffusion.noise import start_noise
from lib_rankopt.diffusion.sampling import Step, sample
from lib_rankopt.errors import GenerationError
from lib_rankopt.hosts.base import GeneratedImage
from lib_rankopt.hosts.judging import Judging
from lib_rankopt.selection.create import SamplerRun, policy_of, seeds_of
from lib_rankopt.selection.pool import Launch, PoolRun

if TYPE_CHECKING:
    from PIL import Image

    from lib_rankopt.diffusion.samplers import Plan
    from lib_rankopt.hosts.picks import PickBoard
    from lib_rankopt.hosts.standalone_run import StandaloneRun
    from lib_rankopt.scorers.base import Scorer
    from lib_rankopt.selection.record import SelectionRecord
    from lib_rankopt.selection.settings import Selection

logger = logging.getLogger("rankopt.hosts")


@dataclass(frozen=True)
class Chosen:
    """The image that was taken.

    Attributes:
        start: the x_T that it came from, float32 ``[C, h, w]``. seed: of that candidate.
    """

    image: Image.Image
    start: Tensor
    seed: int
    record: SelectionRecord


@dataclass(frozen=True)
class Choosing:
    """What a run needs of its host to choose images among candidates.

    Attributes:
        lend: lends the scorer for the time of a pool; ``None`` where only a person chooses.
        picks: where a person is asked.
        tiny_decoder: TAESD, which makes pictures of latents; ``None`` without its weights.
        aside: entered while a person is waited for; lets other requests go before.
    """

    lend: Callable[[], AbstractContextManager[Scorer | None]]
    picks: PickBoard
    tiny_decoder: Callable[[Tensor], list[Image.Image]] | None = None
    aside: Callable[[], AbstractContextManager[None]] = nullcontext


def sampler_run(plan: Plan, equal_start: bool) -> SamplerRun:
    """What selection has to know of a planned run."""
    return SamplerRun(plan.sampler.function, plan.steps, plan.eta, equal_start=equal_start, name=plan.sampler.name)


class StandalonePool:
    """Chooses the images of one run, one after the other.

    Args:
        run: whose model, plan and request are used.
        choosing: what the host has for that.
    """

    def __init__(self, run: StandaloneRun, selection: Selection, choosing: Choosing) -> None:
        self._run, self._selection, self._choosing = run, selection, choosing
        self._at_once = selection.at_once or run.request.batch_size

    def images(self) -> Iterator[GeneratedImage]:
        """Yield the images in order.

        Raises:
            As :meth:`choose`.
        """
        run = self._run
        for index in range(len(run.request.seeds)):
            run.check()
            found = self.choose(index)
            run.reporter.done += 1
            run.reporter.report(0, run.plan.steps, run.plan.steps)
            text = run.parameters(index, found.seed, {**self._selection.parameters(), **found.record.parameters()})
            yield GeneratedImage(index, found.image, found.start, found.seed, text, found.record)

    def choose(self, index: int) -> Chosen:
        """Make image ``index`` of the request.

        Raises:
            InvalidInputError: a scorer's number that cannot be used. GenerationInterrupted: stopped.
            GenerationError: out of memory with a single candidate, or not-a-number values.
        """
        while True:
            chosen = self._chosen(index)
            if chosen is not None:
                return chosen
            self._at_once = max(1, min(self._at_once, self._selection.rows) // 2)
            logger.warning("out of memory; going on with %d candidates at once", self._at_once)

    def _chosen(self, index: int) -> Chosen | None:
        """The image, or ``None`` when memory ran out and smaller parts may do."""
        with self._choosing.lend() as scorer:
            return self._judged(index, scorer)

    def _judged(self, index: int, scorer: Scorer | None) -> Chosen | None:
        run, selection = self._run, self._selection
        seeds = seeds_of(selection, run.request.seeds[index])
        starts = self._starts(index, seeds)
        policy, placement = policy_of(selection, sampler_run(run.plan, run.request.latents is not None), seeds)
        judging = Judging(
            selection, run.request.prompt, run.plan.steps, self._pictures(selection.decoder), self._pictures("full"),
            scorer, self._choosing.picks, run.stopped, self._choosing.aside,
        )  # fmt: skip
        pool = PoolRun(policy, judging, placement)
        run.loras.put_on()  # others had their turn since
        try:
            with torch.inference_mode():
                row, _ = pool.sample(self._sampler(index, pool, starts, seeds), self._at_once)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = str(error)
        else:
            record = judging.record(pool, seeds)
            first = record.path()[0][1]
            return Chosen(judging.finished[row], starts[first].clone(), seeds[first], record)
        del pool, judging
        run.denoiser.forget()
        release(run.model.device)
        if min(self._at_once, len(seeds)) == 1:
            raise GenerationError(
                f"out of memory with a single candidate of {run.request.width}×{run.request.height}: choose a smaller size or model "
                f"({failure})"
            )
        return None

    def _starts(self, index: int, seeds: tuple[int, ...]) -> Tensor:
        given = self._run.request.latents
        if given is None:
            return start_noise(seeds, self._run.shape)
        return given[index].detach().to("cpu", torch.float32).expand(len(seeds), -1, -1, -1)

    def _sampler(self, index: int, pool: PoolRun, starts: Tensor, seeds: tuple[int, ...]) -> Callable[[Launch], Tensor]:
        run = self._run

        def sampler(launch: Launch) -> Tensor:
            rows = list(launch.rows)

            def on_step(step: Step) -> None:
                run.check()
                launch.callback(step.index, step.x, step.denoised)
                run.step_of_pool(index, step, next((place for place, row in enumerate(rows) if row in pool.rows), None))

            model = launch.model(lambda _rows, x, sigma: run.denoiser(x, sigma))
            return sample(run.plan, model, starts[rows], [seeds[row] for row in rows], on_step, run.model.device, run.start)

        return sampler

    def _pictures(self, decoder: str) -> Callable[[Tensor], list[Image.Image]]:
        model, run = self._run.model, self._run
        small = self._choosing.tiny_decoder if decoder in ("auto", "taesd") else None

        def make(latents: Tensor) -> list[Image.Image]:
            run.check()
            if decoder == "cheap":
                return [preview(model, latent) for latent in latents]
            return small(latents) if small else pictures(model, latents)

        return make
