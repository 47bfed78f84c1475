"""POST /v1/search/explain: why a search returned what it did, and why it left out a document."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.dependencies import CallerDep, LiveDep, SearchSlotDep
from api.openapi import shows
from api.schemas.explain import ExplainRequest, SearchExplained
from rag.concurrency import in_thread
from rag.expecting import explain_expected
from rag.explaining import Asked, explain_search

router = APIRouter(tags=["Operations"])


@router.post("/v1/search/explain", **shows(SearchExplained))
async def explain_search_results(
    body: ExplainRequest, live: LiveDep, caller: CallerDep, _slot: SearchSlotDep
) -> dict[str, Any]:
    """Every candidate of a search with its scores and ranks, and what became of an expected document."""
    engine = live.engine
    wanted = body.stores or [engine.settings.store]
    stores = await in_thread(lambda: [engine.stores.resolve(name, caller) for name in wanted])
    asked = Asked(
        stores=list({store.id: store for store in stores}.values()),
        question=body.question,
        k=body.k,
        where=body.filters,
        groups=frozenset(body.groups) if body.groups is not None else None,
        per_document=body.per_document,
        diversity=body.diversity,
        expand_tokens=body.expand_tokens,
        recency_half_life_days=body.recency_half_life_days,
    )
    explained = await explain_search(engine, asked, caller)
    told = {"object": "search.explanation", **explained.as_dict(body.limit), "expected": None}
    if body.expected is not None:
        told["expected"] = (await explain_expected(engine, asked, explained, body.expected, caller)).as_dict()
    return told
