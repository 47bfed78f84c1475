"""Calibrations: how surely a question is answered, store by store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, delete, insert, select

from rag.ledger.tables import calibrations


class Calibrations:
    """The calibrations of one ledger, as JSON types."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, store_id: str) -> dict[str, Any] | None:
        """What was fitted for a store; None where nothing was."""
        query = select(calibrations.c.calibration).where(calibrations.c.store_id == store_id)
        with self._engine.connect() as connection:
            found: dict[str, Any] | None = connection.execute(query).scalar()
        return found

    def put(self, store_id: str, calibration: Mapping[str, Any] | None) -> None:
        """Keep a calibration in place of the one before; None forgets it."""
        with self._engine.begin() as connection:
            connection.execute(delete(calibrations).where(calibrations.c.store_id == store_id))
            if calibration is not None:
                row = {"store_id": store_id, "calibration": dict(calibration), "fitted_at": time.time()}
                connection.execute(insert(calibrations).values(**row))
