"""Error class to status and body: the one mapping, in OpenAI's error shape."""

from __future__ import annotations

import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.authentication import ForbiddenHostError, WrongKeyError
from api.drain import ShuttingDownError
from api.permissions import ForbiddenScopeError, methods_of
from api.rate_limits import RateLimitedError
from rag.errors import (
    ConfigurationError,
    ConversationBusyError,
    FingerprintMismatchError,
    IdempotencyBusyError,
    IdempotencyMismatchError,
    InvalidInputError,
    LeaseLostError,
    ModelNotFoundError,
    NotFoundError,
    QuothError,
    StorageError,
    StorageUnavailableError,
    StoreExpiredError,
    StoreNotFoundError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5

# The first class that fits decides: status, type, code.
_STATUSES: tuple[tuple[type[QuothError], int, str, str], ...] = (
    (WrongKeyError, 401, "authentication_error", "invalid_api_key"),
    (ForbiddenHostError, 403, "invalid_request_error", "forbidden_host"),
    (ForbiddenScopeError, 403, "invalid_request_error", "insufficient_scope"),
    (RateLimitedError, 429, "requests", "rate_limit_exceeded"),
    (ModelNotFoundError, 500, "server_error", "internal_error"),
    (StoreExpiredError, 400, "invalid_request_error", "vector_store_expired"),
    (InvalidInputError, 400, "invalid_request_error", "invalid_request"),
    (StoreNotFoundError, 404, "invalid_request_error", "model_not_found"),
    (NotFoundError, 404, "invalid_request_error", "not_found"),
    (FingerprintMismatchError, 409, "server_error", "embedder_mismatch"),
    (LeaseLostError, 409, "server_error", "taken_over"),
    (ConversationBusyError, 409, "invalid_request_error", "conversation_busy"),
    (IdempotencyMismatchError, 400, "idempotency_error", "idempotency_mismatch"),
    (IdempotencyBusyError, 409, "idempotency_error", "idempotency_key_in_use"),
    (StorageUnavailableError, 503, "server_error", "storage_unavailable"),
    (ShuttingDownError, 503, "server_error", "server_shutting_down"),
    (UpstreamUnavailableError, 503, "server_error", "upstream_unavailable"),
    (UpstreamRejectedError, 502, "server_error", "upstream_rejected"),
    (QuothError, 500, "server_error", "internal_error"),
)

# Their messages help whoever runs the server, and name its files, addresses and statements: they go to the log.
_INTERNAL = (StorageError, ConfigurationError, ModelNotFoundError)

# Of what routes and the framework itself refuse.
_HTTP_CODES = {
    403: "forbidden", 404: "not_found", 405: "method_not_allowed", 408: "too_slow", 413: "too_large",
    415: "unsupported_media_type", 431: "too_large", 503: "overloaded",
}  # fmt: skip


def error_body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


# What the validator calls the choices of a union, which stand in the path to a value but not in the body.
_BRANCH = re.compile(r"constrained-\w+|(?:function-\w+|list|tagged-union|nullable)\[.*\]")

UNEXPECTED = error_body("Something unexpected failed.", "server_error", "internal_error")


def describe(error: QuothError) -> tuple[int, dict[str, Any]]:
    """Status and body of an error."""
    _, status, kind, code = next(row for row in _STATUSES if isinstance(error, row[0]))
    if isinstance(error, RateLimitedError) and error.what == "tokens":
        kind = "tokens"
    message = str(error)
    if isinstance(error, _INTERNAL) and not isinstance(error, FingerprintMismatchError):
        logger.error("a request failed: %s", error)
        message = f"The server cannot do this at present ({code}); its log says why."
    return status, error_body(message, kind, code)


def response_of(error: QuothError | HTTPException) -> JSONResponse:
    """What an error is answered with, also by a middleware, which no handler stands behind."""
    if isinstance(error, QuothError):
        status, body = describe(error)
        return JSONResponse(body, status, _headers(error, status))
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    return JSONResponse(error_body(str(error.detail), kind, code), error.status_code, error.headers)


def _headers(error: QuothError, status: int) -> dict[str, str]:
    if isinstance(error, RateLimitedError):
        return {"Retry-After": str(error.wait_seconds)}
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}


def install(app: FastAPI) -> None:
    """Make every failure of a request answer in the one shape."""
    app.add_exception_handler(QuothError, _on_quoth_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_quoth_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QuothError)  # noqa: S101
    return response_of(error)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    if first["loc"] == ("body",) and "json" not in request.headers.get("content-type", "json"):
        return response_of(HTTPException(415, "Send the body as JSON, with Content-Type: application/json."))
    if first["type"] == "json_invalid":
        return response_of(HTTPException(400, f"The body is not JSON: {first['ctx']['error']}"))
    where = [str(part) for part in first["loc"] if part != "body" and not _BRANCH.fullmatch(str(part))]
    param = ".".join(where) or None
    if first["type"] == "extra_forbidden":
        return JSONResponse(
            error_body(f"{param} is not supported.", "invalid_request_error", "unsupported_parameter", param), 400
        )
    message = f"{param}: {first['msg']}" if param else str(first["msg"])
    return JSONResponse(error_body(message, "invalid_request_error", "invalid_request", param), 400)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 405 and (allowed := methods_of(request.scope["path"])):
        # The router knows the methods of the first route only that has the path.
        error.headers = {**(error.headers or {}), "Allow": ", ".join(allowed)}
    return response_of(error)


async def _on_unexpected(_: Request, error: Exception) -> JSONResponse:
    logger.error("a request failed", exc_info=error)
    return JSONResponse(UNEXPECTED, 500)
