"""Tell running out of memory from other failures."""

from __future__ import annotations

import torch

# how torch's allocators on CUDA and MPS, on the CPU of Linux and of Windows, and its file mapping word it
_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU and MPS torch raises a plain ``RuntimeError`` then."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
