"""The peak of memory, in one unit on every system."""

from __future__ import annotations

import math
import resource
import sys
from pathlib import Path


def peak_mib(children: bool = False) -> float:
    """Largest resident size so far of this process (or of its largest finished child), in MiB."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    # Linux counts in KiB, macOS in bytes
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def resident_mib() -> float:
    """Resident size of this process now, in MiB (Linux; elsewhere NaN)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return math.nan
    return pages * resource.getpagesize() / 2**20
