"""Exchanging the rows of a running batch, at the places of :mod:`.placement`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Meet = Callable[[int, Tensor, "list[Tensor]"], None]
"""``(step, denoised, tensors)``: look at the predictions ``[n, C, h, w]``, and exchange rows of all ``tensors`` in place, or leave them.

They are the sampler's own; clone what is kept.
"""

_HISTORY = 2  # DPM++ 3M SDE keeps two earlier predictions, the others fewer


class CallbackRows:
    """Offers the rows in the sampler's callback, with the predictions that a multistep sampler keeps from earlier steps.

    One instance for one run.
    """

    def __init__(self, meet: Meet) -> None:
        self._meet = meet
        self._held: list[Tensor] = []

    def __call__(self, step: int, x: Tensor, denoised: Tensor) -> None:
        """The callback of one step, with the sampler's own tensors."""
        # LCM goes on in the tensor that it handed out as its last prediction: the same memory must not be exchanged twice
        tensors = {each.data_ptr(): each for each in (*self._held, denoised, x)}
        self._meet(step, denoised, list(tensors.values()))
        self._held = [*self._held, denoised][-_HISTORY:]


class ModelRows:
    """Offers the rows at the first of the model's calls in a step. Wraps the model of one run.

    The first call is known by counting. The noise level would not tell: with ``eta`` 1 a midpoint's level may be the next step's.

    Args:
        model: ``(x, sigma, …) ->`` an answer of the shape of ``x``.
        calls: of the model in an ordinary step.
        kept: more tensors ``[n, …]`` that the sampler keeps of this call (CFG++ keeps the unconditional prediction).
        predict: ``(x, sigma, answer) ->`` the predicted clean latents, where the answer is something else.
    """

    def __init__(
        self,
        model: Callable[..., Tensor],
        calls: int,
        meet: Meet,
        kept: Callable[[], Sequence[Tensor]] = tuple,
        predict: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda _x, _sigma, answer: answer,
    ) -> None:
        self._model, self._calls, self._meet, self._kept, self._predict = model, calls, meet, kept, predict
        self._count = 0

    def __call__(self, x: Tensor, sigma: Tensor, *rest: Any, **named: Any) -> Tensor:
        """Call the model, and offer ``x`` and the answer."""
        answer = self._model(x, sigma, *rest, **named)
        step, call = divmod(self._count, self._calls)
        self._count += 1
        if call == 0:
            self._meet(step, self._predict(x, sigma, answer), [x, *self._kept(), answer])
        return answer


def exchange(parts: Sequence[Sequence[Tensor]], index: Tensor) -> None:
    """Put row ``index[i]`` into row ``i``, in place, where the rows of every tensor are spread over several parts of the batch.

    Args:
        parts: for each part its tensors ``[n, …]``, the same ones in the same order.
        index: ``[rows of all parts]``, int64.
    """
    for tensors in zip(*parts, strict=True):
        whole = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        rows = whole[index.to(whole.device)].split([len(tensor) for tensor in tensors])
        for tensor, new in zip(tensors, rows, strict=True):
            tensor.copy_(new)
