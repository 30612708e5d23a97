"""Running out of memory: to tell it from other failures, and to give back what can be given back."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# how torch's allocators on CUDA and MPS, on the CPU of Linux and of Windows, and its file mapping word it
_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU and MPS torch raises a plain ``RuntimeError`` then."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def release(device: torch.device) -> None:
    """Return freed memory to the device after the last reference to a model is gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    else:
        _trim()


def _trim() -> None:
    """glibc keeps what a model and its activations have left, hundreds of MiB, until it is asked for it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def within_memory(work: Callable[[], T], device: torch.device, said: Callable[[str], Exception]) -> T:
    """Return ``work()``; where memory runs out, free what it held on ``device`` and raise ``said(torch's words)``.

    Raises:
        Exception: what ``said`` makes; what else ``work`` raises comes through.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failure = str(error)
    # outside the handler, so that the traceback no longer holds the tensors of the work
    release(device)
    raise said(failure)
