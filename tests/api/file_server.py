"""A server to be killed: `python -m tests.api.file_server DATA` prints its port and serves until then."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from api.app import create_app
from api.dependencies import Live
from api.housekeeping import kept_house
from rag.answering import Answerer
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine


@asynccontextmanager
async def opening(settings: Settings) -> AsyncIterator[Live]:
    with fake_engine(settings.data_dir) as engine:
        await engine.open_store("default")
        live = Live(engine, Answerer(engine.retriever, ScriptedChatModel("Yes."), settings.chat))
        async with kept_house(live):
            yield live


if __name__ == "__main__":
    app = create_app(load_settings({"data_dir": Path(sys.argv[1])}), opening)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
