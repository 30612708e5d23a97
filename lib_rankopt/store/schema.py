"""The tables as the newest schema version has them. Values that are not searched for are JSON text: the same on every database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
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

# -- collected images and feedback (:mod:`lib_rankopt.store.collected`): millions of rows, so numbers take the place of ids and names

collections = Table(
    "collections",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("format", String(32), nullable=False),
    Column("root", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("name", name="one_collection_per_name"),
    sqlite_autoincrement=True,
)

prompts = Table(
    "prompts",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("digest", LargeBinary(16), nullable=False),
    Column("text", Text, nullable=False),
    UniqueConstraint("digest", name="one_prompt_per_digest"),
    sqlite_autoincrement=True,
)

raters = Table(
    "raters",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    UniqueConstraint("name", name="one_rater_per_name"),
    sqlite_autoincrement=True,
)

collected_images = Table(
    "collected_images",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("collection", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("prompt", BigInteger, nullable=False),
    Column("path", Text),
    Column("held", Integer, nullable=False),
    Column("file_sha256", String(64)),
    Column("sha256", String(64)),
    Column("phash", BigInteger),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("modified", Float(53), nullable=False),
    Column("model", String(200), nullable=False),
    Column("about", Text),
    Column("state", String(8), nullable=False),
    sqlite_autoincrement=True,
)
Index("one_image_per_key", collected_images.c.collection, collected_images.c.key, unique=True)
Index("collected_images_by_prompt", collected_images.c.collection, collected_images.c.prompt, collected_images.c.number)
Index("collected_images_by_state", collected_images.c.collection, collected_images.c.state, collected_images.c.number)
_has_model = collected_images.c.model != text("''")
Index(
    "collected_images_by_model",
    collected_images.c.collection,
    collected_images.c.model,
    collected_images.c.number,
    sqlite_where=_has_model,
    postgresql_where=_has_model,
)
for _name in ("file_sha256", "sha256"):
    _column = collected_images.c[_name]
    Index(f"collected_images_by_{_name}", _column, sqlite_where=_column.is_not(None), postgresql_where=_column.is_not(None))

collected_feedback = Table(
    "collected_feedback",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("collection", BigInteger, nullable=False),
    Column("kind", String(12), nullable=False),
    # the labelled image, the better one of a pair, a ranking's first; the worse one of a pair
    Column("image", BigInteger),
    Column("other", BigInteger),
    # of a pair: 0 the better one was shown first, 1 second, 2 a tie (then image was shown first)
    Column("shown", Integer),
    # of a ranking: [tiers of numbers, numbers as shown] in JSON
    Column("tiers", Text),
    Column("prompt", BigInteger),
    Column("rater", BigInteger, nullable=False),
    Column("source", String(32), nullable=False),
    Column("token", LargeBinary(12), nullable=False),
    Column("latency_ms", BigInteger),
    Column("retracts", BigInteger),
    Column("created_at", BigInteger, nullable=False),  # microseconds since 1970
    Column("about", Text),
    sqlite_autoincrement=True,
)
_c = collected_feedback.c
Index("one_feedback_per_token", _c.collection, _c.token, unique=True)
Index("collected_feedback_by_number", _c.collection, _c.number)
# with the rater, so that a page of one rater's images need not look at all answers
Index("collected_feedback_by_image", _c.collection, _c.kind, _c.image, _c.rater)
_of_two = _c.other.is_not(None)
Index("collected_feedback_by_other", _c.collection, _c.other, _c.rater, sqlite_where=_of_two, postgresql_where=_of_two)
_concluded = _c.source != text("''")
Index("collected_feedback_by_source", _c.collection, _c.source, _c.image, sqlite_where=_concluded, postgresql_where=_concluded)
Index("collected_feedback_by_rater", _c.collection, _c.rater, _c.number)
Index(
    "one_retraction_per_feedback",
    _c.retracts,
    unique=True,
    sqlite_where=_c.retracts.is_not(None),
    postgresql_where=_c.retracts.is_not(None),
)

# which rankings an image stands in
ranked_images = Table(
    "ranked_images",
    metadata,
    Column("image", BigInteger, primary_key=True, autoincrement=False),
    Column("feedback", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# images that nobody has labelled or compared: among a million, the few that are left could not be found fast
unrated_images = Table(
    "unrated_images",
    metadata,
    Column("collection", BigInteger, primary_key=True, autoincrement=False),
    Column("image", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# counts that grow with each intake: counting ten million rows takes seconds
tallies = Table(
    "tallies",
    metadata,
    Column("collection", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(220), primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

ratings = Table(
    "ratings",
    metadata,
    Column("image", BigInteger, primary_key=True, autoincrement=False),
    Column("collection", BigInteger, nullable=False),
    Column("prompt", BigInteger, nullable=False),
    Column("mean", Float(53), nullable=False),
    Column("sd", Float(53), nullable=False),
    Column("games", Integer, nullable=False),
)
Index("ratings_by_image", ratings.c.collection, ratings.c.image)
Index("ratings_by_sd", ratings.c.collection, ratings.c.sd)
Index("ratings_by_mean", ratings.c.collection, ratings.c.mean)
Index("ratings_by_prompt_and_sd", ratings.c.collection, ratings.c.prompt, ratings.c.sd)
Index("ratings_by_prompt_and_mean", ratings.c.collection, ratings.c.prompt, ratings.c.mean)
