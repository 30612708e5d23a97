"""What a process does that plays one study as fast as it can, to be killed at any moment."""

from __future__ import annotations

from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from lib_rankopt.errors import ConflictError
from lib_rankopt.studies.service import StudyService
from tests.studies.fakes import FakeHost, ranking


def play_until(rounds: int, folder: Path, study: str, acknowledged: Connection) -> None:
    """Answer rounds until ``rounds`` are answered; send each one's index once its answer has been acknowledged."""
    service = StudyService(folder, FakeHost(seconds=0.002))
    while service.get(study).answered < rounds:
        # A conflict is the round that a killed process left: it is being finished, or waits for its answer.
        with suppress(ConflictError):
            service.start_round(study)
        view = service.wait(study, 60)
        if view.status == "ready":
            service.answer(study, view.index, ranking(view, view.index % 5, token=f"round {view.index}"))
            acknowledged.send(view.index)
    service.close()
