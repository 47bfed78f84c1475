"""A live server over a few small texts, with a model that says what it is told to."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from fastapi import FastAPI

from api.app import create_app
from api.dependencies import CallerDep, Live
from ingest.pipeline import Ingestor
from rag.access import Caller
from rag.answering import Answerer
from rag.assembly import Engine
from rag.protocols import ChatModel, ChunkStore, Embedder
from rag.settings import Settings, load_settings
from tests.fakes import fake_engine
from tests.live import serving

TRAVEL = "Trains are booked in second class. Flights need the consent of a manager.\n"
LEAVE = "Employees get thirty days of annual leave. Unused leave expires in March.\n"
STORES: Mapping[str, Mapping[str, str]] = {"default": {"travel.txt": TRAVEL}, "people": {"leave.txt": LEAVE}}


@dataclass(frozen=True)
class Served:
    """A server that runs, and what it works with."""

    url: str
    engine: Engine
    app: FastAPI


@contextmanager
def serving_stores(
    folder: Path,
    model: ChatModel,
    stores: Mapping[str, Mapping[str, str]] = STORES,
    *,
    embedder: Embedder | None = None,
    vectors: ChunkStore | None = None,
    caller: Caller | None = None,
    **server: object,
) -> Iterator[Served]:
    """Serve stores of texts by file name, to a caller other than whoever sent the request if one is given."""
    opened: list[Engine] = []

    @asynccontextmanager
    async def opening(settings: Settings) -> AsyncIterator[Live]:
        with fake_engine(folder / "data", embedder, vectors) as engine:
            for store, texts in stores.items():
                docs = folder / f"docs-{store}"
                docs.mkdir(exist_ok=True)
                for name, text in texts.items():
                    (docs / name).write_text(text)
                await engine.open_store(store)
                if texts:
                    await Ingestor(engine).run([docs], store)
            opened.append(engine)
            yield Live(engine, Answerer(engine.retriever, model, settings.chat))

    app = create_app(load_settings({"server": server}), opening)
    if caller is not None:
        app.dependency_overrides[get_args(CallerDep)[1].dependency] = lambda: caller
    with serving(app) as url:
        yield Served(url, opened[0], app)
