"""What is made over HTTP: keys, files, vector stores, responses; and whose a store or a conversation is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("stores") as stores:
        stores.add_column(sa.Column("tenant", sa.String(64), nullable=False, server_default="default"))
        stores.add_column(sa.Column("title", sa.Text(), nullable=False, server_default=""))
        stores.add_column(sa.Column("description", sa.Text(), nullable=False, server_default=""))
        stores.add_column(sa.Column("labels", sa.JSON(), nullable=False, server_default="{}"))
        stores.add_column(sa.Column("expires_days", sa.Integer(), nullable=True))
        stores.add_column(sa.Column("active_at", sa.Float(), nullable=False, server_default="0"))
    op.create_index("ix_stores_tenant", "stores", ["tenant"])
    with op.batch_alter_table("documents") as documents:
        documents.add_column(sa.Column("groups", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("messages") as messages:
        messages.add_column(sa.Column("sentences", sa.JSON(), nullable=False, server_default="[]"))
        messages.add_column(sa.Column("answerable", sa.JSON(), nullable=True))
    with op.batch_alter_table("conversations") as conversations:
        conversations.add_column(sa.Column("tenant", sa.String(64), nullable=False, server_default="default"))
        conversations.add_column(sa.Column("key_id", sa.String(40), nullable=False, server_default=""))
    op.create_table(
        "calibrations",
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("calibration", sa.JSON(), nullable=False),
        sa.Column("fitted_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", name="pk_calibrations"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_calibrations_store_id"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(8), nullable=False),
        sa.Column("store_ids", sa.JSON(), nullable=True),
        sa.Column("groups", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("sha256", name="uq_api_keys_sha256"),
    )
    op.create_table(
        "files",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_index("ix_files_tenant_created_at", "files", ["tenant", "created_at"])
    op.create_table(
        "store_files",
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("file_id", sa.String(40), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("error_code", sa.String(32), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("chunking", sa.JSON(), nullable=False),
        sa.Column("usage_bytes", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.String(40), nullable=True),
        sa.Column("job_id", sa.String(36), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "file_id", name="pk_store_files"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_store_files_store_id"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="fk_store_files_file_id"),
    )
    op.create_index("ix_store_files_file_id", "store_files", ["file_id"])
    op.create_index("ix_store_files_batch_id", "store_files", ["batch_id"])
    op.create_table(
        "file_batches",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("store_id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("cancelled_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_file_batches"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_file_batches_store_id"),
    )
    op.create_index("ix_file_batches_store_id", "file_batches", ["store_id"])
    op.create_table(
        "responses",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("previous_id", sa.String(64), nullable=True),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.Column("store_ids", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
    )
    op.create_index("ix_responses_tenant_created_at", "responses", ["tenant", "created_at"])
    op.create_table(
        "idempotent_requests",
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("claim", sa.String(32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "idempotency_key", name="pk_idempotent_requests"),
    )
    op.create_index("ix_idempotent_requests_created_at", "idempotent_requests", ["created_at"])


def downgrade() -> None:
    for table in (
        "calibrations", "idempotent_requests", "responses", "file_batches", "store_files", "files", "api_keys",
    ):  # fmt: skip
        op.drop_table(table)
    with op.batch_alter_table("messages") as messages:
        messages.drop_column("answerable")
        messages.drop_column("sentences")
    with op.batch_alter_table("conversations") as conversations:
        conversations.drop_column("key_id")
        conversations.drop_column("tenant")
    with op.batch_alter_table("documents") as documents:
        documents.drop_column("groups")
    op.drop_index("ix_stores_tenant", "stores")
    with op.batch_alter_table("stores") as stores:
        for column in ("active_at", "expires_days", "labels", "title", "tenant"):
            stores.drop_column(column)
