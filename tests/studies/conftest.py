from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib_rankopt.store import database
from lib_rankopt.studies.service import StudyService
from tests.store.conftest import postgres_server, postgres_url, url
from tests.studies.fakes import FakeHost, scorers

__all__ = ["postgres_server", "postgres_url", "url"]

Opener = Callable[..., StudyService]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing guards against power cuts, which no test here makes; a killed process loses nothing without it."""
    monkeypatch.setattr(database, "_SYNCHRONOUS", "OFF")
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def open_service(tmp_path: Path, host: FakeHost) -> Iterator[Opener]:
    """Opens services on one data folder, as often as wanted; closes them all at the end."""
    opened: list[StudyService] = []

    def opener(**options: object) -> StudyService:
        given = {"host": host, "scorers": scorers(), **options}
        opened.append(StudyService(tmp_path / "data", **given))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    host.gate.set()
    for service in opened:
        service.close()


@pytest.fixture
def service(open_service: Opener) -> StudyService:
    return open_service()
