"""The processes that train together under ``accelerate launch``; one alone without it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from lib_rankopt.errors import MissingDependencyError

T = TypeVar("T")


class Processes:
    """One process alone. Every method is called by all processes at the same places.

    Attributes:
        rank: of this one, from 0; 0 writes the files. count: of all. device: of this one, ``None`` where nobody says.
    """

    rank, count = 0, 1
    device: torch.device | None = None

    @property
    def is_main(self) -> bool:
        """Whether this one writes the files."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over all processes, in place."""

    def every(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return [value]

    def said(self, value: T) -> T:
        """What process 0 says."""
        return value

    def wait(self) -> None:
        """Go on when all are here."""


class Launched(Processes):
    """One of several that ``accelerate launch`` started.

    Only a LoRA's gradients travel, once an update: no wrapper around the network is needed, and the reference stays the same network.
    """

    def __init__(self) -> None:
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise MissingDependencyError(f"several processes need accelerate ({error}); install it with: pip install accelerate") from error
        self._state: Any = PartialState(cpu=not torch.cuda.is_available())
        self.rank, self.count = int(self._state.process_index), int(self._state.num_processes)
        self.device = torch.device(self._state.device)

    def average(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message for hundreds of small matrices
        torch.distributed.all_reduce(flat)
        flat /= self.count
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def every(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def said(self, value: T) -> T:
        carrier = [value]
        torch.distributed.broadcast_object_list(carrier, src=0)
        return carrier[0]

    def wait(self) -> None:
        self._state.wait_for_everyone()


def here() -> Processes:
    """The processes of this run, as the environment has them."""
    return Launched() if int(os.environ.get("WORLD_SIZE") or 1) > 1 else Processes()
