"""Leases and jobs; what a document's rows add up to; what a refused file was like when it was refused."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ADDED: dict[str, list[sa.Column[Any]]] = {
    "documents": [
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("sketch", sa.LargeBinary(), nullable=True),
    ],
    "chunks": [sa.Column("text_key", sa.String(32), nullable=True)],
    "refusals": [
        sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("recipe", sa.Text(), nullable=False, server_default=""),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
    ],
}


def upgrade() -> None:
    for table, columns in ADDED.items():
        for column in columns:
            op.add_column(table, column)
    op.create_index("ix_chunks_store_id_text_key", "chunks", ["store_id", "text_key"])
    op.create_table(
        "roots",
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "uri", name="pk_roots"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_roots_store_id"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("place", sa.String(64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("retry", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_jobs_store_id"),
    )
    op.create_index("ix_jobs_store_id_created_at", "jobs", ["store_id", "created_at"])
    op.create_table(
        "job_files",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("root_uri", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(12), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "seq", name="pk_job_files"),
    )
    op.create_index("ix_job_files_job_id_uri", "job_files", ["job_id", "uri"])
    op.create_index("ix_job_files_job_id_outcome", "job_files", ["job_id", "outcome"])


def downgrade() -> None:
    for table in ("job_files", "jobs", "leases", "roots"):
        op.drop_table(table)
    op.drop_index("ix_chunks_store_id_text_key", "chunks")
    for table, columns in ADDED.items():
        for column in columns:
            op.drop_column(table, column.name)
