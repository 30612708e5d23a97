"""Questions to a person in the middle of a run: which of these candidates go on?"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from lib_rankopt.errors import GenerationInterrupted, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from PIL import Image

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class PickView:
    """An open question.

    Attributes:
        id: changes with every question.
        prompt: of the image.
        step, steps: after which step of how many the candidates are shown; equal for finished images.
        rows: of the candidates, which are numbered by them.
        seconds_left: until the run goes on by itself.
        default: what it does then, in words.
    """

    id: str
    prompt: str
    step: int
    steps: int
    rows: tuple[int, ...]
    seconds_left: float
    default: str


@dataclass(eq=False)
class _Question:
    view: PickView
    until: float
    pictures: dict[int, bytes]
    answer: tuple[int, ...] | None = None
    answered: threading.Event = field(default_factory=threading.Event)


class PickBoard:
    """Where runs put their questions and faces their answers. Thread-safe; one for a process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[str, _Question] = {}
        self._version = 0

    def ask(
        self,
        pictures: Mapping[int, Image.Image],
        *,
        prompt: str,
        step: int,
        steps: int,
        seconds: float,
        default: str,
        stopped: Callable[[], bool],
    ) -> tuple[int, ...] | None:
        """Show candidates and wait for the answer.

        Args:
            pictures: by row.
            stopped: asked while waiting; true ends it.

        Returns:
            The rows that go on, ``None`` after ``seconds`` without an answer.

        Raises:
            GenerationInterrupted: stopped.
        """
        view = PickView(uuid4().hex, prompt, step, steps, tuple(pictures), seconds, default)
        question = _Question(view, time.monotonic() + seconds, {row: _jpeg(image) for row, image in pictures.items()})
        self._set(question, opened=True)
        try:
            while not question.answered.wait(_LOOK_SECONDS):
                if stopped():
                    raise GenerationInterrupted("interrupted while waiting for a choice among candidates")
                if time.monotonic() > question.until:
                    return None
            return question.answer
        finally:
            self._set(question, opened=False)

    def wait(self, since: int | None, timeout: float) -> tuple[int, list[PickView]]:
        """Return a version and the open questions, as soon as the version differs from ``since`` or after ``timeout`` seconds."""
        with self._changed:
            if since == self._version:
                self._changed.wait_for(lambda: self._version != since, timeout)
            now = time.monotonic()
            # An answered question is there until its run wakes up, and no longer open.
            return self._version, [_left(question, now) for question in self._open.values() if not question.answered.is_set()]

    def picture(self, question: str, row: int) -> bytes:
        """Return a candidate's picture as JPEG.

        Raises:
            NotFoundError: the question is no longer open, or has no such candidate.
        """
        found = self._find(question).pictures.get(row)
        if found is None:
            raise NotFoundError(f"The choice has no candidate {row}.")
        return found

    def answer(self, question: str, rows: tuple[int, ...]) -> None:
        """Say which rows go on; none at all for all of them.

        Raises:
            NotFoundError: the question is no longer open. InvalidInputError: rows that it does not have.
        """
        with self._changed:  # of two answers at the same moment one is the first
            found = self._find(question)
            if unknown := [row for row in rows if row not in found.view.rows]:
                raise InvalidInputError(f"The choice has no candidate {unknown[0]}; it has {', '.join(map(str, found.view.rows))}.")
            found.answer = tuple(dict.fromkeys(rows)) or found.view.rows
            found.answered.set()

    def _find(self, question: str) -> _Question:
        with self._changed:
            found = self._open.get(question)
        if found is None or found.answered.is_set():
            raise NotFoundError("This choice is no longer open: it was answered, timed out, or the run was stopped.")
        return found

    def _set(self, question: _Question, opened: bool) -> None:
        with self._changed:
            if opened:
                self._open[question.view.id] = question
            else:
                self._open.pop(question.view.id, None)
            self._version += 1
            self._changed.notify_all()


def _left(question: _Question, now: float) -> PickView:
    view = question.view
    return PickView(view.id, view.prompt, view.step, view.steps, view.rows, max(0.0, question.until - now), view.default)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
