"""The objects of the Responses API: a response before its answer, and the items of its input and output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from api.schemas.responses import ResponseRequest
from rag.attributes import file_id_of
from rag.citations import Citation
from rag.documents import SearchHit
from rag.events import Answerable, Usage
from rag.ledger.responses import Asked, StoredResponse

BROKEN_OFF = "The answer was not finished: the client left, or the server stopped."


def envelope(request: ResponseRequest, response_id: str, created_at: int, temperature: float) -> dict[str, Any]:
    """What a response says of its request."""
    tools = [tool.model_dump(exclude_none=True) for tool in request.tools or ()]
    choice = request.tool_choice or "auto"
    return {
        "id": response_id, "object": "response", "created_at": created_at, "background": False,
        "instructions": request.instructions, "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls, "metadata": request.metadata or {}, "model": request.model,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id, "prompt_cache_key": request.prompt_cache_key,
        "reasoning": None, "safety_identifier": request.safety_identifier, "service_tier": "default",
        "store": request.store is not False, "temperature": temperature, "text": {"format": {"type": "text"}},
        "tool_choice": choice if isinstance(choice, str) else choice.model_dump(), "tools": tools, "top_logprobs": 0,
        "top_p": request.top_p, "truncation": request.truncation or "auto", "user": request.user,
    }  # fmt: skip


def usage_object(usage: Usage) -> dict[str, Any]:
    """Tokens, as the Responses API names them."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        **({} if usage.cost is None else {"cost": usage.cost}),
    }


def error_object(code: str, message: str) -> dict[str, str]:
    """Why a response is not whole; OpenAI's `code` knows one word for it, `type` is ours."""
    return {"code": "server_error", "message": message, "type": code}


def answerable_object(answerable: Answerable | None) -> dict[str, float] | None:
    """How likely it is that the documents answer the question."""
    return asdict(answerable) if answerable else None


def search_call(call_id: str, status: str, queries: Sequence[str], hits: Sequence[SearchHit] | None) -> dict[str, Any]:
    """The search for passages; `hits` are None unless they were asked for."""
    results = None if hits is None else [_result(hit) for hit in hits]
    return {"id": call_id, "type": "file_search_call", "status": status, "queries": list(queries), "results": results}


def _result(hit: SearchHit) -> dict[str, Any]:
    file_id, filename = cited_file(hit.chunk.document_id, hit.uri)
    return {
        "file_id": file_id, "filename": filename, "score": hit.score, "text": hit.chunk.text,
        "attributes": dict(hit.attributes),
    }  # fmt: skip


def message_item(message_id: str, status: str, content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer, as an item of the output."""
    return {"id": message_id, "type": "message", "status": status, "role": "assistant", "content": list(content)}


def text_part(text: str, citations: Sequence[Citation]) -> dict[str, Any]:
    """The text of an answer with its citations."""
    return {"type": "output_text", "text": text, "annotations": [annotation(c) for c in citations], "logprobs": []}


def annotation(citation: Citation) -> dict[str, Any]:
    """A citation as OpenAI's clients know it: it stands behind the character at `index`."""
    file_id, filename = cited_file(citation.document_id, citation.uri)
    return {"type": "file_citation", "file_id": file_id, "filename": filename, "index": citation.answer_end}


def cited_file(document_id: str, uri: str) -> tuple[str, str]:
    """Id and name of the file that a document came from; the id of one that was not uploaded is the document's."""
    return file_id_of(uri) or document_id, unquote(uri.rstrip("/").rpartition("/")[2])


def input_item(asked: Asked) -> dict[str, Any]:
    """A message of a request, as an item."""
    if asked.role == "assistant":
        return message_item(asked.id, "completed", [text_part(asked.content, ())])
    content = [{"type": "input_text", "text": asked.content}]
    return {"id": asked.id, "type": "message", "status": "completed", "role": asked.role, "content": content}


def response_object(stored: StoredResponse) -> dict[str, Any]:
    """A response of the ledger; one whose writer was killed has failed."""
    if not stored.is_abandoned:
        return dict(stored.body)
    items = [{**item, "status": "incomplete"} if item["type"] == "message" else item for item in stored.body["output"]]
    return {**stored.body, "status": "failed", "output": items, "error": error_object("interrupted", BROKEN_OFF)}
