"""Uploads in tests: an app over fakes, forms as bytes, and what lies on disk afterwards."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from api.app import create_app
from api.dependencies import Live
from ingest.uploads import sweep_leftovers
from rag.answering import Answerer
from rag.assembly import Engine
from rag.ledger.served_tables import files, store_files
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine
from tests.live import serving

MAX_UPLOAD = 3_000_000
CONTENT = b"Trains are booked in second class.\n" * 100


@contextmanager
def file_engine(data_dir: Path) -> Iterator[Engine]:
    """An engine that takes uploads of 3 MB."""
    settings = load_settings({"data_dir": data_dir, "server": {"max_upload_bytes": MAX_UPLOAD}})
    with fake_engine(data_dir) as engine:
        yield replace(engine, settings=settings)


def live_over(engine: Engine) -> Live:
    answerer = Answerer(engine.retriever, ScriptedChatModel("Yes."), engine.settings.chat)
    return Live(engine, answerer)


@contextmanager
def serving_files(engine: Engine, *, is_working: bool = False) -> Iterator[str]:
    """Serve an engine; with its worker, what is put into stores is read."""

    @asynccontextmanager
    async def opening(_: Settings) -> AsyncIterator[Live]:
        live = live_over(engine)
        async with live.worker if is_working else nullcontext():
            yield live

    with serving(create_app(engine.settings, opening)) as url:
        yield url


def emptied(engine: Engine) -> None:
    """Take every file out of an engine, so that the tests of a module can share it."""
    with engine.files._engine.begin() as connection:
        connection.execute(store_files.delete())
        connection.execute(files.delete())
    sweep_leftovers(engine.settings.data_dir, engine.files)


def on_disk(engine: Engine) -> set[str]:
    folder = engine.settings.data_dir / "files"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def form(*parts: bytes, boundary: bytes = b"b", end: bytes | None = None) -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return body + (b"--" + boundary + b"--\r\n" if end is None else end)


def part(disposition: bytes, content: bytes = b"x", *headers: bytes) -> bytes:
    lines = [b"Content-Disposition: form-data; " + disposition, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def post(url: str, body: Any, boundary: str = "b", **headers: str) -> httpx.Response:
    sent = {"content-type": f"multipart/form-data; boundary={boundary}", **headers}
    return httpx.post(f"{url}/v1/files", content=body, headers=sent, timeout=30)


PURPOSE = part(b'name="purpose"', b"assistants")
FILE = part(b'name="file"; filename="a.txt"', CONTENT)
