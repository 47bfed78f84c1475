"""The server over standard input and output, for clients that start it themselves."""

from __future__ import annotations

from mcp.server.stdio import stdio_server

from api.mcp.server import make_server
from api.mcp.session import Session


async def serve_stdio(session: Session) -> None:
    """Serve one client until it closes its end; whatever else is printed meanwhile goes to standard error."""
    server = make_server(session)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
