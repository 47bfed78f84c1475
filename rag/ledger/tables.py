"""The ledger's tables. A change here comes with a migration under `migrations/versions/`."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
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
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

stores = Table(
    "stores",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("collection", String(64), nullable=False),
    Column("fingerprint", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    # What the API shows of it: whose it is, what it is called, and how long after its last use it goes.
    Column("tenant", String(64), nullable=False, server_default="default"),
    Column("title", Text, nullable=False, server_default=""),
    Column("description", Text, nullable=False, server_default=""),
    Column("labels", JSON, nullable=False, server_default="{}"),
    Column("expires_days", Integer, nullable=True),
    Column("active_at", Float, nullable=False, server_default="0"),
    Index(None, "tenant"),
)

# How surely retrieval in a store tells that a question is answered, fitted on its owner's own questions.
calibrations = Table(
    "calibrations",
    metadata,
    Column("store_id", ForeignKey("stores.id"), primary_key=True),
    Column("calibration", JSON, nullable=False),
    Column("fitted_at", Float, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("store_id", ForeignKey("stores.id"), nullable=False),
    Column("uri", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("media_type", String(128), nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("checked_ns", BigInteger, nullable=False),
    Column("source_sha256", String(64), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("generation", String(32), nullable=False),
    Column("digest", String(64), nullable=True),
    Column("sketch", LargeBinary, nullable=True),
    Column("groups", JSON, nullable=False, server_default="[]"),
    UniqueConstraint("store_id", "uri"),
)

# A generation is `writing` until its points are counted, `active` while queries see it, `retired` until its points
# are gone. Whatever stands as `writing` or `retired` when an ingest begins was left by one that was killed.
generations = Table(
    "generations",
    metadata,
    Column("document_id", String(36), primary_key=True),
    Column("generation", String(32), primary_key=True),
    Column("store_id", ForeignKey("stores.id"), nullable=False),
    Column("state", String(8), nullable=False),
    Column("text", Text, nullable=True),
    Index(None, "store_id", "state"),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("store_id", ForeignKey("stores.id"), nullable=False),
    Column("document_id", String(36), nullable=False),
    Column("generation", String(32), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("char_start", Integer, nullable=False),
    Column("char_end", Integer, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("headings", JSON, nullable=False),
    Column("locator", JSON, nullable=False),
    Column("blocks", JSON, nullable=False),
    Column("text_key", String(32), nullable=True),
    UniqueConstraint("document_id", "generation", "ordinal"),
    Index(None, "store_id"),
    Index(None, "store_id", "text_key"),
)

# The latest outcome of each file that is not a document: why it was skipped or failed, and what it was like then.
refusals = Table(
    "refusals",
    metadata,
    Column("store_id", ForeignKey("stores.id"), primary_key=True),
    Column("uri", Text, primary_key=True),
    Column("outcome", String(8), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("mtime_ns", BigInteger, nullable=False, server_default="0"),
    Column("recipe", Text, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default="0"),
)

# What was ingested by name: the folders and files that a store is kept in step with.
roots = Table(
    "roots",
    metadata,
    Column("store_id", ForeignKey("stores.id"), primary_key=True),
    Column("uri", Text, primary_key=True),
    Column("added_at", Float, nullable=False),
)

# Who may write where. `fence` grows with every holder and never shrinks, so a row outlives what it guards.
leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("place", String(64), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("store_id", ForeignKey("stores.id"), nullable=False),
    Column("state", String(8), nullable=False),
    Column("paths", JSON, nullable=False),
    Column("retry", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float, nullable=True),
    Column("finished_at", Float, nullable=True),
    Column("counts", JSON, nullable=False),
    Column("error", Text, nullable=False),
    Index(None, "store_id", "created_at"),
)

# The files that a running job has found: `todo`, or what became of each. They go when the job is done.
job_files = Table(
    "job_files",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("uri", Text, nullable=False),
    Column("root_uri", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("outcome", String(12), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("attempts", Integer, nullable=False),
    Index(None, "job_id", "uri"),
    Index(None, "job_id", "outcome"),
)

# `answering` is the answer that is being written, which nobody may overtake before `answering_until`.
conversations = Table(
    "conversations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("store_id", ForeignKey("stores.id"), nullable=False),
    Column("title", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("answering", String(36), nullable=True),
    Column("answering_until", Float, nullable=False),
    Column("tenant", String(64), nullable=False, server_default="default"),
    Column("key_id", String(40), nullable=False, server_default=""),
    Index(None, "store_id", "updated_at"),
    Index(None, "updated_at"),
)

# Questions and answers in turn: every answer is the ordinal behind its question's.
messages = Table(
    "messages",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False, unique=True),
    Column("role", String(9), nullable=False),
    Column("content", Text, nullable=False),
    Column("status", String(10), nullable=False),
    Column("stand_alone", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("citations", JSON, nullable=False),
    Column("usage", JSON, nullable=False),
    Column("finish_reason", String(16), nullable=True),
    Column("error_code", String(64), nullable=True),
    Column("created_at", Float, nullable=False),
    Column("sentences", JSON, nullable=False, server_default="[]"),
    Column("answerable", JSON, nullable=True),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("answer_id", ForeignKey("messages.id"), nullable=False, unique=True),
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("store_id", ForeignKey("stores.id"), nullable=False),
    Column("rating", String(4), nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("trace", JSON, nullable=False),
    Index(None, "conversation_id"),
    Index(None, "created_at"),
)
