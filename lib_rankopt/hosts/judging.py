"""Who judges a pool: a scorer on pictures of the predictions, or a person."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.pool import PoolRun
from lib_rankopt.selection.record import SelectionRecord

if TYPE_CHECKING:
    from PIL import Image

    from lib_rankopt.hosts.picks import PickBoard
    from lib_rankopt.scorers.base import Scorer
    from lib_rankopt.selection.settings import Selection

_THUMBNAIL = 96
Pictures = Callable[[Tensor], "list[Image.Image]"]
"""Clean latents ``[n, C, h, w] -> n`` RGB pictures."""


class Judging:
    """Judges one pool; what :class:`~lib_rankopt.selection.pool.PoolRun` takes as its judge.

    Args:
        selection: of the request.
        prompt: of the image.
        steps: of the run.
        pictures: makes pictures of predicted latents. finish: of finished ones.
        scorer: ``None`` where only a person chooses.
        picks: where a person is asked, for the policy ``human``.
        stopped: whether the run is to stop, asked while a person is waited for.
        aside: entered while a person is waited for, where the host can let others go before.

    Attributes:
        finished: pictures of the finished images by row, once they were judged.
    """

    def __init__(
        self,
        selection: Selection,
        prompt: str,
        steps: int,
        pictures: Pictures,
        finish: Pictures,
        scorer: Scorer | None,
        picks: PickBoard | None = None,
        stopped: Callable[[], bool] = lambda: False,
        aside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._selection, self._prompt, self._steps = selection, prompt, steps
        self._pictures, self._finish, self._scorer = pictures, finish, scorer
        self._picks, self._stopped, self._aside = picks, stopped, aside
        self._thumbnails: list[dict[int, str]] = []
        self.finished: dict[int, Image.Image] = {}

    def __call__(self, latents: Tensor, rows: Sequence[int], step: int) -> Tensor:
        """Return the scores of these rows, ``[n]``: a scorer's, or a person's marks, 1 for those that go on."""
        last = step == self._steps
        following = bool(self._selection.path)
        images = [] if following and not last else (self._finish if last else self._pictures)(latents)
        shown = dict(zip(rows, images, strict=False))
        if last:
            self.finished = shown
        self._thumbnails.append({row: _thumbnail(image) for row, image in shown.items()})
        if following:
            return torch.zeros(len(rows))
        if self._selection.policy == "human" and len(rows) > 1:
            return self._asked(shown, step)
        return self._scored(list(shown.values()))

    def record(self, run: PoolRun, seeds: tuple[int, ...]) -> SelectionRecord:
        """Return the record of a run that has ended."""
        selection = self._selection
        pictures = tuple(tuple(look.get(row) for row in range(len(seeds))) for look in self._thumbnails)
        policy = "path" if selection.path else selection.policy
        return SelectionRecord(policy, selection.scorer, self._steps, seeds, tuple(run.looks), run.evaluated, pictures)

    def _scored(self, images: list[Image.Image]) -> Tensor:
        if self._scorer is None:
            return torch.zeros(len(images))
        return self._scorer.score(images, self._prompt).double()

    def _asked(self, shown: dict[int, Image.Image], step: int) -> Tensor:
        last = step == self._steps
        chosen = None
        if self._picks is not None:
            with self._aside():
                chosen = self._picks.ask(
                    shown, prompt=self._prompt, step=step if last else step + 1, steps=self._steps, seconds=self._selection.wait_seconds,
                    default=self._default(last), stopped=self._stopped,
                )  # fmt: skip
        if chosen is None:
            chosen = self._unasked(shown, last)
        marks = [float(row in (chosen[:1] if last else chosen)) for row in shown]
        return torch.tensor(marks, dtype=torch.float64)

    def _default(self, last: bool) -> str:
        if self._scorer is None:
            return "the first one is taken" if last else "all go on"
        return f"the best by {self._selection.scorer} is taken" if last else f"the better half by {self._selection.scorer} goes on"

    def _unasked(self, shown: dict[int, Image.Image], last: bool) -> tuple[int, ...]:
        rows = tuple(shown)
        if self._scorer is None:
            return rows[:1] if last else rows
        scores = dict(zip(rows, self._scored(list(shown.values())).tolist(), strict=True))
        if bad := [row for row in rows if not math.isfinite(scores[row])]:
            raise InvalidInputError(f"The scorer gave candidate {bad[0] + 1} the score {scores[bad[0]]}; nothing was chosen by it.")
        best = sorted(rows, key=lambda row: -scores[row])
        return tuple(best[:1] if last else best[: max(1, len(best) // 2)])


def _thumbnail(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
