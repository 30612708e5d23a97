"""The conformance suite over SQLite and a real PostgreSQL server."""

from __future__ import annotations

from tests.store.conformance import StoreConformance


class TestSqlStore(StoreConformance):
    """``store`` comes from ``conftest.py``, once for each database."""
