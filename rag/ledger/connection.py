"""Open the ledger's database: SQLite in the data directory, or any SQLAlchemy URL."""

from __future__ import annotations

import time
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteError
from typing import Any

from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from rag.errors import ConfigurationError, StorageError, StorageUnavailableError
from rag.ledger.migrate import migrate

FILE_NAME = "ledger.sqlite"
BUSY_SECONDS = 30


def connect(data_dir: Path, url: str | None = None) -> Engine:
    """Open the ledger and bring its tables up to date.

    Args:
        data_dir: made, readable by its owner alone, when it does not exist.
        url: an SQLAlchemy URL; None is SQLite in `data_dir`.

    Raises:
        ConfigurationError: the directory cannot be made or written, or the ledger is of a newer Quoth.
        StorageUnavailableError: the database cannot be reached.
    """
    if url is None:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"The data directory {data_dir} cannot be made: {error.strerror}.") from error
        url = f"sqlite:///{data_dir / FILE_NAME}"
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    else:
        engine = create_engine(url)
    event.listen(engine, "handle_error", _translate, retval=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    migrate(engine)
    return engine


def purge(engine: Engine) -> None:
    """Make what was deleted unreadable in the files: freed pages are zeroed, and here the log is emptied.

    Readers that are in the middle of something can keep a part of the log; the next purge takes it.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    assert isinstance(connection, SqliteConnection)  # noqa: S101
    _keep_a_log(connection)
    # FULL: points are deleted on the word of a committed switch, so that commit must outlive a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")


def _keep_a_log(connection: SqliteConnection) -> None:
    """Switch to write-ahead logging. SQLite does not wait for others who do so to a new file at the same moment."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except SqliteError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _translate(context: ExceptionContext) -> BaseException | None:
    """What the driver raises, as one of our errors; a violated constraint stays what it is, for those who expect it."""
    error = context.original_exception
    if isinstance(context.sqlalchemy_exception, IntegrityError) or context.sqlalchemy_exception is None:
        return None
    where = context.engine.url.render_as_string(hide_password=True) if context.engine else "the ledger"
    if isinstance(context.sqlalchemy_exception, OperationalError):
        return StorageUnavailableError(
            f"The ledger cannot be used at present ({error}). Look at {where}: is the disk full, the file read-only, "
            "the database locked or down?"
        )
    return StorageError(f"The ledger refused ({error}). Look at {where}.")
