"""Bodies that a middleware has to see whole before a route does."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive


async def whole_body(receive: Receive) -> bytes:
    """The body of a request, whose size the guard bounds.

    Raises:
        HTTPException: the client left before it was whole, or as `bounded`.
    """
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException(400, "The client left before its request was whole.")
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def replaying(body: bytes, receive: Receive) -> Receive:
    """The body, as one piece, and after it whatever comes."""
    left = [body]

    async def replay() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay
