"""Schema versions: old files are brought up to date, newer and foreign ones are refused untouched."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.store import migrations, open_store, schema
from lib_rankopt.store.collected import _rows
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft, ImageQuery
from lib_rankopt.store.database import Database, sqlite_url
from lib_rankopt.store.records import BlindRecord, ScoreRecord, TrialRecord

FILE = "rankopt.sqlite3"


def version_one(path: Path) -> None:
    """Write a file as the first release did, with one study, one round and one answer."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "PRAGMA journal_mode = WAL; CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY);"
        "INSERT INTO schema_version VALUES (1);"
        + migrations._STEPS[0].format(**migrations._TYPES["sqlite"])
        + ";"
        + """
        INSERT INTO studies VALUES ('s1', 'old', '{"prompt":"a fox"}', 5, '[4,8,8]', '{"name":"m"}', NULL, NULL, '[]', '{}',
            '2026-01-01T00:00:00.000000+00:00', 2);
        INSERT INTO rounds VALUES ('r1', 's1', 0, 2, 'recipe', 'ready', NULL, NULL, 0.0, '2026-01-01T00:00:01.000000+00:00');
        INSERT INTO candidates VALUES ('r1', 0, 'fresh', 'aa', 5, 'bb'), ('r1', 1, 'fresh', 'cc', 5, NULL);
        INSERT INTO events VALUES (7, 's1', 'r1', 'ranking', '{"tiers":[[0]]}', '[1,0]', 'me', 't', 900, NULL, NULL,
            '2026-01-01T00:00:02.000000+00:00');
        """
    )
    connection.close()


def shape_of(url: str) -> dict[str, Any]:
    """Return tables, columns, keys and indices as the database tells them."""
    engine = create_engine(url)
    look = inspect(engine)
    found = {
        table: {
            "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in look.get_columns(table)},
            "key": look.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted((u["name"] or "", tuple(u["column_names"])) for u in look.get_unique_constraints(table)),
            "indices": sorted((str(i["name"]), tuple(i["column_names"]), bool(i["unique"])) for i in look.get_indexes(table)),
            "foreign": sorted(
                (tuple(f["constrained_columns"]), f["referred_table"], f["options"].get("ondelete"))
                for f in look.get_foreign_keys(table)
            ),
        }
        for table in look.get_table_names()
    }
    engine.dispose()
    return found


def test_an_old_file_is_migrated_and_keeps_everything(tmp_path: Path) -> None:
    version_one(tmp_path / FILE)
    store = open_store(tmp_path)
    assert store.study("s1").name == "old"
    assert [(e.number, e.payload, e.shown) for e in store.events("s1")] == [(7, {"tiers": [[0]]}, (1, 0))]
    assert [c.image for c in store.candidates(["r1"])["r1"]] == ["bb", None]
    store.put_scores([ScoreRecord("bb", "a fox", "clip", "1", 0.25)])
    assert store.scores(["bb"], "a fox")[0].value == 0.25
    test = BlindRecord("b1", "s1", 5)
    store.add_blind(test, [TrialRecord("b1", 0, "cc", "dd", True, 7)])
    assert store.blind("b1") == test
    store.close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(migrations.NEWEST,)]


@pytest.mark.parametrize("version", [1, 2])
def test_each_older_version_is_migrated_and_takes_collections(tmp_path: Path, url: str | None, version: int) -> None:
    engine = create_engine(url or sqlite_url(tmp_path / FILE))
    with engine.begin() as connection:
        migrations.migrate(connection, version)
        rows = [
            "INSERT INTO studies VALUES ('s1', 'old', '{\"prompt\":\"a fox\"}', 5, '[4,8,8]', '{}', NULL, NULL, '[]', '{}', '2026', 2)",
            "INSERT INTO rounds VALUES ('r1', 's1', 0, 2, 'recipe', 'ready', NULL, NULL, 0.0, '2026')",
            "INSERT INTO candidates VALUES ('r1', 0, 'fresh', 'aa', 5, 'bb')",
            "INSERT INTO events VALUES (7, 's1', 'r1', 'like', '{\"tiers\":[[0]]}', '[0]', 'me', 't', 900, NULL, NULL, '2026')",
        ]
        rows += ["INSERT INTO scores VALUES ('bb', 'hash', 'clip', '1', 0.25, '2026')"] if version == 2 else []
        for row in rows:
            connection.exec_driver_sql(row.replace("%", "%%"))
        before = {table: connection.execute(text(f"SELECT * FROM {table}")).all() for table in inspect(connection).get_table_names()}
    store = open_store(tmp_path, url)
    assert [(e.number, e.kind, e.token) for e in store.events("s1")] == [(7, "like", "t")]
    collection = store.collected.create(Collection("new")).number
    added = store.collected.add(collection, [ImageDraft("a")], [FeedbackDraft("like", ("a",), ((0,),), "t")])
    assert (added.images, added.feedback) == (1, 1)
    store.close()
    with engine.connect() as connection:
        for table, rows_before in before.items():
            expected = [(migrations.NEWEST,)] if table == "schema_version" else rows_before
            assert connection.execute(text(f"SELECT * FROM {table}")).all() == expected
    engine.dispose()


def test_collections_of_version_3_keep_their_rows_and_know_them_again(tmp_path: Path, url: str | None) -> None:
    engine = create_engine(url or sqlite_url(tmp_path / FILE))
    image = "INSERT INTO collected_images VALUES (:n, :c, :k, 1, NULL, 0, NULL, NULL, 5, 8, 8, 0, 0.5, 'm', '{}', 'unseen')"
    said = "INSERT INTO collected_feedback VALUES (:n, :c, 'like', :i, NULL, NULL, NULL, NULL, 1, '', :t, 9, NULL, 77, NULL)"
    with engine.begin() as connection:
        migrations.migrate(connection, 3)
        for n in (1, 2):
            values = {"n": n, "name": f"set {n}"}
            connection.execute(text("INSERT INTO collections VALUES (:n, :name, 'import', '', '', '{}', 0, '2026')"), values)
        connection.execute(text("INSERT INTO raters VALUES (1, 'anna')"))
        connection.execute(text("INSERT INTO prompts VALUES (1, :d, 'a fox')"), {"d": _rows.digest("a fox")})
        for n, c, k in ((4, 1, "a"), (5, 1, "b"), (6, 2, "a"), (9, 2, "gone")):
            connection.execute(text(image), {"n": n, "c": c, "k": k})
        for n, c, i in ((3, 1, 4), (8, 2, 6), (11, 2, 9)):
            connection.execute(text(said), {"n": n, "c": c, "i": i, "t": _rows.token(f"t{n}")})
        connection.execute(text("DELETE FROM collected_images WHERE number = 9"))
        connection.execute(text("DELETE FROM collected_feedback WHERE number = 11"))
        if url is not None:  # what SQLite does by itself
            for table, last in (("prompts", 1), ("raters", 1), ("collected_images", 9), ("collected_feedback", 11)):
                connection.execute(text(f"SELECT setval('{table}_number_seq', {last})"))
        tables = ("collected_images", "collected_feedback")
        before = {table: connection.execute(text(f"SELECT * FROM {table} ORDER BY number")).all() for table in tables}
    store = open_store(tmp_path, url)
    with engine.connect() as connection:
        assert before == {table: connection.execute(text(f"SELECT * FROM {table} ORDER BY number")).all() for table in tables}
    engine.dispose()
    added = store.collected.add(1, [ImageDraft("b"), ImageDraft("c")], [FeedbackDraft("like", ("c",), ((0,),), "new")])
    assert (added.images, added.known_images, added.feedback) == (1, 1, 1)
    assert [one.number for one in store.collected.page(ImageQuery(1))] == [4, 5, 10]  # 9 does not come again
    assert [one.number for one in store.collected.feedback(1)] == [3, 12]
    store.close()


def test_a_migration_that_breaks_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version_one(tmp_path / FILE)
    broken = migrations._STEPS[1] + ";\nCREATE TABLE studies (id INTEGER)"
    monkeypatch.setattr(migrations, "_STEPS", (migrations._STEPS[0], broken))
    with pytest.raises(StoreError, match="already exists"):
        open_store(tmp_path)
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / FILE) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
    assert "scores" not in tables
    store = open_store(tmp_path)
    assert store.study("s1").revision == 2
    store.close()


def test_a_newer_database_is_refused_untouched(tmp_path: Path, url: str | None) -> None:
    database = Database(url or sqlite_url(tmp_path / FILE))
    with database.write() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    database.close()
    with pytest.raises(StoreError, match=r"schema version 99.*up to 4.*Update Rank-Optimize"):
        open_store(tmp_path, url)
    engine = create_engine(url or sqlite_url(tmp_path / FILE))
    with engine.connect() as plain:
        assert plain.execute(text("SELECT version FROM schema_version")).scalar() == 99
    engine.dispose()


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER)")
    with pytest.raises(StoreError, match="another program"):
        open_store(tmp_path)


def test_migrations_build_what_the_schema_says(tmp_path: Path, url: str | None) -> None:
    migrated_url = url or sqlite_url(tmp_path / "migrated")
    Database(migrated_url).close()
    migrated = shape_of(migrated_url)
    if url is None:
        declared_url = sqlite_url(tmp_path / "declared")
    else:
        engine = create_engine(url)
        schema.metadata.drop_all(engine)
        engine.dispose()
        declared_url = url
    engine = create_engine(declared_url)
    schema.metadata.create_all(engine)
    engine.dispose()
    assert shape_of(declared_url) == migrated


def test_many_threads_may_open_a_new_database_at_once(tmp_path: Path, url: str | None) -> None:
    wrong: list[Exception] = []

    def opened() -> None:
        try:
            open_store(tmp_path, url).close()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is a picture of a fox" * 100)
    with pytest.raises(StoreError, match=r"not a database.*another data folder"):
        open_store(tmp_path)


def test_the_data_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(tmp_path / "file" / "data")


@pytest.mark.parametrize("bad", ["nonsense", "mysql://u:p@h/d", "oracle+nothing://h", "://"])
def test_urls_that_cannot_be_used(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InvalidInputError):
        open_store(tmp_path, bad)


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as seen:
        open_store(tmp_path, "postgresql://someone:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(seen.value)
    assert "someone" in str(seen.value)


def test_sqlite_survives_a_power_cut_and_does_not_block_readers(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / FILE))
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM schema_version")).scalar() == 1
        with database.write() as writer:
            writer.execute(text("INSERT INTO schema_version VALUES (50)"))
        assert connection.execute(text("SELECT count(*) FROM schema_version")).scalar() == 1
    database.close()
