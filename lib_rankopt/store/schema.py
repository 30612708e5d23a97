"""The tables as the newest schema version has them. Values that are not searched for are JSON text: the same on every database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# SQLite numbers rows by itself only where the type is spelled INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")


def _study(nullable: bool = False) -> Column[str]:
    return Column("study", String(32), ForeignKey("studies.id", ondelete="CASCADE"), nullable=nullable)


schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

studies = Table(
    "studies",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("optimizer_seed", BigInteger, nullable=False),
    Column("shape", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("parent", String(32)),
    Column("parent_round", Integer),
    Column("draws", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("revision", Integer, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("id", String(32), primary_key=True),
    _study(),
    Column("idx", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("recipe", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("error", Text),
    Column("owner", String(64)),
    Column("touched", Float(53), nullable=False),
    Column("created_at", String(32), nullable=False),
)
Index(
    "one_round_per_index",
    rounds.c.study,
    rounds.c.idx,
    unique=True,
    sqlite_where=text("state <> 'discarded'"),
    postgresql_where=text("state <> 'discarded'"),
)
Index("rounds_by_state", rounds.c.state)

candidates = Table(
    "candidates",
    metadata,
    Column("round", String(32), ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("origin", String(32), nullable=False),
    Column("latent", String(64), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("image", String(64)),
)
Index("candidates_by_latent", candidates.c.latent)
Index("candidates_by_image", candidates.c.image)

events = Table(
    "events",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    _study(),
    Column("round", String(32), ForeignKey("rounds.id", ondelete="CASCADE")),
    Column("kind", String(16), nullable=False),
    Column("payload", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("rater", String(200), nullable=False),
    Column("token", String(200), nullable=False),
    Column("latency_ms", BigInteger),
    Column("retracts", BigInteger),
    Column("copied_from", BigInteger),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("study", "token", name="one_event_per_token"),
    UniqueConstraint("retracts", name="one_retraction_per_event"),
    sqlite_autoincrement=True,
)
Index("events_by_round", events.c.round)
Index("events_by_rater", events.c.study, events.c.rater, events.c.number)

scores = Table(
    "scores",
    metadata,
    Column("image", String(64), primary_key=True),
    Column("prompt_hash", String(64), primary_key=True),
    Column("scorer", String(200), primary_key=True),
    Column("version", String(200), primary_key=True),
    Column("value", Float(53), nullable=False),
    Column("created_at", String(32), nullable=False),
)

blind_tests = Table(
    "blind_tests",
    metadata,
    Column("id", String(32), primary_key=True),
    _study(),
    Column("seed", BigInteger, nullable=False),
    Column("created_at", String(32), nullable=False),
)
Index("blind_tests_by_study", blind_tests.c.study)

blind_trials = Table(
    "blind_trials",
    metadata,
    Column("test", String(32), ForeignKey("blind_tests.id", ondelete="CASCADE"), primary_key=True),
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("start_latent", String(64), nullable=False),
    Column("now_latent", String(64), nullable=False),
    Column("now_left", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("start_image", String(64)),
    Column("now_image", String(64)),
)
