"""The peak of memory, in one unit on every system."""

from __future__ import annotations

import resource
import sys


def peak_mib(children: bool = False) -> float:
    """Largest resident size so far of this process (or of its largest finished child), in MiB."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    # Linux counts in KiB, macOS in bytes
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
