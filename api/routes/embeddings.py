"""POST /v1/embeddings: the vectors of the configured embedder."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastapi import APIRouter, Request, Response

from api.dependencies import AnswerSlotDep, BudgetDep, LiveDep
from api.openapi import shows
from api.rate_limits import Budget
from api.schemas.embeddings import EmbeddingList, EmbeddingRequest
from api.streaming import ClientLeftError, while_connected
from rag.concurrency import in_thread
from rag.errors import InvalidInputError, NotFoundError
from rag.protocols import Embedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

router = APIRouter(tags=["Models"])

CLIENT_CLOSED_REQUEST = 499
MAX_TOKENS: Final = 300_000  # of a request, as OpenAI bounds it


@router.post("/v1/embeddings", **shows(EmbeddingList))
async def create_embeddings(
    body: EmbeddingRequest, request: Request, live: LiveDep, budget: BudgetDep, _slot: AnswerSlotDep
) -> Response:
    """Embed texts as the stores' passages or questions are; it takes the room of an answer."""
    try:
        content = await while_connected(request, _embed(live.engine.embedder, body, budget))
    except ClientLeftError:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return Response(content, media_type="application/json")


async def _embed(embedder: Embedder, body: EmbeddingRequest, budget: Budget) -> bytes:
    fingerprint = embedder.fingerprint
    if body.model != fingerprint.model:
        raise NotFoundError(f"There is no embedding model {body.model[:128]!r} here; there is {fingerprint.model!r}.")
    if body.dimensions not in (None, fingerprint.dimension):
        raise InvalidInputError(f"{fingerprint.model} has {fingerprint.dimension} dimensions, not {body.dimensions}.")
    is_query = body.input_type == "query"
    counts = await in_thread(_counts, embedder, body.input, is_query)
    budget.charge(sum(counts))
    if is_query:
        vectors = np.stack([await embedder.embed_query(text) for text in body.input])
    else:
        vectors = await embedder.embed_passages(body.input)
    # Thousands of vectors take long to write out: other requests go on meanwhile.
    return await in_thread(_content, vectors, fingerprint.model, sum(counts), body.encoding_format == "base64")


def _counts(embedder: Embedder, texts: Sequence[str], is_query: bool) -> list[int]:
    """The tokens of each text. Raises InvalidInputError where the model would not see all of them."""
    tokenizer, prefixes = embedder.tokenizer, embedder.fingerprint
    most = embedder.max_tokens
    if is_query:
        most += tokenizer.count(prefixes.passage_prefix) - tokenizer.count(prefixes.query_prefix)
    counts = [tokenizer.count(text) for text in texts]
    for index, count in enumerate(counts):
        if count > most:
            raise InvalidInputError(
                f"Input {index} has {count} tokens; {prefixes.model} reads {most} at once. Shorten or split it."
            )
    if sum(counts) > MAX_TOKENS:
        raise InvalidInputError(f"The inputs have {sum(counts)} tokens together; {MAX_TOKENS} are taken at once.")
    return counts


def _content(vectors: NDArray[np.float32], model: str, tokens: int, is_base64: bool) -> bytes:
    rows = vectors.astype("<f4")
    data: list[dict[str, Any]] = [
        {
            "object": "embedding", "index": index,
            "embedding": base64.b64encode(row.tobytes()).decode() if is_base64 else row.tolist(),
        }
        for index, row in enumerate(rows)
    ]  # fmt: skip
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data, "model": model, "usage": usage}).encode()
