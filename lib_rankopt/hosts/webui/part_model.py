"""The webui's denoiser as one part of a pool sees it: some rows, of which only those that go on are evaluated."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib_rankopt.errors import GenerationError
from lib_rankopt.hosts.webui import moving

if TYPE_CHECKING:
    from lib_rankopt.hosts.webui.shared_noise import SharedNoise
    from lib_rankopt.selection.pool import Launch

# What is the part's own; every other attribute is the denoiser's.
_OWN = ("_sampler", "_denoiser", "_rows", "_calls", "_model", "_note", "_shared", "last_noise_uncond")


class PartModel:
    """Stands before the webui's ``CFGDenoiser`` in one part of a pool.

    Its attributes are the denoiser's, to be read and to be set, but for two: the count of model calls, which is where prompt editing
    stands, and the last unconditional prediction, which CFG++ reads after every call.

    Args:
        sampler: the webui's, with the arguments of *one* image: all rows of a pool have the same prompt, picture and mask.
        launch: of the part.
        note: called with the rows that the model is asked about.
        shared: what draws for the denoiser in Forge.
    """

    def __init__(
        self, sampler: Any, launch: Launch, note: Callable[[Sequence[int]], None], shared: SharedNoise | None = None
    ) -> None:
        self._sampler, self._denoiser, self._rows = sampler, sampler.model_wrap_cfg, launch.rows
        self._calls, self._note, self._shared = 0, note, shared
        self.last_noise_uncond: Tensor | None = None
        self._model = launch.model(self._ask, self._kept, self._predict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._denoiser, name, value)

    def __call__(self, x: Tensor, sigma: Tensor, **named: Any) -> Tensor:
        """Ask the model, ``[rows, C, h, w]``."""
        if self._denoiser.need_last_noise_uncond:
            self.last_noise_uncond = torch.zeros_like(x)
        self._denoiser.step = self._calls  # other parts have counted there, too
        self._calls += 1
        drawn = self._shared.drawn if self._shared is not None else 0
        answer: Tensor = self._model(x, sigma, **named)
        if self._shared is not None and self._shared.drawn == drawn and getattr(self._denoiser, "mask", None) is not None:
            self._shared.randn_like(self._denoiser.init_latent)  # none of these rows was asked about, and they may go on later
        return answer

    def _ask(self, rows: Sequence[int], x: Tensor, sigma: Tensor, **named: Any) -> Tensor:
        self._note(rows)
        places = [self._rows.index(row) for row in rows]
        moving.bring_back(self._denoiser, x)
        with _for_rows(self._sampler, named, len(rows)) as values, self._drawing_for(places):
            answer: Tensor = self._denoiser(x, sigma, **values)
        if self.last_noise_uncond is not None:
            self.last_noise_uncond[places] = self._denoiser.last_noise_uncond.to(self.last_noise_uncond.dtype)
        return answer

    @contextlib.contextmanager
    def _drawing_for(self, places: Sequence[int]) -> Iterator[None]:
        shared = self._shared
        if shared is not None:
            shared.asked = places
        try:
            yield
        finally:
            if shared is not None:
                shared.asked = None

    def _kept(self) -> Sequence[Tensor]:
        return () if self.last_noise_uncond is None else (self.last_noise_uncond,)

    def _predict(self, x: Tensor, sigma: Tensor, answer: Tensor) -> Tensor:
        if getattr(self._denoiser, "classic_ddim_eps_estimation", False):  # Forge's get_pred_x0 gives back the noise that it is given
            kept = self._denoiser.inner_model.inner_model.alphas_cumprod[sigma.round().long()].view(-1, 1, 1, 1).to(x)
            return (x - (1 - kept).sqrt() * answer) / kept.sqrt()
        found: Tensor = self._denoiser.get_pred_x0(x, answer, sigma)  # DDIM's answer is the noise
        return found


@contextlib.contextmanager
def _for_rows(sampler: Any, named: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Give the denoiser what belongs to one image as often as there are rows, also what it takes up anew at the switch to a refiner."""
    denoiser, of_one, initial = sampler.model_wrap_cfg, sampler.sampler_extra_args, sampler.model_wrap_cfg.init_latent
    values = _repeated(named, count)
    update = denoiser.update_inner_model

    def refiner_comes() -> None:
        update()
        of_one.update({name: sampler.sampler_extra_args[name] for name in ("cond", "uncond")})
        sampler.sampler_extra_args = _repeated(of_one, count)

    sampler.sampler_extra_args = values
    denoiser.update_inner_model = refiner_comes
    if initial is not None and len(initial) == 1:
        denoiser.init_latent = initial.expand(count, *initial.shape[1:])
    try:
        yield values
    finally:
        sampler.sampler_extra_args, denoiser.init_latent = of_one, initial
        del denoiser.update_inner_model


def _repeated(values: dict[str, Any], count: int) -> dict[str, Any]:
    """The arguments of a call with one row as those of a call with ``count`` equal ones."""
    cond, uncond, image = (values[name] for name in ("cond", "uncond", "image_cond"))
    if len(cond.batch) != 1:
        raise GenerationError(f"the prompts of {len(cond.batch)} images came for one: another extension changed the batch")
    more = copy.copy(cond)
    more.batch, more.shape = cond.batch * count, (count,)
    if isinstance(image, Tensor) and len(image) == 1:
        image = image.expand(count, *image.shape[1:])
    return {**values, "cond": more, "uncond": None if uncond is None else uncond * count, "image_cond": image}
