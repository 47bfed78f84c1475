"""A live server over a folder, an upload that a group may read, and another's store; requests come from any caller."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.dependencies import Live
from ingest.pipeline import Ingestor
from rag.access import Caller
from rag.answering import Answerer
from rag.assembly import Engine
from rag.protocols import ChatModel
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine
from tests.ingest.uploads import attach, upload, work
from tests.live import serving

TRAVEL = (
    "# Travel\n\n## Trains\n\nTrains are booked in second class.\n\n## Flights\n\nFlights need a manager's consent.\n"
)
BOARD = "The board flies first class, and trains are for others.\n"
PEOPLE = "Employees get thirty days of annual leave.\n"


@dataclass
class LibraryServer:
    """A server that runs. `callers` are those that requests can name."""

    url: str
    engine: Engine
    docs: Path
    model: ScriptedChatModel
    live: Live
    callers: dict[str, Caller] = field(default_factory=dict)

    def get(self, path: str, caller: str = "", **params: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", params=params, headers={"x-as": caller})

    def post(self, path: str, body: Any, caller: str = "") -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, headers={"x-as": caller})

    def document(self, name: str, store: str = "default") -> str:
        """The id of the document whose URI ends in this name."""
        owner = self.engine.stores.get(store)
        (found,) = (each.id for each in self.engine.documents.all(owner.id) if each.uri.endswith(name))
        return found


class _As:
    """Stands behind the guard, and puts another caller where that has put its own."""

    def __init__(self, app: ASGIApp, callers: dict[str, Caller]) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = dict(scope.get("headers", ())).get(b"x-as", b"").decode()
        if scope["type"] == "http" and name:
            scope["state"]["caller"] = self._callers[name]
        await self._app(scope, receive, send)


@contextmanager
def serving_library(folder: Path, model: ChatModel | None = None) -> Iterator[LibraryServer]:
    """Serve the stores `default` and `people`; the file `board.txt` is of the group `board`."""
    model = model or ScriptedChatModel("Trains are booked in second class.")
    docs = folder / "docs"
    (docs / "people").mkdir(parents=True)
    (docs / "travel.md").write_text(TRAVEL)
    (docs / "rooms.txt").write_text("Rooms are cleaned every day.\n")
    (docs / "people" / "leave.txt").write_text(PEOPLE)
    with fake_engine(folder / "data") as engine:
        asyncio.run(Ingestor(engine).run([docs / "travel.md", docs / "rooms.txt"], "default"))
        asyncio.run(Ingestor(engine).run([docs / "people"], "people"))
        store = engine.stores.get("default")
        attach(engine, store, upload(engine, "board.txt", BOARD), groups=["board"], attributes={"year": 2024})
        work(engine)
        callers = {
            "staff-and-board": Caller("key_x", scope="read", store_ids=frozenset({store.id})),
            "people": Caller("key_p", scope="read", store_ids=frozenset({engine.stores.get("people").id})),
            "staff": Caller("key_s", scope="read", groups=frozenset({"staff"})),
            "board": Caller("key_b", scope="read", groups=frozenset({"board"})),
        }

        lives: list[Live] = []

        @asynccontextmanager
        async def opening(settings: Settings) -> AsyncIterator[Live]:
            answerer = Answerer(engine.retriever, model, settings.chat)
            live = Live(engine, answerer)
            lives.append(live)
            yield live

        app = create_app(load_settings({"data_dir": folder / "data"}), opening)
        app.user_middleware.append(type(app.user_middleware[0])(_As, callers=callers))
        with serving(app) as url:
            yield LibraryServer(url, engine, docs, model, lives[0], callers)  # type: ignore[arg-type]
