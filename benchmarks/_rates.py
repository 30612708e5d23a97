"""Times and rates, each printed beside the limit that was measured in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

ROWS_PER_SECOND = 20_000.0
"""What an intake is to reach."""


@dataclass(frozen=True)
class Taken:
    """Milliseconds of one kind of call; the processor's of this process, which other work on the machine changes little."""

    median: float
    slow: float
    processor: float


def percentiles(call: Callable[[int], object], times: int) -> Taken:
    """Time a call so many times."""
    wall, processor = [], []
    for at in range(times):
        begin, busy = time.perf_counter(), time.process_time()
        call(at)
        wall.append(1000 * (time.perf_counter() - begin))
        processor.append(1000 * (time.process_time() - busy))
    wall.sort()
    return Taken(statistics.median(wall), wall[min(len(wall) - 1, int(0.95 * len(wall)))], statistics.median(processor))


def line(name: str, taken: Taken, base: Taken, goal: float | None = None) -> None:
    """Print one figure in milliseconds."""
    verdict = "" if goal is None else f"   goal {goal:5.0f} ms: {'met' if taken.slow <= goal else 'MISSED'}"
    times = f"{taken.median:9.2f} ms   95 % {taken.slow:9.2f} ms   processor {taken.processor:8.2f} ms"
    print(f"{name:<64}{times}   {taken.median / base.median:7.1f} x{verdict}", flush=True)


@dataclass
class Rate:
    """Rows a second, by the clock and by the processor's time of this process."""

    rows: int = 0
    wall: float = 0.0
    processor: float = 0.0

    def take(self, call: Callable[[], object], rows: int) -> None:
        """Time the intake of so many rows."""
        begin, busy = time.perf_counter(), time.process_time()
        call()
        self.wall += time.perf_counter() - begin
        self.processor += time.process_time() - busy
        self.rows += rows

    def say(self, name: str, bare: Rate | None = None) -> None:
        """Print one figure."""
        by_clock, by_processor = self.rows / self.wall, self.rows / max(self.processor, 1e-9)
        told = f"{name:<64}{by_clock:9,.0f} rows/s   {by_processor:9,.0f} a second of processor"
        if bare is not None:
            verdict = "met" if by_clock >= ROWS_PER_SECOND else "MISSED"
            told += f"   {by_clock / (bare.rows / bare.wall):5.2f} x bare table   goal {ROWS_PER_SECOND:,.0f}: {verdict}"
        print(told, flush=True)
