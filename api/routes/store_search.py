"""POST /v1/vector_stores/ID/search: passages, without an answer."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.dependencies import CallerDep, LiveDep, SearchSlotDep
from api.schemas.store_search import FoundPassages, RankingOptions, StoreSearchRequest, found_passages
from api.streaming import ClientLeftError, while_connected
from api.vector_stores import StoreDep
from rag.documents import SearchHit
from rag.retrieval import Retriever
from rag.searching import SearchOptions

router = APIRouter(tags=["Vector stores"])

CLIENT_CLOSED_REQUEST = 499


@router.post("/v1/vector_stores/{store_id}/search", response_model=FoundPassages)
async def search_vector_store(
    store: StoreDep,
    body: StoreSearchRequest,
    request: Request,
    live: LiveDep,
    caller: CallerDep,
    _slot: SearchSlotDep,
) -> Response:
    """Find the passages of a store that answer a query best."""
    ranking = body.ranking_options or RankingOptions()
    asked: SearchOptions = {
        "k": body.max_num_results, "where": body.filters, "groups": caller.groups,
        "dense_weight": ranking.hybrid_search.dense_weight if ranking.hybrid_search else None,
        "least_score": ranking.score_threshold, "reranked": ranking.ranker != "none",
        "recency_half_life_days": ranking.recency_half_life_days,
    }  # fmt: skip
    searching = _search(live.engine.retriever, store.name, body.queries, asked)
    try:
        hits = await while_connected(request, searching)
    except ClientLeftError:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return JSONResponse(found_passages(body.queries, hits[: body.max_num_results]))


async def _search(retriever: Retriever, name: str, queries: list[str], asked: SearchOptions) -> list[SearchHit]:
    """The hits of all queries, best first, each passage once."""
    best: dict[str, SearchHit] = {}
    for query in queries:
        for hit in (await retriever.search(name, query, **asked)).hits:
            if hit.chunk.id not in best or hit.score > best[hit.chunk.id].score:
                best[hit.chunk.id] = hit
    if len(queries) == 1:
        return list(best.values())
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.chunk.id))
