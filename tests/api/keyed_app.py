"""The whole application over fakes, without a network: keys, tenants, and the objects that they make through HTTP."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.app import create_app
from api.dependencies import Live
from rag.access import DEFAULT_TENANT, Scope
from rag.answering import Answerer
from rag.assembly import Engine
from rag.ledger.keys import ApiKey
from rag.protocols import ChatModel, ChunkStore
from rag.settings import Settings, load_settings
from tests.fakes import ScriptedChatModel, fake_engine

ASKED = "Which class are trains booked in?"
# Every client has an address of its own, so that one's wrong keys are not another's.
_addresses = itertools.count(1)


@dataclass
class KeyedApp:
    """An application that runs, and clients of it."""

    app: FastAPI
    engine: Engine
    secrets: dict[str, str] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)

    def make_key(
        self,
        name: str,
        scope: Scope = "read",
        *,
        tenant: str = DEFAULT_TENANT,
        stores: Collection[str] | None = None,
        groups: Collection[str] | None = None,
    ) -> ApiKey:
        """A key that requests can be made with by its name; `stores` are ids of the ledger."""
        key, secret = self.engine.keys.create(name, scope=scope, tenant=tenant, store_ids=stores, groups=groups)
        self.keys[name], self.secrets[name] = key, secret
        return key

    @asynccontextmanager
    async def client(self, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """A client of a new address; `key` is the name of one, or itself a key."""
        secret = None if key is None else self.secrets.get(key, key)
        number = next(_addresses)
        transport = httpx.ASGITransport(
            self.app,
            raise_app_exceptions=False,
            client=(f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1),
        )
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            yield client

    async def call(self, key: str | None, method: str, path: str, **request: Any) -> httpx.Response:
        """One request."""
        async with self.client(key) as client:
            return await client.request(method, path, **request)

    async def made(self, key: str | None, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The object that a request brings, which must succeed."""
        reply = await self.call(key, method, path, **request)
        assert reply.status_code == 200, (key, method, path, reply.text)
        found: dict[str, Any] = reply.json()
        return found

    async def upload(self, key: str | None, text: str, name: str = "notes.txt") -> str:
        """The id of an upload."""
        sent = {"files": {"file": (name, text.encode())}, "data": {"purpose": "assistants"}}
        return str((await self.made(key, "POST", "/v1/files", **sent))["id"])

    async def attach(self, key: str | None, store: str, file_id: str, **more: Any) -> None:
        """Put an upload into a store, and wait until it has been read."""
        path = f"/v1/vector_stores/{store}/files"
        await self.made(key, "POST", path, json={"file_id": file_id, **more})
        assert await self.settled(key, f"{path}/{file_id}") == "completed"

    async def settled(self, key: str | None, path: str) -> str:
        """The status of a file or a batch, once it is no longer in progress."""
        for _ in range(3000):
            status = str((await self.made(key, "GET", path))["status"])
            if status != "in_progress":
                return status
            await asyncio.sleep(0.02)
        raise AssertionError(f"{path} is still in progress")


@asynccontextmanager
async def keyed_app(
    folder: Path,
    model: ChatModel | None = None,
    vectors: ChunkStore | None = None,
    change: Callable[[Engine], Engine] = lambda engine: engine,
    **server: Any,
) -> AsyncIterator[KeyedApp]:
    """Open the application; `server` are settings of the API."""
    with fake_engine(folder / "data", vectors=vectors) as opened:
        engine = change(opened)

        @asynccontextmanager
        async def opening(settings: Settings) -> AsyncIterator[Live]:
            answerer = Answerer(engine.retriever, model or ScriptedChatModel("Trains run."), settings.chat)
            live = Live(engine, answerer)
            async with live.worker:
                yield live

        app = create_app(load_settings({"data_dir": folder / "data", "server": server}), opening)
        async with app.router.lifespan_context(app):
            yield KeyedApp(app, engine)
