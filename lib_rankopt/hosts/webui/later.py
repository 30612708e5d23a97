"""Small pieces of work that nobody waits for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger("rankopt.hosts")


class Later:
    """Does pieces of work one after another, in a thread that ends when there are none."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Condition()
        self._is_running = False

    def do(self, work: Callable[[], object]) -> None:
        """Do this after what waits already; what it raises is logged."""
        with self._lock:
            self._waiting.append(work)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="rankopt-feedback", daemon=True).start()

    def wait(self, timeout: float = 30.0) -> bool:
        """Wait until there is nothing to do; false where the time is over before."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._is_running, timeout)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    self._lock.notify_all()
                    return
                work = self._waiting.popleft()
            try:
                work()
            except Exception:  # a hook of the webui began it: whatever it is, no image may be lost over it
                log.exception("feedback on an image was not kept")
