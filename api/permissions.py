"""Who may call what: the one table of routes and the scopes that they ask for.

A route that does not stand here is there for admins alone, and a test fails until it does.
"""

from __future__ import annotations

import re
from typing import Final

from rag.access import SCOPES, Scope
from rag.errors import QuothError

# Answered without a key: a supervisor asks whether the process lives, and has no key to show.
OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready"})

PERMISSIONS: Final[dict[Scope, tuple[str, ...]]] = {
    "read": (
        "POST /v1/chat/completions",
        "GET /v1/models",
        "GET /v1/models/{model:path}",
        "POST /v1/embeddings",
        "POST /v1/responses",
        "GET /v1/responses/{response_id}",
        "DELETE /v1/responses/{response_id}",
        "GET /v1/responses/{response_id}/input_items",
        "GET /v1/conversations",
        "GET /v1/conversations/{conversation_id}",
        "DELETE /v1/conversations/{conversation_id}",
        "POST /v1/feedback",
        "GET /v1/files",
        "GET /v1/files/{file_id}",
        "GET /v1/files/{file_id}/content",
        "GET /v1/vector_stores",
        "GET /v1/vector_stores/{store_id}",
        "POST /v1/vector_stores/{store_id}/search",
        "GET /v1/vector_stores/{store_id}/files",
        "GET /v1/vector_stores/{store_id}/files/{file_id}",
        "GET /v1/vector_stores/{store_id}/files/{file_id}/content",
        "GET /v1/vector_stores/{store_id}/file_batches/{batch_id}",
        "GET /v1/vector_stores/{store_id}/file_batches/{batch_id}/files",
        "GET /v1/vector_stores/{store_id}/file_batches/{batch_id}/events",
        "POST /mcp",
        "POST /v1/search/explain",
        "GET /v1/documents",
        "GET /v1/documents/{document_id}",
        "GET /v1/documents/{document_id}/original",
        "GET /openapi.json",
    ),
    "write": (
        "POST /v1/files",
        "DELETE /v1/files/{file_id}",
        "POST /v1/vector_stores",
        "POST /v1/vector_stores/{store_id}",
        "DELETE /v1/vector_stores/{store_id}",
        "POST /v1/vector_stores/{store_id}/files",
        "POST /v1/vector_stores/{store_id}/files/{file_id}",
        "DELETE /v1/vector_stores/{store_id}/files/{file_id}",
        "POST /v1/vector_stores/{store_id}/file_batches",
        "POST /v1/vector_stores/{store_id}/file_batches/{batch_id}/cancel",
    ),
    "admin": ("GET /v1/feedback", "GET /v1/doctor", "GET /metrics"),
}


class ForbiddenScopeError(QuothError):
    """The key may not do this."""

    def __init__(self, has: Scope, needs: Scope) -> None:
        super().__init__(f"This key may {has}, and this needs one that may {needs}: quoth keys create makes one.")


def _pattern(template: str) -> re.Pattern[str]:
    written = re.sub(r"\\\{\w+(:path)?\\\}", lambda found: ".+" if found[1] else "[^/]+", re.escape(template))
    # The router sends a client on from a path with a slash too many.
    return re.compile(f"{written}/?")


_ROUTES: Final = [
    (method, _pattern(path), scope)
    for scope, routes in PERMISSIONS.items()
    for method, _, path in (route.partition(" ") for route in routes)
]


def scope_of(method: str, path: str) -> Scope | None:
    """The scope that a request asks for, the strictest where several routes fit; None where it is not in the table."""
    asked = "GET" if method == "HEAD" else method
    found = [scope for verb, pattern, scope in _ROUTES if verb in (asked, "*") and pattern.fullmatch(path)]
    return max(found, key=SCOPES.index, default=None)


def methods_of(path: str) -> list[str]:
    """What else may be done to a path."""
    return sorted({verb for verb, pattern, _ in _ROUTES if pattern.fullmatch(path)})
