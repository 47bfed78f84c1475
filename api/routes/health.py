"""GET /health/live and /health/ready."""

from __future__ import annotations

import logging

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.dependencies import LiveDep
from api.openapi import shows
from api.schemas.errors import HealthStatus
from rag.concurrency import in_thread
from rag.documents import store_id
from rag.errors import QuothError

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/health", tags=["Operations"])


@router.get("/live", **shows(HealthStatus))
async def check_live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("/ready", **shows(HealthStatus, also={503: {"model": HealthStatus, "description": "Not ready."}}))
async def check_ready(live: LiveDep) -> JSONResponse:
    """The ledger and the vector store answer."""
    try:
        await in_thread(live.engine.stores.names)
        await live.engine.vectors.count(store_id(live.engine.settings.store))
    except QuothError as error:
        # Anybody may ask this: what the reason names is for the log.
        logger.warning("not ready: %s", error)
        return JSONResponse({"status": "not ready"}, 503)
    return JSONResponse({"status": "ready"})
