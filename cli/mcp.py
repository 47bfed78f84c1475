"""`quoth mcp`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.execution import DataOption, StoreOption, run

if TYPE_CHECKING:
    from rag.settings import Settings


def mcp(store: StoreOption = None, data: DataOption = None) -> None:
    """Serve search and answers to an MCP client over standard input and output; with --store, of that store alone."""
    run(lambda settings: _serve(settings, store), data)


async def _serve(settings: Settings, store: str | None) -> None:
    from api.admission import Admission
    from api.dependencies import Live
    from api.mcp.session import Session
    from api.mcp.stdio import serve_stdio
    from api.rate_limits import Budget, Limits
    from rag.access import Caller
    from rag.assembly import open_answerer, open_engine
    from rag.concurrency import in_thread

    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        named = await in_thread(engine.stores.get, store) if store else None
        caller = Caller(scope="read", store_ids=frozenset({named.id}) if named else None)
        slots, waiting = settings.server.max_concurrent_answers, settings.server.max_waiting_answers
        live = Live(engine, answerer)
        budget = Budget(Limits.of(settings.server), "")
        await serve_stdio(Session(live, caller, Admission(slots, waiting), Admission(slots, waiting), budget))
