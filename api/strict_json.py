"""JSON bodies that mean different things to different readers are refused.

Python takes the last of two members of one name, and other readers the first; it takes NaN, which is no JSON.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import response_of
from api.whole_bodies import replaying, whole_body
from rag.errors import InvalidInputError

SHOWN_CHARACTERS = 64


class StrictJson:
    """Pure ASGI middleware; stands behind the guard, which bounds the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is not JSON, and JSON that has one meaning. What is malformed the route tells of."""
        if scope["type"] != "http" or "json" not in Headers(scope=scope).get("content-type", ""):
            await self._app(scope, receive, send)
            return
        try:
            body = await whole_body(receive)
            _check(body)
        except (InvalidInputError, HTTPException) as error:
            await response_of(error)(scope, receive, send)
            return
        await self._app(scope, replaying(body, receive), send)


def _check(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_single, parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidInputError("The body is nested too deeply: send it with fewer objects in each other.") from None
    except ValueError:
        return  # the route says what is wrong with it


def _single(pairs: list[tuple[str, Any]]) -> None:
    """Every name once; the values are of no interest here, and thrown away."""
    if len(pairs) < 2:
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            shown = ascii(name[:SHOWN_CHARACTERS])
            raise InvalidInputError(f"The body names {shown} twice in one object: send it once.")
        seen.add(name)


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidInputError(f"{constant} is not JSON: send a number, or leave it out.")
