"""The OpenAPI document: what routes do not say themselves, because it holds for many of them.

FastAPI describes parameters and bodies. Added here are what refuses a request before and behind a route, what every
response carries, keys, and how one operation leads to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from api.idempotency import MAX_KEY_CHARACTERS, PREFIXES
from api.openapi_links import LINKS
from api.permissions import OPEN_PATHS
from api.schemas.chat_objects import EXAMPLE, ChatCompletion
from api.schemas.errors import ErrorResponse

DESCRIPTION: Final = """Answers from your own documents; every sentence quotes its source.

Files, vector stores, responses, chat completions, models and embeddings are as OpenAI's clients know them. Unknown
fields of bodies and unknown parameters of queries are refused. `POST /mcp` speaks the Model Context Protocol, which
describes itself."""

TAGS: Final = {
    "Answers": "Questions, answered from stores with citations.",
    "Conversations": "What was asked and answered, and what people think of it.",
    "Models": "What can be asked, and the embedder.",
    "Files": "Uploaded documents.",
    "Vector stores": "Stores, what they hold, and searches without an answer.",
    "Documents": "What the stores hold, folders included: text around a citation, and the original files.",
    "Operations": "Why a search found what it did, and how the server is.",
}

_REASONS: Final[dict[int, tuple[str, str, str, str]]] = {
    400: ("BadRequest", "The request is wrong; `param` names what.", "invalid_request_error", "invalid_request"),
    401: ("Unauthorized", "There is no key, or none that is valid.", "authentication_error", "invalid_api_key"),
    403: ("Forbidden", "The key may not do this.", "invalid_request_error", "insufficient_scope"),
    404: ("NotFound", "It is not there, or not for this key.", "invalid_request_error", "not_found"),
    408: ("TooSlow", "The body came too slowly.", "invalid_request_error", "too_slow"),
    409: ("Conflict", "Another request is in the way.", "invalid_request_error", "conversation_busy"),
    413: ("TooLarge", "The body is too large.", "invalid_request_error", "too_large"),
    415: ("UnsupportedMediaType", "The body is of another type.", "invalid_request_error", "unsupported_media_type"),
    429: ("RateLimited", "The key has used up its minute.", "requests", "rate_limit_exceeded"),
    431: ("HeadersTooLarge", "Headers and address are too long.", "invalid_request_error", "too_large"),
    500: ("Failure", "Something failed; the log says what.", "server_error", "internal_error"),
    502: ("UpstreamRejected", "The language model's server refused.", "server_error", "upstream_rejected"),
    503: ("Unavailable", "It cannot be done now; try again.", "server_error", "overloaded"),
}

_ALWAYS: Final = (400, 401, 403, 429, 431, 500, 503)
_OPEN: Final = (400, 413, 431, 500)
_WITH_BODY: Final = (408, 413, 415)
# They name stores in their body, and ask an embedder or a language model.
_ASKING: Final = frozenset(
    {
        "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/search/explain",
        "/v1/vector_stores/{store_id}/search",
    }
)  # fmt: skip
_NAMES_NOTHING: Final = frozenset({("get", "/metrics"), ("get", "/v1/models"), ("post", "/v1/files")})
_UPLOAD: Final = "/v1/files"

_HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "x-request-id": ("names the request in the log", {"type": "string", "pattern": "^req_[0-9a-f]{24}$"}),
    "x-ratelimit-limit-requests": ("a minute, for this key", {"type": "integer"}),
    "x-ratelimit-limit-tokens": ("a minute, for this key", {"type": "integer"}),
    "x-ratelimit-remaining-requests": ("what is left of them", {"type": "integer"}),
    "x-ratelimit-remaining-tokens": ("what is left of them", {"type": "integer"}),
    "x-ratelimit-reset-requests": ("until all are there again", {"type": "string", "examples": ["120ms", "6m0s"]}),
    "x-ratelimit-reset-tokens": ("until all are there again", {"type": "string", "examples": ["120ms", "6m0s"]}),
    "Retry-After": ("seconds to wait", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("how to send a key", {"type": "string", "const": "Bearer"}),
    "Idempotent-Replayed": ("the first answer, again", {"type": "string", "const": "true"}),
    "openai-poll-after-ms": ("when to ask again, of what is in progress", {"type": "integer"}),
}
_REQUIRED: Final = frozenset({"x-request-id", "Retry-After", "WWW-Authenticate"})
_ONLY_OF: Final = {
    "Retry-After": (429, 503),
    "WWW-Authenticate": (401,),
    "Idempotent-Replayed": (),
    "openai-poll-after-ms": (),
}
_POLLED: Final = frozenset({"retrieve_vector_store_file", "retrieve_file_batch"})

_IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeating the request with it has no second effect; draw a new one, such as a UUID, for each "
    "request. A streamed answer cannot be repeated.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS, "pattern": "^[ -~]+$"},
    "example": "0d3f8a52-6c1b-4e57-9b0e-7c2a1f4d8e63",
}


class Application(FastAPI):
    """FastAPI, with the whole document. It has no page that shows it: FastAPI's loads programs from other servers."""

    def __init__(self, **options: Any) -> None:
        tags = [{"name": name, "description": told} for name, told in TAGS.items()]
        super().__init__(
            title="Quoth", description=DESCRIPTION, version=version("quoth"), openapi_tags=tags, docs_url=None,
            redoc_url=None, generate_unique_id_function=lambda route: route.name, **options,
        )  # fmt: skip

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def shows(model: type[BaseModel], *, streams: str = "", also: Mapping[int, Any] | None = None) -> dict[str, Any]:
    """Of a route that answers with JSON which it has made itself, and which is not to be read and written once more.

    Args:
        model: what the JSON is like.
        also: other responses, by status.
        streams: what the answer is as server-sent events, if it can be one.
    """
    content = {"text/event-stream": {"schema": {"type": "string", "description": streams}}} if streams else {}
    return {"response_model": None, "responses": {200: {"model": model, "content": content}, **(also or {})}}


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    error = ErrorResponse.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= error.pop("$defs")
    schemas["ErrorResponse"] = error
    schemas[ChatCompletion.__name__]["examples"] = [EXAMPLE]
    components["responses"] = {name: _refusal(status) for status, (name, *_) in _REASONS.items()}
    components["headers"] = {name: _header(name) for name in _HEADERS}
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key, as `quoth keys create` makes it."}
    }
    document["security"] = [{"key": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, method, path)
    return document


def _complete(operation: dict[str, Any], method: str, path: str) -> None:
    is_open = path in OPEN_PATHS
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            _exclude_nul(parameter["schema"])
    responses = operation["responses"]
    responses.pop("422", None)
    is_idempotent = method == "post" and (path == _UPLOAD or path.startswith(PREFIXES))
    for status, response in responses.items():
        names = [name for name in _HEADERS if int(status) in _ONLY_OF.get(name, (int(status),))]
        if is_idempotent:
            names.append("Idempotent-Replayed")
        if operation["operationId"] in _POLLED:
            names.append("openai-poll-after-ms")
        if is_open:
            names = ["x-request-id"]
        response.setdefault("headers", {}).update({name: _reference("headers", name) for name in names})
        links = LINKS.get(operation["operationId"])
        if links and status == "200":
            response["links"] = links
    for status in _statuses(method, path, "requestBody" in operation):
        responses.setdefault(str(status), _reference("responses", _REASONS[status][0]))
    operation["responses"] = dict(sorted(responses.items()))
    if is_idempotent:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    if is_open:
        operation["security"] = []


def _exclude_nul(schema: dict[str, Any]) -> None:
    """Say what `strict_parameters` sees to."""
    for option in (schema, *schema.get("anyOf", ())):
        if option.get("type") == "string" and "enum" not in option:
            option.setdefault("pattern", r"^[^\x00]*$")


def _statuses(method: str, path: str, has_body: bool) -> list[int]:
    """What a route may refuse with, besides what it declares itself."""
    if path in OPEN_PATHS:
        return list(_OPEN)
    found = {*_ALWAYS, *(_WITH_BODY if has_body else ())}
    if (method, path) not in _NAMES_NOTHING:
        found.add(404)
    if method != "get":
        found.add(409)
    if path == _UPLOAD:
        found.discard(415)  # a form that is none, or has no boundary, is 400
    if path in _ASKING:
        found.add(502)
    return sorted(found)


def _refusal(status: int) -> dict[str, Any]:
    _, description, kind, code = _REASONS[status]
    names = [name for name in _HEADERS if status in _ONLY_OF.get(name, (status,))]
    example = {"error": {"message": description, "type": kind, "param": None, "code": code}}
    return {
        "description": description,
        "headers": {name: _reference("headers", name) for name in names},
        "content": {"application/json": {"schema": _reference("schemas", "ErrorResponse"), "example": example}},
    }


def _header(name: str) -> dict[str, Any]:
    description, schema = _HEADERS[name]
    return {"description": description, "required": name in _REQUIRED, "schema": schema}


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
