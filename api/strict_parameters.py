"""Queries that ask for what is not there are refused, as bodies are: nothing that a client asks is ignored silently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

SHOWN_CHARACTERS: Final = 64


async def refuse_unknown_parameters(request: Request) -> None:
    """For every route: each parameter of a query is known and comes once, and nothing holds NUL.

    Raises:
        RequestValidationError: it is otherwise.
        HTTPException: of status 404, there is NUL in the path. No id has one, and not every database takes it.
    """
    if any("\0" in str(value) for value in request.path_params.values()):
        raise HTTPException(404, "Not Found")
    given = request.query_params.multi_items()
    if not given:
        return
    known = set(_parameters(request.scope["route"].dependant))
    seen: set[str] = set()
    for name, value in given:
        if name not in known:
            raise _refused("extra_forbidden", name, "not supported")
        # A list is called as OpenAI's clients call it, `include[]`.
        if name in seen and not name.endswith("[]"):
            raise _refused("repeated", name, "send it once")
        if "\0" in value:
            raise _refused("nul", name, "there is a NUL character in it")
        seen.add(name)


def _parameters(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        yield parameter.alias
    for each in dependant.dependencies:
        yield from _parameters(each)


def _refused(kind: str, name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": ("query", name[:SHOWN_CHARACTERS]), "msg": message}])
