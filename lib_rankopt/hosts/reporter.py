"""Progress of a request over its batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lib_rankopt.hosts.base import Progress, ProgressCallback

if TYPE_CHECKING:
    from PIL import Image


class Reporter:
    """Turns steps and finished images into progress that never goes back."""

    def __init__(self, total: int, callback: ProgressCallback | None) -> None:
        self.total = total
        self.done = 0
        self._callback = callback
        self._fraction = 0.0
        self._started = time.monotonic()

    def report(
        self, batch: int, step: int, steps: int, previews: dict[int, Image.Image] | None = None
    ) -> None:
        """Report ``step`` of ``steps`` for ``batch`` images under way beyond those done."""
        if self._callback is None:
            return
        self._fraction = max(
            self._fraction, min(1.0, (self.done + batch * step / max(steps, 1)) / self.total)
        )
        elapsed = time.monotonic() - self._started
        eta = elapsed * (1 - self._fraction) / self._fraction if self._fraction > 0 else None
        self._callback(Progress(self._fraction, step, steps, self.done, self.total, eta, previews or {}))
