"""How one operation leads to the next: where the ids that it answers with are asked for."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "$response.body#/id"
_STORE: Final = "$response.body#/vector_store_id"


def _to(operation: str, body: dict[str, Any] | None = None, **parameters: str) -> dict[str, Any]:
    link: dict[str, Any] = {"operationId": operation}
    if parameters:
        link["parameters"] = parameters
    if body is not None:
        link["requestBody"] = body
    return link


def _links(*links: dict[str, Any]) -> dict[str, Any]:
    return {link["operationId"]: link for link in links}


LINKS: Final[dict[str, dict[str, Any]]] = {
    "upload_file": _links(
        _to("retrieve_file", file_id=_ID),
        _to("retrieve_file_content", file_id=_ID),
        _to("delete_file", file_id=_ID),
        _to("create_vector_store", {"name": "Handbooks", "file_ids": [_ID]}),
    ),
    "create_vector_store": _links(
        _to("retrieve_vector_store", store_id=_ID),
        _to("update_vector_store", {"name": "Handbooks of 2026"}, store_id=_ID),
        _to("search_vector_store", {"query": "Which class are trains booked in?"}, store_id=_ID),
        _to("list_vector_store_files", store_id=_ID),
        _to("delete_vector_store", store_id=_ID),
    ),
    "create_vector_store_file": _links(
        _to("retrieve_vector_store_file", store_id=_STORE, file_id=_ID),
        _to("retrieve_vector_store_file_content", store_id=_STORE, file_id=_ID),
        _to("update_vector_store_file", {"attributes": {"year": 2026}}, store_id=_STORE, file_id=_ID),
        _to("delete_vector_store_file", store_id=_STORE, file_id=_ID),
    ),
    "create_file_batch": _links(
        _to("retrieve_file_batch", store_id=_STORE, batch_id=_ID),
        _to("list_files_in_file_batch", store_id=_STORE, batch_id=_ID),
        _to("stream_file_batch", store_id=_STORE, batch_id=_ID),
        _to("cancel_file_batch", store_id=_STORE, batch_id=_ID),
    ),
    "create_response": _links(
        _to("retrieve_response", response_id=_ID),
        _to("list_input_items", response_id=_ID),
        _to("delete_response", response_id=_ID),
    ),
    "create_chat_completion": _links(
        _to("retrieve_conversation", conversation_id="$response.body#/conversation"),
        _to("delete_conversation", conversation_id="$response.body#/conversation"),
        _to("give_feedback", {"answer_id": "$response.body#/answer_id", "rating": "up"}),
    ),
    "list_documents": _links(
        _to("retrieve_document", document_id="$response.body#/data/0/id"),
        _to("download_original", document_id="$response.body#/data/0/id"),
    ),
}
