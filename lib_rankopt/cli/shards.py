"""Several processes of one command, as ``accelerate launch`` and ``torchrun`` start them."""

from __future__ import annotations

import logging
import os
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib_rankopt.errors import InvalidInputError


@dataclass(frozen=True)
class Shard:
    """Which of several processes this one is: it takes the files ``rank::processes`` and the GPU ``local``."""

    rank: int = 0
    processes: int = 1
    local: int = 0

    def own(self, path: Path) -> Path:
        """The file that this process writes in place of ``path``."""
        return path if self.processes == 1 else path.with_name(f"{path.stem}.rank{self.rank}-of-{self.processes}{path.suffix}")


def shard() -> Shard:
    """Read what accelerate and torchrun tell each of their processes.

    Raises:
        InvalidInputError: the variables contradict each other.
    """
    found = {name: os.environ.get(name, "") for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    try:
        processes = int(found["WORLD_SIZE"] or 1)
        local = int(found["LOCAL_RANK"] or 0)
        rank = int(found["RANK"] or local)
    except ValueError as error:
        raise InvalidInputError(f"The environment says {found}: numbers are expected, as accelerate launch sets them.") from error
    if processes <= 1:
        return Shard()
    if not 0 <= rank < processes or local < 0:
        raise InvalidInputError(f"The environment says {found}: RANK must be from 0 to WORLD_SIZE - 1.")
    return Shard(rank, processes, local)


def device_of(arguments: Namespace, own: Shard) -> str | None:
    """The GPU of this process, where there are several of both."""
    if own.processes == 1 or arguments.device not in (None, "cuda"):
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    if own.local >= torch.cuda.device_count():
        raise InvalidInputError(f"Process {own.local} of this machine has no GPU: there are {torch.cuda.device_count()}. Start fewer.")
    return f"cuda:{own.local}"


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Without what Pillow says about odd files: why one cannot be scored is in its line."""
    from PIL import Image

    pillow = logging.getLogger("PIL")
    before = pillow.level
    pillow.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
            yield
    finally:
        pillow.setLevel(before)
