"""Waiting for the service in slices, so that a page that went away frees its thread within a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import anyio

from lib_rankopt.api.context import context_of

if TYPE_CHECKING:
    from fastapi import Request

SLICE = 1.0
T = TypeVar("T")


async def in_slices(request: Request, ask: Callable[[float], T], ready: Callable[[T], bool], timeout: float) -> T:
    """Ask until the answer is ready, the time is over or the page is gone; return the last answer.

    Args:
        ask: called in a thread set aside for waiting, with the seconds that it may take.
        timeout: seconds; 0 asks once.
    """
    limiter = context_of(request).long_polls
    until = time.monotonic() + timeout
    answer = await anyio.to_thread.run_sync(ask, 0.0, limiter=limiter)
    while not ready(answer) and (left := until - time.monotonic()) > 0:
        if await request.is_disconnected():
            break
        answer = await anyio.to_thread.run_sync(ask, min(SLICE, left), limiter=limiter)
    return answer
