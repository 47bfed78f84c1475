"""What is decided about a request before any handler sees it: its host, its key, the size of its body, its id."""

from __future__ import annotations

import hmac
import json
import secrets
from hashlib import sha256

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_body
from rag.access import Caller
from rag.settings import ServerSettings

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]", "testserver"})


class Guard:
    """Pure ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._too_large = f"The body is larger than {settings.max_body_bytes} bytes."
        key = settings.api_key
        self._key_sha256 = sha256(key.get_secret_value().encode()).digest() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {}).update(request_id=request_id, caller=Caller())

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        refusal = self._refuse(scope)
        if refusal is None:
            await self._app(scope, self._bounded(receive), tagged)
        else:
            await _answer(tagged, *refusal)

    def _refuse(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = Headers(scope=scope)
        if scope["path"] in OPEN_PATHS:
            return None
        if self._key_sha256 is None:
            # Without a key only programs of this machine may call. A web page that has its name resolve to this
            # machine still sends its own name.
            host = headers.get("host", "").rsplit(":", 1)[0] if not _is_bare_ipv6(headers) else headers["host"]
            if host not in LOOPBACK_NAMES:
                return (
                    403,
                    "Without an API key Quoth answers to localhost only; set QUOTH_SERVER__API_KEY.",
                    "forbidden_host",
                )
        elif not self._has_key(headers):
            return 401, "Send the API key as: Authorization: Bearer KEY.", "invalid_api_key"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            return 413, self._too_large, "too_large"
        return None

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = sha256(key.strip().encode()).digest()
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._key_sha256 or b"")

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._settings.max_body_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return bounded


def _is_bare_ipv6(headers: Headers) -> bool:
    return headers.get("host", "").endswith("]")


async def _answer(send: Send, status: int, message: str, code: str) -> None:
    kind = "authentication_error" if status == 401 else "invalid_request_error"
    body = json.dumps(error_body(message, kind, code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
