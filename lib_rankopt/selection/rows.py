"""Exchanging the rows of a running batch, at the places of :mod:`.placement`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

Choose = Callable[[int, Tensor, Tensor], "Tensor | None"]
"""``(step, x, denoised) ->`` for every row the row that it goes on from, int64 ``[n]``; ``None`` to leave all as they are.

``x`` and ``denoised`` are the sampler's own, ``[n, C, h, w]``; clone what is kept.
"""

_HISTORY = 2  # DPM++ 3M SDE keeps two earlier predictions, the others fewer


class CallbackRows:
    """Exchanges rows in the sampler's callback, with the predictions that a multistep sampler keeps from earlier steps.

    One instance for one run.
    """

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._held: list[Tensor] = []

    def __call__(self, step: int, x: Tensor, denoised: Tensor) -> None:
        """The callback of one step, with the sampler's own tensors."""
        index = self._choose(step, x, denoised)
        if index is not None:
            # LCM goes on in the tensor that it handed out as its last prediction: the same memory must not be exchanged twice
            for tensor in {each.data_ptr(): each for each in (*self._held, denoised, x)}.values():
                exchange(tensor, index)
        self._held = [*self._held, denoised][-_HISTORY:]


class ModelRows:
    """Exchanges rows at the first of the model's calls in a step. Wraps the model of one run.

    The first call is known by counting. The noise level would not tell: with ``eta`` 1 a midpoint's level may be the next step's.

    Args:
        model: ``(x, sigma, …) ->`` an answer of the shape of ``x``.
        calls: of the model in an ordinary step.
        kept: more tensors ``[n, …]`` that the sampler keeps of this call (CFG++ keeps the unconditional prediction).
    """

    def __init__(
        self, model: Callable[..., Tensor], calls: int, choose: Choose, kept: Callable[[], tuple[Tensor, ...]] = tuple
    ) -> None:
        self._model, self._calls, self._choose, self._kept = model, calls, choose, kept
        self._count = 0

    def __call__(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        """Call the model, and exchange rows of ``x``, in place, and of the answer."""
        answer = self._model(x, *rest, **named)
        step, call = divmod(self._count, self._calls)
        self._count += 1
        index = self._choose(step, x, answer) if call == 0 else None
        if index is None:
            return answer
        for tensor in (x, *self._kept()):
            exchange(tensor, index)
        return answer[index.to(answer.device)]


def exchange(tensor: Tensor, index: Tensor) -> None:
    """Put row ``index[i]`` into row ``i``, in place."""
    tensor.copy_(tensor[index.to(tensor.device)])
