"""The server over HTTP: each request stands alone, so that any process can answer it and no session can be stolen."""

from __future__ import annotations

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from api.mcp.server import make_server
from api.mcp.session import Session


async def serve_exchange(session: Session, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one POST. When its client leaves, its work is cancelled; so it is when this is cancelled."""
    # One manager a request: whatever it starts for the request ends with it. Host and key were checked by the guard,
    # and the origin by the route.
    limit = session.live.engine.settings.server.max_body_bytes
    manager = StreamableHTTPSessionManager(make_server(session), stateless=True, max_request_body_size=limit)
    async with manager.run():
        await manager.handle_request(scope, receive, send)
