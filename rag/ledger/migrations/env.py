"""Alembic's entry: runs the migrations over the connection that `rag.ledger.migrate` hands in."""

from alembic import context

from rag.ledger import served_tables  # noqa: F401 (they join the metadata)
from rag.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
