"""A live server over fakes that works off what is attached to its stores."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
from openai.types import VectorStore
from openai.types.vector_stores import VectorStoreFile
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.dependencies import Live
from ingest.pipeline import Ingestor
from rag.access import Caller
from rag.answering import Answerer
from rag.assembly import Engine
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine
from tests.live import serving


@dataclass
class StoreServer:
    """A server that runs. Whoever is put into `caller` is who calls, whatever its key."""

    url: str
    engine: Engine
    callers: list[Caller]

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @contextmanager
    def calling_as(self, caller: Caller) -> Iterator[None]:
        """Let requests be those of another caller."""
        self.callers.append(caller)
        yield
        self.callers.pop()


class _As:
    """Stands behind the guard."""

    def __init__(self, app: ASGIApp, callers: list[Caller]) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._callers:
            scope.setdefault("state", {})["caller"] = self._callers[-1]
        await self._app(scope, receive, send)


@contextmanager
def serving_vector_stores(folder: Path, said: str = "Yes.") -> Iterator[StoreServer]:
    """Serve one store that a folder was ingested into, and whatever is made besides; answers are what is `said`."""
    opened: list[Engine] = []
    callers: list[Caller] = []
    docs = folder / "docs"
    docs.mkdir(parents=True)
    (docs / "travel notes.txt").write_text("Trains are booked in second class.\n")

    @asynccontextmanager
    async def opening(settings: Settings) -> AsyncIterator[Live]:
        with fake_engine(folder / "data") as engine:
            await Ingestor(engine).run([docs], "notes")
            opened.append(engine)
            answerer = Answerer(engine.retriever, ScriptedChatModel(said), settings.chat)
            live = Live(engine, answerer)
            async with live.worker:
                yield live

    app = create_app(load_settings({"data_dir": folder / "data"}), opening)
    # Added first and so called last, behind the guard, which has put its own caller there.
    app.user_middleware.append(type(app.user_middleware[0])(_As, callers=callers))
    with serving(app) as url:
        yield StoreServer(url, opened[0], callers)


def upload(api: openai.OpenAI, name: str, text: str) -> str:
    """The id of an uploaded text."""
    return api.files.create(file=(name, text.encode()), purpose="assistants").id


def settled(api: openai.OpenAI, store: VectorStore, file_id: str) -> VectorStoreFile:
    """The file, once it is no longer in progress."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = api.vector_stores.files.retrieve(file_id, vector_store_id=store.id)
        if found.status != "in_progress":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{file_id} is still in progress")
