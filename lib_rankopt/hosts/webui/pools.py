"""One image's pool in the webui's own sampler: its candidates are the rows of a batch, and one of them is handed back."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from modules import sd_samplers_common, shared
from torch import Tensor

from lib_rankopt.diffusion import kdiffusion
from lib_rankopt.diffusion.memory import is_out_of_memory, release
from lib_rankopt.errors import GenerationInterrupted
from lib_rankopt.hosts.judging import Judging
from lib_rankopt.hosts.webui import moving, shared_noise
from lib_rankopt.hosts.webui.part_model import PartModel
from lib_rankopt.hosts.webui.pool_noise import PoolNoise
from lib_rankopt.selection.create import SamplerRun, policy_of
from lib_rankopt.selection.pool import Launch, PoolRun

if TYPE_CHECKING:
    from lib_rankopt.hosts.webui.shared_noise import SharedNoise
    from lib_rankopt.selection.record import SelectionRecord
    from lib_rankopt.selection.settings import Selection

log = logging.getLogger("rankopt.hosts")

ROW = "rankopt_row"
"""In what a sampler tells its callback: a row that goes on, ``None`` where none does in this part of the pool."""

_HOOKS = ("sample", "sample_img2img")


class Chooser(Protocol):
    """What a pool needs to be told and tells."""

    selection: Selection

    def judge(self, steps: int) -> contextlib.AbstractContextManager[Judging]:
        """Make the judge of a run of so many steps."""

    def chosen(self, seed: int, record: SelectionRecord) -> None:
        """The image was made from this seed, as the record says."""

    def stopped(self, seed: int) -> None:
        """The run was interrupted; what is there of this seed is handed back."""

    def left_out(self, error: Exception) -> None:
        """Nothing was chosen; the plain run follows.

        Raises:
            What ends the run instead.
        """


class SamplerHook:
    """Turns the next run of a webui sampler into that of a pool. Sits on the instance and is gone when the run ends, however it does.

    Args:
        p: the webui's processing object with its sampler, for a batch of one image.
        seeds: of the pool, the image's own first.
        chooser: says how to choose, and is told.
        scale: by which the start noise was scaled.
    """

    def __init__(self, p: Any, seeds: Sequence[int], chooser: Chooser, scale: float = 1.0) -> None:
        self._p, self._sampler = p, p.sampler
        self._seeds, self._chooser, self._scale = tuple(seeds), chooser, scale
        self._noise: PoolNoise | None = None
        self._sigmas: Tensor | None = None
        self._asked = 0  # first of the rows that the model was asked about last

    def install(self) -> None:
        """Wait for the run."""
        for name in _HOOKS:
            setattr(self._sampler, name, functools.partial(self._begin, getattr(self._sampler, name), name))

    def _begin(self, original: Callable[..., Tensor], name: str, p: Any, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        """The sampler's ``sample(p, x, …)`` or ``sample_img2img(p, x, noise, …)``."""
        for hook in _HOOKS:
            vars(self._sampler).pop(hook, None)
        if name == "sample":
            return self._run(x, lambda noise: original(p, noise, *rest, **named))
        noise = named.pop("noise") if "noise" in named else rest[0]
        more = rest[1:] if rest else ()
        return self._run(noise, lambda noise: original(p, x, noise, *more, **named))

    def _run(self, own: Tensor, plain: Callable[[Tensor], Tensor]) -> Tensor:
        checkpoint = getattr(shared.sd_model, "sd_checkpoint_info", None)
        try:
            noise = self._noise = PoolNoise(self._p.rng, self._seeds, own, self._scale)
            with self._hooked(noise):
                return plain(noise.start)
        except Exception as error:
            failure = error
        # outside the handler, so that the traceback no longer holds the tensors of the pool
        self._chooser.left_out(failure)
        if self._noise is not None:
            self._noise.chosen(0)
        if getattr(shared.sd_model, "sd_checkpoint_info", None) != checkpoint:  # the refiner had come already
            moving.load_again(self._p, checkpoint)
        return plain(own)

    @contextlib.contextmanager
    def _hooked(self, noise: PoolNoise) -> Iterator[None]:
        sampler, function, restore = self._sampler, self._sampler.func, _kept()

        @functools.wraps(function)  # the webui reads the signature
        def chosen(model: Any, x: Tensor, *rest: Any, **named: Any) -> Tensor:
            return self._choose(function, noise, x, rest, named)

        sampler.func, sampler.create_noise_sampler = chosen, self._remember
        try:
            yield
        finally:
            sampler.func = function
            del sampler.create_noise_sampler
            restore()

    def _remember(self, _x: Tensor, sigmas: Tensor, _p: Any) -> None:
        """Every part of the pool makes its own Brownian noise of these; never one tree for all rows, which no path could be found in."""
        self._sigmas = sigmas

    def _choose(
        self, function: Callable[..., Tensor], noise: PoolNoise, x: Tensor, rest: tuple[Any, ...], named: dict[str, Any]
    ) -> Tensor:
        """The sampler's function, for the whole pool ``x`` ``[rows, C, h, w]``; returns ``[1, C, h, w]``."""
        schedule = named.get("sigmas", named.get("timesteps"))
        steps = 0 if schedule is None else len(schedule) - 1
        name = getattr(function, "__name__", str(function))
        run = SamplerRun(name, steps, named.get("eta"), named.get("s_churn") or 0.0, equal_start=noise.is_equal)

        def part(pool: PoolRun, launch: Launch) -> Tensor:
            _sampling().torch = noise.inside(launch.rows)
            shared = self._shared(noise, launch.rows, x.device)
            more = dict(named)
            if self._sigmas is not None:
                more["noise_sampler"] = noise.tree(launch.rows, x, self._sigmas)
            more["callback"] = functools.partial(_step, pool, launch, named["callback"])
            return function(PartModel(self._sampler, launch, self._note, shared), x[list(launch.rows)], *rest, **more)

        try:
            # with a refiner there are no parts: it would come for the second one before its time, with the whole model
            at_once = 0 if self._refines else self._chooser.selection.at_once or len(x)
            while (found := self._chosen(run, noise, part, at_once, x.device)) is None:
                at_once = max(1, min(at_once, len(x)) // 2)
                log.warning("out of memory; going on with %d candidates at once", at_once)
            return found
        except GenerationInterrupted as error:  # while a person was asked
            self._stop()
            raise sd_samplers_common.InterruptedException from error
        except sd_samplers_common.InterruptedException:
            self._stop()
            raise

    def _chosen(
        self, run: SamplerRun, noise: PoolNoise, part: Callable[[PoolRun, Launch], Tensor], at_once: int, device: torch.device
    ) -> Tensor | None:
        """The latent that was chosen, or ``None`` when memory ran out and smaller parts may do."""
        policy, placement = policy_of(self._chooser.selection, run, self._seeds)
        with self._chooser.judge(run.steps) as judging:
            pool = PoolRun(policy, judging, placement, _kept)
            try:
                _, latent = pool.sample(functools.partial(part, pool), at_once)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or min(at_once, len(self._seeds)) <= 1:
                    raise
            else:
                record = judging.record(pool, self._seeds)
                first = record.path()[0][1]
                noise.chosen(first)
                self._sampler.last_latent = latent
                self._chooser.chosen(self._seeds[first], record)
                return latent.clone()
        del pool, judging
        release(device)
        return None

    @property
    def _refines(self) -> bool:
        return getattr(self._p, "refiner_checkpoint_info", None) is not None

    @staticmethod
    def _shared(noise: PoolNoise, rows: Sequence[int], device: torch.device) -> SharedNoise | None:
        modules = shared_noise.drawing()
        found = noise.shared(rows, device) if modules else None
        for module in modules:
            module.torch = found
        return found

    def _note(self, rows: Sequence[int]) -> None:
        self._asked = rows[0]

    def _stop(self) -> None:
        """Go on with one row: the webui hands back the last prediction, of all rows that were asked last."""
        self._sampler.last_latent = self._sampler.last_latent[:1]
        self._chooser.stopped(self._seeds[self._asked])


def _step(pool: PoolRun, launch: Launch, told: Callable[[dict[str, Any]], None], values: dict[str, Any]) -> None:
    if values["denoised"] is not None:  # UniPC has none in its last step
        launch.callback(int(values["i"]), values["x"], values["denoised"])
    told({**values, ROW: next((place for place, row in enumerate(launch.rows) if row in pool.rows), None)})


def _kept() -> Callable[[], None]:
    """Return what brings back the noise as it is drawn now: another part of the pool goes on, or the pool begins."""
    mine = [(module, module.torch) for module in (_sampling(), *shared_noise.drawing())]

    def back() -> None:
        for module, torch_of_it in mine:
            module.torch = torch_of_it

    return back


def _sampling() -> Any:
    """k-diffusion's module, whose ``torch`` the webui replaces to make noise by seed."""
    return kdiffusion.module()
