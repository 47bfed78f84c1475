"""What handlers ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from api.admission import Admission
from api.rate_limits import Budget
from ingest.background import BackgroundWorker
from rag.access import Caller
from rag.answering import Answerer
from rag.assembly import Engine


@dataclass(frozen=True)
class Live:
    """What is open while the API serves."""

    engine: Engine
    answerer: Answerer
    # Copies of original files are made two at a time, since each may take as much memory as a file may have.
    originals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    examination: asyncio.Lock = field(default_factory=asyncio.Lock)
    # What gives up a tool's call, by key, session and request: see api.routes.mcp.
    tool_calls: dict[tuple[str, str, str], Callable[[], None]] = field(default_factory=dict)
    # Works once it is entered, as open_live does.
    worker: BackgroundWorker = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "worker", BackgroundWorker(self.engine))


def _live(request: Request) -> Live:
    live: Live = request.app.state.live
    return live


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
LiveDep = Annotated[Live, Depends(_live)]


def _budget(request: Request) -> Budget:
    budget: Budget = request.state.budget
    return budget


BudgetDep = Annotated[Budget, Depends(_budget)]


async def _answer_slot(
    request: Request, live: LiveDep, caller: CallerDep, budget: BudgetDep
) -> AsyncIterator[AsyncExitStack]:
    answers: Admission = request.app.state.answers
    with budget.reserved(live.engine.settings.chat.context_tokens):
        # Left when the response has been sent, or the client has gone: whatever the handler pushed is closed then.
        async with answers.slot(caller.key_id), AsyncExitStack() as cleanup:
            yield cleanup


async def _search_slot(request: Request, caller: CallerDep) -> AsyncIterator[None]:
    searches: Admission = request.app.state.searches
    async with searches.slot(caller.key_id):
        yield


# Whoever writes an answer holds a slot until it has been sent; who only searches or embeds, one of as many others.
AnswerSlotDep = Annotated[AsyncExitStack, Depends(_answer_slot)]
SearchSlotDep = Annotated[None, Depends(_search_slot)]
