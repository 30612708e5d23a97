"""The API in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lib_rankopt.api import PREFIX, build_app
from tests.api.fake_service import HOST_INFO, FakeService


class Api:
    """A client that knows the prefix."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        """Send a request to a path below the prefix."""
        return self.client.request(method, f"{PREFIX}{path}", **options)

    def new_study(self, **settings: Any) -> str:
        """Create a study and return its id."""
        answer = self("POST", "/studies", json={"settings": {"prompt": "a valley", **settings}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def ready_round(self, study: str) -> dict[str, Any]:
        """Start a round and wait for its images."""
        index = self("POST", f"/studies/{study}/rounds", json={}).json()["index"]
        until = time.monotonic() + 20
        while time.monotonic() < until:
            answer: dict[str, Any] = self("GET", f"/studies/{study}/rounds/{index}").json()
            if answer["status"] not in ("queued", "generating"):
                return answer
            time.sleep(0.01)
        raise AssertionError("the round was not finished within 20 s")


@pytest.fixture(params=["fake", "real"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The stand-in and, where its packages are installed, the real service: the same tests hold both."""
    if request.param == "fake":
        opened: Any = FakeService(tmp_path, image_seconds=0.004)
    else:
        pytest.importorskip("torch", reason="the real service needs torch")
        pytest.importorskip("sqlalchemy", reason="the real service needs SQLAlchemy")
        from lib_rankopt.studies.service import StudyService
        from tests.studies.fakes import Brightness, FakeHost

        opened = StudyService(tmp_path / "data", FakeHost(), scorers={"clip": Brightness})
    yield opened
    opened.close()


@pytest.fixture
def make_api(service: Any) -> Iterator[Callable[..., Api]]:
    """Build an API over the service: ``make_api(auth={…})``."""
    clients = []

    def make(**options: Any) -> Api:
        info = HOST_INFO if isinstance(service, FakeService) else None
        app = build_app(service, host_info=info, **options)
        client = TestClient(app, base_url="http://localhost:7861", raise_server_exceptions=False)
        clients.append(client)
        return Api(client)

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    """An API that lets everybody in."""
    return make_api()
