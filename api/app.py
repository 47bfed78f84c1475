"""The HTTP application. There is no app object at import: `create_app(settings)` makes one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import Depends, FastAPI

from api import errors
from api.admission import Admission
from api.dependencies import Live
from api.drain import Drain
from api.guards import Guard
from api.housekeeping import kept_house
from api.idempotency import Idempotency
from api.metrics import Metrics
from api.observing import Observed
from api.openapi import Application
from api.routes import (
    chat_completions,
    conversations,
    doctor,
    documents,
    embeddings,
    explain,
    feedback,
    file_batches,
    files,
    health,
    mcp,
    metrics,
    models,
    responses,
    store_files,
    store_search,
    vector_stores,
)
from api.shutdown import Gate
from api.strict_json import StrictJson
from api.strict_parameters import refuse_unknown_parameters
from api.tracing import open_tracing
from rag.assembly import open_answerer, open_engine
from rag.settings import Settings


@asynccontextmanager
async def open_live(settings: Settings) -> AsyncIterator[Live]:
    """Open the engine and its chat model for serving. Raises as `open_engine` and `open_answerer`."""
    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        live = Live(engine, answerer)
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
            try:
                yield
            finally:
                if tracing:
                    await tracing.close()

    # A slash too many is another path: a redirection would name whatever host the client has named.
    app = Application(
        lifespan=lifespan, dependencies=[Depends(refuse_unknown_parameters)], redirect_slashes=False
    )  # fmt: skip
    app.state.drain, app.state.metrics, tracing = Drain(), Metrics(), open_tracing()
    slots, waiting = settings.server.max_concurrent_answers, settings.server.max_waiting_answers
    app.state.answers, app.state.searches = Admission(slots, waiting), Admission(slots, waiting)
    app.add_middleware(StrictJson)
    app.add_middleware(Idempotency)
    app.add_middleware(Gate, drain=app.state.drain)
    app.add_middleware(Guard, settings=settings.server)
    app.add_middleware(Observed, metrics=app.state.metrics, tracing=tracing)
    errors.install(app)
    for module in (
        chat_completions,
        conversations,
        feedback,
        models,
        responses,
        embeddings,
        health,
        files,
        vector_stores,
        store_files,
        file_batches,
        store_search,
        documents,
        explain,
        doctor,
        mcp,
        metrics,
    ):  # fmt: skip
        app.include_router(module.router)
    return app
