from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_rankopt.store import Store, open_store
from tests.store import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    try:
        with postgres.server() as url:
            yield url
    except postgres.Unavailable as why:
        pytest.skip(f"PostgreSQL: {why}")


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    with postgres.database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """The database of a store: its own file, or a PostgreSQL server's."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def store(tmp_path: Path, url: str | None) -> Iterator[Store]:
    opened = open_store(tmp_path, url)
    yield opened
    opened.close()
