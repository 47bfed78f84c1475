"""Stores, documents, their generations and chunks, and the files that were refused."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "stores",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("collection", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stores"),
        sa.UniqueConstraint("name", name="uq_stores_name"),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("checked_ns", sa.BigInteger(), nullable=False),
        sa.Column("source_sha256", sa.String(64), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("generation", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_documents_store_id"),
        sa.UniqueConstraint("store_id", "uri", name="uq_documents_store_id_uri"),
    )
    op.create_table(
        "generations",
        sa.Column("document_id", sa.String(36), nullable=False),
        sa.Column("generation", sa.String(32), nullable=False),
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("document_id", "generation", name="pk_generations"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_generations_store_id"),
    )
    op.create_index("ix_generations_store_id_state", "generations", ["store_id", "state"])
    op.create_table(
        "chunks",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("document_id", sa.String(36), nullable=False),
        sa.Column("generation", sa.String(32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("char_start", sa.Integer(), nullable=False),
        sa.Column("char_end", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("headings", sa.JSON(), nullable=False),
        sa.Column("locator", sa.JSON(), nullable=False),
        sa.Column("blocks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chunks"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_chunks_store_id"),
        sa.UniqueConstraint("document_id", "generation", "ordinal", name="uq_chunks_document_id_generation_ordinal"),
    )
    op.create_index("ix_chunks_store_id", "chunks", ["store_id"])
    op.create_table(
        "refusals",
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "uri", name="pk_refusals"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_refusals_store_id"),
    )


def downgrade() -> None:
    for table in ("refusals", "chunks", "generations", "documents", "stores"):
        op.drop_table(table)
