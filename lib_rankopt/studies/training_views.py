"""Frozen records of the training service; JSON-able with :func:`lib_rankopt.studies.views.to_json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lib_rankopt.studies.views import BlindResult


@dataclass(frozen=True)
class Reach:
    """How far data reach: sentences for people, and counts."""

    sentences: tuple[str, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class TrainingRunView:
    """A run. ``outputs`` and ``best`` are names for ``<lora:name:1>``; ``samples`` are the steps that have a sheet.

    Attributes:
        running: a trainer works on it, or it waits for its turn.
        sample_prompts: of the sheets' rows. prompts: some that were kept back from training.
        counts: of the data, from the split.
        updated: seconds since the epoch.
    """

    id: str
    name: str
    objective: str
    base: str
    state: str
    running: bool
    stage: str
    step: int
    steps: int
    eta_seconds: float | None
    alarms: tuple[str, ...]
    summary: tuple[str, ...]
    counts: dict[str, int]
    outputs: tuple[str, ...]
    best: str | None
    error: str | None
    updated: float
    samples: tuple[int, ...]
    sample_prompts: tuple[str, ...]
    prompts: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TryTrial:
    """One comparison under a prompt; its pictures are asked for by index and side."""

    index: int
    prompt: str


@dataclass(frozen=True)
class TryView:
    """A blind comparison of a LoRA with its base.

    Attributes:
        state: making, ready or failed.
        made, wanted: images.
        trial: the first that is made and not answered.
        result: once all are answered.
    """

    id: str
    lora: str
    state: str
    error: str | None
    made: int
    wanted: int
    trial: TryTrial | None
    answered: int
    trials: int
    result: BlindResult | None = None
