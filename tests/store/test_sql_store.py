"""The conformance suite over SQLite and a real PostgreSQL server."""

from __future__ import annotations

from sqlalchemy import text

from lib_rankopt.store.sql import SqlStore
from tests.store.conformance import StoreConformance, a_study


class TestSqlStore(StoreConformance):
    """``store`` comes from ``conftest.py``, once for each database."""


def test_what_is_read_together_is_of_one_moment(store: SqlStore) -> None:
    study = store.create_study(a_study())
    seen = []
    with store._db.read() as connection:
        for name in ("Wölfe", "Dachse"):
            seen.append(connection.execute(text("SELECT name FROM studies")).scalar_one())
            store.rename_study(study.id, name)
    assert seen == [study.name, study.name]
    assert store.study(study.id).name == "Dachse"
