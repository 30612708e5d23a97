"""What the worker is doing, for whoever watches: long polling and previews."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_rankopt.studies.views import ProgressView

if TYPE_CHECKING:
    from PIL import Image

    from lib_rankopt.hosts.base import Progress

_IDLE = "idle"
# Whoever watches is told a new step this often at the most: every telling wakes their page, which asks again, beside the sampling.
_TELL_SECONDS = 0.2


class ProgressBoard:
    """Progress by study. Thread-safe; :meth:`wait` blocks only its caller."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._views: dict[str, ProgressView] = {}
        self._previews: dict[str, dict[str, bytes]] = {}
        self._told: dict[str, float] = {}
        # Begins at the time in milliseconds, so that it also grows over restarts: a page that is still open goes on.
        self._version = int(time.time() * 1000)

    def update(self, study: str, **changes: Any) -> None:
        """Change some fields of a study's progress and wake whoever waits."""
        with self._changed:
            self._version += 1
            base = self._views.get(study) or ProgressView(version=0, job=_IDLE)
            self._views[study] = replace(base, version=self._version, **changes)
            self._changed.notify_all()

    def report(self, study: str, progress: Progress, done: int, missing: int, names: Sequence[str] = ()) -> None:
        """Tell how far the host is with ``missing`` images, where ``done`` were there before; quick steps are not told one by one.

        Args:
            names: by which the previews of the missing images are asked for; without them previews are dropped.
        """
        now = time.monotonic()
        if now - self._told.get(study, -_TELL_SECONDS) < _TELL_SECONDS and progress.step < progress.steps and not progress.previews:
            return
        self._told[study] = now
        previews = {names[i]: image for i, image in progress.previews.items() if i < len(names)}
        changes = {"previews": self.put_previews(study, previews)} if previews else {}
        self.update(
            study,
            fraction=(done + progress.fraction * missing) / (done + missing),
            step=progress.step,
            steps=progress.steps,
            eta_seconds=progress.eta_seconds,
            **changes,
        )

    def begin(self, study: str, job: str, **fields: Any) -> None:
        """Start anew with a job; earlier previews are dropped."""
        with self._changed:
            self._previews.pop(study, None)
            self._views[study] = ProgressView(version=self._version, job=job)
        self.update(study, **fields)

    def end(self, study: str, message: str = "") -> None:
        """Say that the study is idle; previews are dropped."""
        with self._changed:
            self._previews.pop(study, None)
        self.update(study, job=_IDLE, step=0, steps=0, eta_seconds=None, queue_position=0, previews={}, message=message)

    def forget(self, study: str) -> None:
        """Drop a deleted study and wake whoever waits for it."""
        with self._changed:
            self._views.pop(study, None)
            self._previews.pop(study, None)
            self._told.pop(study, None)
            self._changed.notify_all()

    def put_previews(self, study: str, images: dict[str, Image.Image]) -> dict[str, int]:
        """Keep previews by candidate id; return every candidate's preview version."""
        packed = {candidate: _jpeg(image) for candidate, image in images.items()}
        with self._changed:
            self._previews.setdefault(study, {}).update(packed)
            view = self._views.get(study)
            versions = dict(view.previews) if view else {}
        for candidate in packed:
            versions[candidate] = versions.get(candidate, 0) + 1
        return versions

    def preview(self, study: str, candidate: str) -> bytes | None:
        """Return the newest preview of a candidate as JPEG."""
        with self._changed:
            return self._previews.get(study, {}).get(candidate)

    def view(self, study: str) -> ProgressView:
        """Return a study's progress now."""
        with self._changed:
            return self._views.get(study) or ProgressView(version=self._version, job=_IDLE)

    def wait(self, study: str, since: int | None, timeout: float) -> ProgressView:
        """Return the progress as soon as its version differs from ``since``, or after ``timeout`` seconds."""
        until = time.monotonic() + max(0.0, timeout)
        with self._changed:
            while True:
                view = self._views.get(study) or ProgressView(version=self._version, job=_IDLE)
                left = until - time.monotonic()
                if since is None or view.version != since or left <= 0:
                    return view
                self._changed.wait(left)

    def pause(self, seconds: float) -> None:
        """Wait for any change, at most so long."""
        with self._changed:
            self._changed.wait(seconds)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
