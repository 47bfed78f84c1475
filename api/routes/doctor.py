"""GET /v1/doctor: the ledger, the vectors and the files compared. Only `quoth doctor --repair` sets them right."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.dependencies import CallerDep, LiveDep
from api.openapi import shows
from api.schemas.doctor import DoctorReport
from api.streaming import ClientLeftError, while_connected
from ingest.doctor import Doctor
from rag.concurrency import in_thread

router = APIRouter(tags=["Operations"])

MOST_SECONDS: Final = 300.0
CLIENT_CLOSED_REQUEST: Final = 499
BUSY: Final = {"Retry-After": "10"}


@router.get("/v1/doctor", **shows(DoctorReport))
async def run_doctor(
    request: Request,
    live: LiveDep,
    caller: CallerDep,
    store: Annotated[
        str | None, Query(max_length=256, description="name or id; without it every store that the key sees")
    ] = None,
) -> Response:
    """What is wrong with a store, or with all; nothing is changed. Waits for an ingest of the store to end."""
    if caller.groups is not None:
        # What it finds names documents of all groups.
        raise HTTPException(403, "The doctor looks at every document of a store; ask with a key without groups.")
    if live.examination.locked():
        raise HTTPException(503, "Another examination is under way; try again shortly.", BUSY)
    async with live.examination:
        stores = live.engine.stores
        seen = [await in_thread(stores.resolve, store, caller)] if store else await in_thread(stores.visible, caller)
        try:
            async with asyncio.timeout(MOST_SECONDS):
                told = await while_connected(request, _examine(live, [each.name for each in seen]))
        except TimeoutError:
            raise HTTPException(
                503,
                f"It was not examined within {MOST_SECONDS:.0f} seconds: an ingest is running, or there is too much to "
                "compare. Ask for one store, or run: quoth doctor",
                BUSY,
            ) from None
        except ClientLeftError:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
    return JSONResponse(told)


async def _examine(live: LiveDep, names: list[str]) -> dict[str, Any]:
    doctor = Doctor(live.engine)
    found = [(await doctor.examine(name)).as_dict() for name in names]
    return {"object": "doctor.report", "healthy": all(each["healthy"] for each in found), "stores": found}
