"""Bring a ledger's tables to the version of this code."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from rag.errors import ConfigurationError

HEAD = "0004"
MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Create or upgrade the tables; nothing happens, and Alembic is not imported, when they are up to date.

    Raises:
        ConfigurationError: the ledger was written by a newer Quoth.
    """
    with engine.connect() as connection:
        if current_version(connection) == HEAD:
            return
    with engine.begin() as connection:
        # Two processes may start at once: the second waits here, and finds the work done.
        if connection.dialect.name == "sqlite":
            connection.execute(text("BEGIN IMMEDIATE"))
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(7205759403792793)"))
        if current_version(connection) != HEAD:
            _upgrade(connection)


def current_version(connection: Connection) -> str | None:
    """The version of the tables, or None when there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found else None


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(
            f"This ledger was written by a newer Quoth ({error}). Install that version, or use another data directory."
        ) from error
