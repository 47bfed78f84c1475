"""GET /metrics: figures of this process, for Prometheus."""

from __future__ import annotations

from collections import Counter
from typing import get_args

from fastapi import APIRouter, Request, Response

from api.admission import Admission
from api.dependencies import Live, LiveDep
from api.drain import drain_of
from api.logs import dropped_lines
from api.metrics import CONTENT_TYPE, Metrics, Reading
from rag.concurrency import in_thread
from rag.ledger.jobs import JobState

router = APIRouter(tags=["Operations"])

JOB_STATES = get_args(JobState)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def read_metrics(request: Request, live: LiveDep) -> Response:
    """What was counted since the process began, and how it stands now."""
    drain = drain_of(request.scope)
    readings: list[Reading] = [
        ("answers_open", "Answers that are being made or sent.", drain.open_answers),
        ("draining", "1 while the server ends.", float(drain.is_draining)),
        ("jobs", "Ingest jobs in the ledger, by state.", await in_thread(_jobs, live)),
        ("log_lines_dropped_total", "Lines for which the log had no room.", dropped_lines()),
        *_admission(request),
    ]
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(readings), media_type=CONTENT_TYPE)


def _jobs(live: Live) -> dict[str, float]:
    counted = Counter(job.state for job in live.engine.jobs.all())
    return {state: float(counted[state]) for state in JOB_STATES}


def _admission(request: Request) -> list[Reading]:
    kinds: dict[str, Admission] = {"answers": request.app.state.answers, "searches": request.app.state.searches}
    held = {name: float(slots.held) for name, slots in kinds.items()}
    queued = {name: float(slots.queued) for name, slots in kinds.items()}
    return [("slots_taken", "Slots that are held.", held), ("waiting", "Requests that wait for a slot.", queued)]
