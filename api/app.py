"""The HTTP application. There is no app object at import: `create_app(settings)` makes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from api import errors
from api.dependencies import Live
from api.drain import Drain
from api.guards import Guard
from api.housekeeping import kept_house
from api.idempotency import Idempotency
from api.routes import (
    chat_completions,
    conversations,
    embeddings,
    feedback,
    file_batches,
    files,
    health,
    models,
    responses,
    store_files,
    store_search,
    vector_stores,
)
from api.shutdown import Gate
from rag.assembly import open_answerer, open_engine
from rag.settings import Settings


@asynccontextmanager
async def open_live(settings: Settings) -> AsyncIterator[Live]:
    """Open the engine and its chat model for serving. Raises as `open_engine` and `open_answerer`."""
    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        live = Live(engine, answerer, asyncio.Semaphore(settings.server.max_concurrent_answers))
        async with kept_house(live), live.worker:
            yield live


def create_app(
    settings: Settings, opening: Callable[[Settings], AbstractAsyncContextManager[Live]] = open_live
) -> FastAPI:
    """Build the application; the engine opens when it starts and closes when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opening(settings) as live:
            app.state.live = live
            yield

    app = FastAPI(
        title="Quoth", description="Answers from your own documents; every sentence quotes its source.",
        lifespan=lifespan,
    )  # fmt: skip
    app.state.drain = Drain()
    app.add_middleware(Idempotency)
    app.add_middleware(Gate, drain=app.state.drain)
    app.add_middleware(Guard, settings=settings.server)
    errors.install(app)
    for module in (
        chat_completions, conversations, feedback, models, responses, embeddings, health, files, vector_stores, store_files, file_batches,
        store_search,
    ):  # fmt: skip
        app.include_router(module.router)
    return app
