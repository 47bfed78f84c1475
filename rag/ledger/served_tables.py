"""The tables of what is made over HTTP: keys, files, what of them a store holds, responses, requests to be repeated."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from rag.ledger.tables import metadata

# Of a key only a hash is kept. `store_ids` and `groups` are null where it is bound to none.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("scope", String(8), nullable=False),
    Column("store_ids", JSON, nullable=True),
    Column("groups", JSON, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=True),
    Column("revoked_at", Float, nullable=True),
)

# Uploads: their bytes lie in the data directory, under their id.
files = Table(
    "files",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("key_id", String(40), nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Index(None, "tenant", "created_at"),
)

# The files that a store holds, or is to hold, and what became of each.
store_files = Table(
    "store_files",
    metadata,
    Column("store_id", ForeignKey("stores.id"), primary_key=True),
    Column("file_id", ForeignKey("files.id"), primary_key=True),
    Column("status", String(12), nullable=False),
    Column("error_code", String(32), nullable=True),
    Column("error_message", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("chunking", JSON, nullable=False),
    Column("usage_bytes", BigInteger, nullable=False),
    Column("batch_id", String(40), nullable=True),
    Column("job_id", String(36), nullable=True),
    Column("created_at", Float, nullable=False),
    Index(None, "file_id"),
    Index(None, "batch_id"),
)

file_batches = Table(
    "file_batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("store_id", ForeignKey("stores.id"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("cancelled_at", Float, nullable=True),
    Index(None, "store_id"),
)

# Answers of POST /v1/responses; `body` is the object as it was returned, `said` question and answer for the next one,
# `updated_at` when the one who writes it was last heard of.
responses = Table(
    "responses",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("key_id", String(40), nullable=False),
    Column("previous_id", String(64), nullable=True),
    Column("status", String(12), nullable=False),
    Column("body", JSON, nullable=False),
    Column("said", JSON, nullable=False),
    Column("store_ids", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index(None, "tenant", "created_at"),
)

# What was answered to a request with an Idempotency-Key; `owner` is tenant and key. Who holds `claim` works on it while
# it is `running`, and moves `created_at` on as a sign of life; afterwards that is when it was `done`.
idempotent_requests = Table(
    "idempotent_requests",
    metadata,
    Column("owner", String(128), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("request_sha256", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("claim", String(32), nullable=False),
    Column("status", Integer, nullable=True),
    Column("headers", JSON, nullable=False),
    Column("body", LargeBinary, nullable=True),
    Column("created_at", Float, nullable=False),
    Index(None, "created_at"),
)
