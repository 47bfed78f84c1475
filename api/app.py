"""The HTTP application. There is no app object at import: `create_app(settings)` makes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import errors
from api.dependencies import Live
from api.guards import Guard
from api.routes import chat_completions, health, models
from rag.assembly import open_answerer, open_engine
from rag.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Build the application; the engine opens when it starts and closes when it ends.

    Raises (at start-up):
        QuothError: as `open_engine` and `open_answerer`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_engine(settings) as engine, open_answerer(engine) as answerer:
            answers = asyncio.Semaphore(settings.server.max_concurrent_answers)
            app.state.live = Live(engine=engine, answerer=answerer, answers=answers)
            yield

    app = FastAPI(
        title="Quoth", description="Answers from your own documents; every sentence quotes its source.",
        lifespan=lifespan,
    )  # fmt: skip
    app.add_middleware(Guard, settings=settings.server)
    errors.install(app)
    for module in (chat_completions, models, health):
        app.include_router(module.router)
    return app
