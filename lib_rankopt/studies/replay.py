"""The optimiser of a study, brought to the present by replaying its answers.

An optimiser's state is a function of (settings, seed, answers), so it is never stored: it is replayed when a study is opened and kept in
memory while the answers go on from what it was told. Whatever else happened (undo, another process) makes the kept one useless, which
shows by comparing what it was told with what the store says; then it is replayed anew.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import ConflictError
from lib_rankopt.optimizers.base import Optimizer, Proposal, RoundFeedback
from lib_rankopt.store.blobs import latent_hash

if TYPE_CHECKING:
    from torch import Tensor

    from lib_rankopt.store.blobs import BlobStore
    from lib_rankopt.store.records import StudyRecord

log = logging.getLogger("rankopt.studies")

OptimizerFactory = Callable[[str, "tuple[int, int, int]", int, "dict[str, Any]"], Optimizer]

# Another torch version or thread count may round the last bits of a norm differently. That far from what was shown, the
# optimiser's own proposals mean the same; further away they are other pictures than the ones that were ranked.
_SAME = 1e-3
_KEPT = 16


@dataclass(frozen=True)
class Played:
    """One answered round: the hashes of its latents in the order of asking, and the answer."""

    round: str
    index: int
    latents: tuple[str, ...]
    feedback: RoundFeedback


@dataclass
class _Live:
    optimizer: Optimizer
    told: list[tuple[str, RoundFeedback]] = field(default_factory=list)
    asked: str | None = None


class Replayer:
    """Keeps the optimisers of the studies used last. Callers hold the study's lock; different studies may run at once."""

    def __init__(self, factory: OptimizerFactory, blobs: BlobStore) -> None:
        self._factory, self._blobs = factory, blobs
        self._live: OrderedDict[str, _Live] = OrderedDict()

    def build(self, name: str, shape: tuple[int, int, int], seed: int, settings: dict[str, Any]) -> Optimizer:
        """Return a new optimiser; raises for unknown names and wrong settings, so that it also serves to check them."""
        return self._factory(name, shape, seed, settings)

    def next(self, study: StudyRecord, history: Sequence[Played], round_id: str, n: int) -> list[Proposal]:
        """Return the proposals of the round that follows ``history`` and is to be called ``round_id``.

        Raises:
            ConflictError: a stored round cannot be reproduced here and the optimiser cannot take it as it is stored.
        """
        live = self._live.pop(study.id, None)
        if live is None or not _goes_on(live, history):
            live = self._replay(study, history)
        elif live.asked is not None:
            self._tell(study, live, history[-1])
        proposals = live.optimizer.ask(n)
        live.asked = round_id
        self._live[study.id] = live
        while len(self._live) > _KEPT:
            self._live.popitem(last=False)
        return proposals

    def incumbent(self, study: StudyRecord, history: Sequence[Played]) -> Tensor | None:
        """Return the latent to use if the study ended with ``history``."""
        return self._replay(study, history).optimizer.incumbent

    def forget(self, study: str) -> None:
        """Drop what is kept of a study."""
        self._live.pop(study, None)

    def _replay(self, study: StudyRecord, history: Sequence[Played]) -> _Live:
        settings = study.settings
        live = _Live(self.build(settings["optimizer"], study.shape, study.optimizer_seed, settings["optimizer_settings"]))
        for played in history:
            proposals = live.optimizer.ask(len(played.latents))
            live.asked = played.round
            self._check(live.optimizer, proposals, played)
            self._tell(study, live, played)
        return live

    def _tell(self, study: StudyRecord, live: _Live, played: Played) -> None:
        live.optimizer.tell(played.feedback)
        live.told.append((played.round, played.feedback))
        live.asked = None
        for times, size in [(times, size) for after, times, size in study.draws if after == played.index]:
            for _ in range(times):
                unseen = live.optimizer.ask(size)
                live.optimizer.tell(RoundFeedback(size=len(unseen)))

    def _check(self, optimizer: Optimizer, proposals: list[Proposal], played: Played) -> None:
        computed = [latent_hash(p.latent) for p in proposals]
        if computed == list(played.latents):
            return
        stored = [self._blobs.load_latent(name) for name in played.latents]
        adopt = getattr(optimizer, "adopt", None)
        if adopt is not None:
            log.warning("round %d is continued from its stored latents: they are computed differently here", played.index)
            adopt(stored)
            return
        furthest = math.inf
        if len(stored) == len(proposals):
            furthest = max(_distance(p.latent, x) for p, x in zip(proposals, stored, strict=True))
        if furthest > _SAME:
            raise ConflictError(
                f"Round {played.index + 1} of this study was made by another version of the optimiser or of torch: its latents "
                "cannot be reproduced here, so its rankings cannot be continued. Images and answers are whole; use the "
                "versions noted in the study, or start a new study."
            )
        log.info("round %d differs from its stored latents by %.1e: rounding", played.index, furthest)


def _goes_on(live: _Live, history: Sequence[Played]) -> bool:
    """Whether a kept optimiser is exactly where ``history`` ends, or at the round before with the last one asked."""
    past = [(played.round, played.feedback) for played in history]
    if live.asked is None:
        return live.told == past
    return bool(past) and live.told == past[:-1] and live.asked == past[-1][0]


def _distance(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return math.inf
    return float((a.double() - b.double()).norm() / b.double().norm())
