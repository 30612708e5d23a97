"""Threads that wait for each other in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One at a time, first come, first served.

    SQLite's own waiting is a matter of luck: whoever waits looks again now and then, and between two looks a busy writer has ended one
    transaction and begun the next.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[int] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, and keep it until the block ends.

        Raises:
            RuntimeError: the thread has it already, and would wait for itself.
        """
        me = threading.get_ident()
        with self._changed:
            if me in self._waiting:
                raise RuntimeError("a thread that writes cannot begin to write again")
            self._waiting.append(me)
            try:
                self._changed.wait_for(lambda: self._waiting[0] == me)
            except BaseException:  # Ctrl-C
                self._leave(me)
                raise
        try:
            yield
        finally:
            with self._changed:
                self._leave(me)

    def _leave(self, who: int) -> None:
        self._waiting.remove(who)
        self._changed.notify_all()
