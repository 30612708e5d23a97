"""Replay where the optimiser does not compute what it computed when the study was made."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_rankopt import optimizers
from lib_rankopt.errors import ConflictError
from lib_rankopt.optimizers.base import Optimizer, OptimizerState, Proposal, RoundFeedback
from lib_rankopt.studies.replay import Replayer
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, FakeHost, latents, next_round, play, ranking


class Shifted(Optimizer):
    """The real one, with every new proposal moved a little: another torch version, so to speak."""

    name = "shifted"

    def __init__(self, inner: Optimizer, by: float) -> None:  # type: ignore[misc]
        self._inner, self._by = inner, by

    def ask(self, n: int) -> list[Proposal]:
        return [Proposal(p.latent + self._by * p.latent.roll(1, -1), p.origin) for p in self._inner.ask(n)]

    def tell(self, feedback: RoundFeedback) -> None:
        self._inner.tell(feedback)

    @property
    def incumbent(self) -> torch.Tensor | None:
        return self._inner.incumbent

    def state(self) -> OptimizerState:
        return self._inner.state()


class Adopting(Shifted):
    """One that can be told which latents were really shown."""

    adopted: list[torch.Tensor]

    def adopt(self, stored: list[torch.Tensor]) -> None:
        self.adopted = stored


def factory(kind: type[Shifted], by: float) -> Any:
    return lambda name, shape, seed, settings: kind(optimizers.create(name, shape, seed, settings), by)


def test_rounding_is_forgiven(open_service: Opener) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    play(service, study.id, 2)
    before = latents(service, study.id)
    service.close()
    service = open_service(optimizers=factory(Shifted, 1e-6))
    view = next_round(service, study.id)
    assert view.status == "ready"
    assert latents(service, study.id)[:2] == before


def test_other_latents_are_refused_in_plain_words(open_service: Opener) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    play(service, study.id, 2)
    before = latents(service, study.id)
    service.close()
    service = open_service(optimizers=factory(Shifted, 0.5))
    for _ in range(2):
        with pytest.raises(ConflictError, match=r"Round 1.*another version.*start a new study"):
            service.start_round(study.id)
    assert latents(service, study.id) == before
    assert service.get(study.id).answered == 2
    service.close()
    assert next_round(open_service(), study.id).status == "ready"


def test_an_optimiser_that_can_takes_the_stored_latents(open_service: Opener) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    stored = service.round(study.id, 0).candidates
    service.close()
    made: list[Adopting] = []

    def build(name: str, shape: tuple[int, int, int], seed: int, settings: dict[str, Any]) -> Optimizer:
        made.append(Adopting(optimizers.create(name, shape, seed, settings), 0.5))
        return made[-1]

    service = open_service(optimizers=build)
    service.start_round(study.id)
    blobs = service._room.blobs
    assert all(torch.equal(x, blobs.load_latent(c.latent)) for x, c in zip(made[-1].adopted, stored, strict=True))


def test_an_optimiser_is_replayed_only_when_it_must_be(
    open_service: Opener, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays: list[str] = []
    real = Replayer._replay

    def counted(self: Replayer, study: Any, history: Any) -> Any:
        replays.append(study.id)
        return real(self, study, history)

    monkeypatch.setattr(Replayer, "_replay", counted)
    service = open_service()
    study = service.create(SETTINGS)
    play(service, study.id, 4)
    assert len(replays) == 1
    service.undo(study.id)
    earlier = service.undo(study.id)
    assert earlier.index == 2
    service.answer(study.id, 2, ranking(earlier, 4))
    next_round(service, study.id)
    assert len(replays) == 2


def test_not_a_number_latents_start_no_round(open_service: Opener) -> None:
    service = open_service(optimizers=factory(Shifted, float("nan")))
    study = service.create(SETTINGS)
    for _ in range(2):
        with pytest.raises(ValueError, match="not-a-number"):
            service.start_round(study.id)
    assert service.get(study.id).rounds == 0
