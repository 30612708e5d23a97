"""Forward-only schema migrations. A published step is never edited: a change of the schema is a new step and a new ``schema.py``.

All missing steps run in one transaction, so that a database is of one version or of the next, never in between. The steps are
written out in SQL because they must go on producing what they produced when their version was the newest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from lib_rankopt.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("rankopt.store")

_TYPES = {
    "sqlite": {"number": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "double": "FLOAT", "bytes": "BLOB", "rowless": " WITHOUT ROWID"},
    "postgresql": {"number": "BIGSERIAL PRIMARY KEY", "double": "DOUBLE PRECISION", "bytes": "BYTEA", "rowless": ""},
}

_STEP_1 = """
CREATE TABLE studies (
    id VARCHAR(32) NOT NULL PRIMARY KEY, name TEXT NOT NULL, settings TEXT NOT NULL, optimizer_seed BIGINT NOT NULL,
    shape TEXT NOT NULL, model TEXT NOT NULL, parent VARCHAR(32), parent_round INTEGER, draws TEXT NOT NULL,
    environment TEXT NOT NULL, created_at VARCHAR(32) NOT NULL, revision INTEGER NOT NULL
);
CREATE TABLE rounds (
    id VARCHAR(32) NOT NULL PRIMARY KEY, study VARCHAR(32) NOT NULL,
    idx INTEGER NOT NULL, size INTEGER NOT NULL, recipe VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL, error TEXT,
    owner VARCHAR(64), touched {double} NOT NULL, created_at VARCHAR(32) NOT NULL,
    FOREIGN KEY (study) REFERENCES studies (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX one_round_per_index ON rounds (study, idx) WHERE state <> 'discarded';
CREATE INDEX rounds_by_state ON rounds (state);
CREATE TABLE candidates (
    round VARCHAR(32) NOT NULL, position INTEGER NOT NULL,
    origin VARCHAR(32) NOT NULL, latent VARCHAR(64) NOT NULL, seed BIGINT NOT NULL, image VARCHAR(64),
    PRIMARY KEY (round, position), FOREIGN KEY (round) REFERENCES rounds (id) ON DELETE CASCADE
);
CREATE INDEX candidates_by_latent ON candidates (latent);
CREATE INDEX candidates_by_image ON candidates (image);
CREATE TABLE events (
    number {number}, study VARCHAR(32) NOT NULL,
    round VARCHAR(32), kind VARCHAR(16) NOT NULL, payload TEXT NOT NULL,
    shown TEXT NOT NULL, rater VARCHAR(200) NOT NULL, token VARCHAR(200) NOT NULL, latency_ms BIGINT, retracts BIGINT,
    copied_from BIGINT, created_at VARCHAR(32) NOT NULL,
    FOREIGN KEY (study) REFERENCES studies (id) ON DELETE CASCADE,
    FOREIGN KEY (round) REFERENCES rounds (id) ON DELETE CASCADE,
    CONSTRAINT one_event_per_token UNIQUE (study, token), CONSTRAINT one_retraction_per_event UNIQUE (retracts)
);
CREATE INDEX events_by_round ON events (round);
CREATE INDEX events_by_rater ON events (study, rater, number)
"""

_STEP_2 = """
CREATE TABLE scores (
    image VARCHAR(64) NOT NULL, prompt_hash VARCHAR(64) NOT NULL, scorer VARCHAR(200) NOT NULL, version VARCHAR(200) NOT NULL,
    value {double} NOT NULL, created_at VARCHAR(32) NOT NULL, PRIMARY KEY (image, prompt_hash, scorer, version)
);
CREATE TABLE blind_tests (
    id VARCHAR(32) NOT NULL PRIMARY KEY, study VARCHAR(32) NOT NULL,
    seed BIGINT NOT NULL, created_at VARCHAR(32) NOT NULL, FOREIGN KEY (study) REFERENCES studies (id) ON DELETE CASCADE
);
CREATE INDEX blind_tests_by_study ON blind_tests (study);
CREATE TABLE blind_trials (
    test VARCHAR(32) NOT NULL, idx INTEGER NOT NULL,
    start_latent VARCHAR(64) NOT NULL, now_latent VARCHAR(64) NOT NULL, now_left INTEGER NOT NULL, seed BIGINT NOT NULL,
    start_image VARCHAR(64), now_image VARCHAR(64), PRIMARY KEY (test, idx),
    FOREIGN KEY (test) REFERENCES blind_tests (id) ON DELETE CASCADE
)
"""

_STEP_3 = """
CREATE TABLE collections (
    number {number}, name VARCHAR(200) NOT NULL, kind VARCHAR(16) NOT NULL, format VARCHAR(32) NOT NULL, root TEXT NOT NULL,
    settings TEXT NOT NULL, position BIGINT NOT NULL, created_at VARCHAR(32) NOT NULL,
    CONSTRAINT one_collection_per_name UNIQUE (name)
);
CREATE TABLE prompts (number {number}, digest {bytes} NOT NULL, text TEXT NOT NULL, CONSTRAINT one_prompt_per_digest UNIQUE (digest));
CREATE TABLE raters (number {number}, name VARCHAR(200) NOT NULL, CONSTRAINT one_rater_per_name UNIQUE (name));
CREATE TABLE collected_images (
    number {number}, collection BIGINT NOT NULL, key TEXT NOT NULL, prompt BIGINT NOT NULL, path TEXT, held INTEGER NOT NULL,
    file_sha256 VARCHAR(64), sha256 VARCHAR(64), phash BIGINT, width INTEGER NOT NULL, height INTEGER NOT NULL, size BIGINT NOT NULL,
    modified {double} NOT NULL, model VARCHAR(200) NOT NULL, about TEXT, state VARCHAR(8) NOT NULL,
    CONSTRAINT one_image_per_key UNIQUE (key, collection)
);
CREATE INDEX collected_images_by_prompt ON collected_images (collection, prompt, number);
CREATE INDEX collected_images_by_state ON collected_images (collection, state, number);
CREATE INDEX collected_images_by_model ON collected_images (collection, model, number) WHERE model <> '';
CREATE INDEX collected_images_by_file_sha256 ON collected_images (file_sha256) WHERE file_sha256 IS NOT NULL;
CREATE INDEX collected_images_by_sha256 ON collected_images (sha256) WHERE sha256 IS NOT NULL;
CREATE TABLE collected_feedback (
    number {number}, collection BIGINT NOT NULL, kind VARCHAR(12) NOT NULL, image BIGINT, other BIGINT, shown INTEGER, tiers TEXT,
    prompt BIGINT, rater BIGINT NOT NULL, source VARCHAR(32) NOT NULL, token {bytes} NOT NULL, latency_ms BIGINT, retracts BIGINT,
    created_at BIGINT NOT NULL, about TEXT, CONSTRAINT one_feedback_per_token UNIQUE (token, collection)
);
CREATE INDEX collected_feedback_by_number ON collected_feedback (collection, number);
CREATE INDEX collected_feedback_by_image ON collected_feedback (collection, kind, image, rater);
CREATE INDEX collected_feedback_by_other ON collected_feedback (collection, other, rater) WHERE other IS NOT NULL;
CREATE INDEX collected_feedback_by_source ON collected_feedback (collection, source, image) WHERE source <> '';
CREATE INDEX collected_feedback_by_rater ON collected_feedback (collection, rater, number);
CREATE UNIQUE INDEX one_retraction_per_feedback ON collected_feedback (retracts) WHERE retracts IS NOT NULL;
CREATE TABLE ranked_images (image BIGINT NOT NULL, feedback BIGINT NOT NULL, PRIMARY KEY (image, feedback)){rowless};
CREATE TABLE unrated_images (collection BIGINT NOT NULL, image BIGINT NOT NULL, PRIMARY KEY (collection, image)){rowless};
CREATE TABLE tallies (
    collection BIGINT NOT NULL, name VARCHAR(220) NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (collection, name)
){rowless};
CREATE TABLE ratings (
    image BIGINT NOT NULL PRIMARY KEY, collection BIGINT NOT NULL, prompt BIGINT NOT NULL, mean {double} NOT NULL, sd {double} NOT NULL,
    games INTEGER NOT NULL
);
CREATE INDEX ratings_by_image ON ratings (collection, image);
CREATE INDEX ratings_by_sd ON ratings (collection, sd);
CREATE INDEX ratings_by_mean ON ratings (collection, mean);
CREATE INDEX ratings_by_prompt_and_sd ON ratings (collection, prompt, sd);
CREATE INDEX ratings_by_prompt_and_mean ON ratings (collection, prompt, mean)
"""

# Keys and tokens within their collection: beside ten million answers, an intake into a small collection touched as many pages as it has
# rows, because tokens are scattered over all. SQLite cannot take a constraint off a table, so its tables are written anew.
_STEP_4 = {
    "postgresql": """
ALTER TABLE collected_images DROP CONSTRAINT one_image_per_key;
CREATE UNIQUE INDEX one_image_per_key ON collected_images (collection, key);
ALTER TABLE collected_feedback DROP CONSTRAINT one_feedback_per_token;
CREATE UNIQUE INDEX one_feedback_per_token ON collected_feedback (collection, token)
""",
    "sqlite": """
CREATE TABLE images_anew (
    number {number}, collection BIGINT NOT NULL, key TEXT NOT NULL, prompt BIGINT NOT NULL, path TEXT, held INTEGER NOT NULL,
    file_sha256 VARCHAR(64), sha256 VARCHAR(64), phash BIGINT, width INTEGER NOT NULL, height INTEGER NOT NULL, size BIGINT NOT NULL,
    modified {double} NOT NULL, model VARCHAR(200) NOT NULL, about TEXT, state VARCHAR(8) NOT NULL
);
INSERT INTO images_anew SELECT * FROM collected_images ORDER BY number;
DELETE FROM sqlite_sequence WHERE name = 'images_anew';
INSERT INTO sqlite_sequence SELECT 'images_anew', seq FROM sqlite_sequence WHERE name = 'collected_images';
DROP TABLE collected_images;
ALTER TABLE images_anew RENAME TO collected_images;
CREATE UNIQUE INDEX one_image_per_key ON collected_images (collection, key);
CREATE INDEX collected_images_by_prompt ON collected_images (collection, prompt, number);
CREATE INDEX collected_images_by_state ON collected_images (collection, state, number);
CREATE INDEX collected_images_by_model ON collected_images (collection, model, number) WHERE model <> '';
CREATE INDEX collected_images_by_file_sha256 ON collected_images (file_sha256) WHERE file_sha256 IS NOT NULL;
CREATE INDEX collected_images_by_sha256 ON collected_images (sha256) WHERE sha256 IS NOT NULL;
CREATE TABLE feedback_anew (
    number {number}, collection BIGINT NOT NULL, kind VARCHAR(12) NOT NULL, image BIGINT, other BIGINT, shown INTEGER, tiers TEXT,
    prompt BIGINT, rater BIGINT NOT NULL, source VARCHAR(32) NOT NULL, token {bytes} NOT NULL, latency_ms BIGINT, retracts BIGINT,
    created_at BIGINT NOT NULL, about TEXT
);
INSERT INTO feedback_anew SELECT * FROM collected_feedback ORDER BY number;
DELETE FROM sqlite_sequence WHERE name = 'feedback_anew';
INSERT INTO sqlite_sequence SELECT 'feedback_anew', seq FROM sqlite_sequence WHERE name = 'collected_feedback';
DROP TABLE collected_feedback;
ALTER TABLE feedback_anew RENAME TO collected_feedback;
CREATE UNIQUE INDEX one_feedback_per_token ON collected_feedback (collection, token);
CREATE INDEX collected_feedback_by_number ON collected_feedback (collection, number);
CREATE INDEX collected_feedback_by_image ON collected_feedback (collection, kind, image, rater);
CREATE INDEX collected_feedback_by_other ON collected_feedback (collection, other, rater) WHERE other IS NOT NULL;
CREATE INDEX collected_feedback_by_source ON collected_feedback (collection, source, image) WHERE source <> '';
CREATE INDEX collected_feedback_by_rater ON collected_feedback (collection, rater, number);
CREATE UNIQUE INDEX one_retraction_per_feedback ON collected_feedback (retracts) WHERE retracts IS NOT NULL
""",
}

_STEPS: tuple[str | Mapping[str, str], ...] = (_STEP_1, _STEP_2, _STEP_3, _STEP_4)
NEWEST = len(_STEPS)

# Any constant does; it keeps two processes from migrating one PostgreSQL database at once.
_ADVISORY_LOCK = 7_265_107


def migrate(connection: Connection, target: int = NEWEST) -> None:
    """Bring the database to schema version ``target`` inside the caller's write transaction.

    Raises:
        StoreError: the database is of a newer version, or of another program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    found = current_version(connection)
    if found > NEWEST:
        raise StoreError(
            f"The database has schema version {found}, but this release of Rank-Optimize knows versions up to {NEWEST}. "
            "Update Rank-Optimize, or choose another data folder; nothing was changed."
        )
    if found >= target:
        return
    if found:
        log.info("migrating the database from schema version %d to %d; with millions of answers this takes minutes", found, target)
    for version in range(found + 1, target + 1):
        _run(connection, _STEPS[version - 1])
    if found == 0:
        connection.execute(text("INSERT INTO schema_version (version) VALUES (:v)"), {"v": target})
    else:
        connection.execute(text("UPDATE schema_version SET version = :v"), {"v": target})
        log.info("migrated the database")


def current_version(connection: Connection) -> int:
    """Return the database's schema version, 0 for an empty one (which gets its version table).

    Raises:
        StoreError: there are tables of another program.
    """
    tables = set(inspect(connection).get_table_names())
    if "schema_version" not in tables:
        if tables & {"studies", "rounds", "events"}:
            raise StoreError(
                "The database has tables named like ours but no schema version: it belongs to another program. "
                "Choose another database."
            )
        connection.execute(text("CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY)"))
        return 0
    version = connection.execute(text("SELECT version FROM schema_version")).scalar()
    return int(version or 0)


def _run(connection: Connection, step: str | Mapping[str, str]) -> None:
    """Run one step, which is the same for both databases or has a text for each."""
    dialect = connection.dialect.name
    statements = step if isinstance(step, str) else step[dialect]
    for statement in statements.format(**_TYPES[dialect]).split(";\n"):
        connection.execute(text(statement))
