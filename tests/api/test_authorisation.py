"""Who may call what on what: every route of the application, with every kind of key, on what is its own, another's, or
not there. The routes come from the application, and one that is in no table fails."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from starlette.types import Message

from api.app import create_app
from api.permissions import OPEN_PATHS, PERMISSIONS, scope_of
from rag.access import SCOPES, Scope
from rag.settings import load_settings
from tests.api.keyed_app import ASKED, KeyedApp, keyed_app

SAID = [{"role": "user", "content": ASKED}]
MCP = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}


@dataclass(frozen=True)
class Call:
    """How a route is called: with ids of these kinds in its path, its query or its body."""

    kinds: tuple[str, ...] = ()
    body: Callable[..., Any] | None = None
    query: Callable[..., Any] | None = None
    form: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


STORE, FILE, BATCH, DOCUMENT = "store", "file", "batch", "document"
CONVERSATION, ANSWER, RESPONSE = "conversation", "answer", "response"
S, SF, SB = (STORE,), (STORE, FILE), (STORE, BATCH)
V = "/v1/vector_stores"

# Ids stand in a path in the order of its parameters; what comes behind them goes to `body` and `query`.
CALLS: dict[str, tuple[Call, ...]] = {
    "POST /v1/chat/completions": (
        Call(S, lambda store: {"model": f"quoth/{store}", "messages": SAID}),
        Call((STORE, CONVERSATION), lambda s, c: {"model": f"quoth/{s}", "messages": SAID, "conversation": c}),
    ),
    "GET /v1/models": (Call(),),
    "GET /v1/models/{model:path}": (Call(S),),
    "POST /v1/embeddings": (Call((), lambda: {"model": "bag-of-words", "input": "trains"}),),
    "POST /v1/responses": (
        Call(S, lambda store: {"model": f"quoth/{store}", "input": ASKED}),
        Call(S, lambda store: {
            "model": "quoth", "input": ASKED, "tools": [{"type": "file_search", "vector_store_ids": [store]}],
        }),
        Call((STORE, RESPONSE), lambda s, r: {"model": f"quoth/{s}", "input": ASKED, "previous_response_id": r}),
    ),
    "GET /v1/responses/{}": (Call((RESPONSE,)),),
    "DELETE /v1/responses/{}": (Call((RESPONSE,)),),
    "GET /v1/responses/{}/input_items": (Call((RESPONSE,)),),
    "GET /v1/conversations": (Call(), Call((CONVERSATION,), query=lambda c: {"after": c})),
    "GET /v1/conversations/{}": (Call((CONVERSATION,)),),
    "DELETE /v1/conversations/{}": (Call((CONVERSATION,)),),
    "POST /v1/feedback": (Call((ANSWER,), lambda answer: {"answer_id": answer, "rating": "up"}),),
    "GET /v1/feedback": (Call(), Call(S, query=lambda store: {"model": f"quoth/{store}"})),
    "POST /v1/files": (Call(form=True),),
    "GET /v1/files": (Call(), Call((FILE,), query=lambda f: {"after": f})),
    "GET /v1/files/{}": (Call((FILE,)),),
    "GET /v1/files/{}/content": (Call((FILE,)),),
    "DELETE /v1/files/{}": (Call((FILE,)),),
    f"POST {V}": (Call((), lambda: {"name": "new"}), Call((FILE,), lambda f: {"file_ids": [f]})),
    f"GET {V}": (Call(), Call(S, query=lambda s: {"after": s}), Call(S, query=lambda s: {"before": s})),
    f"GET {V}/{{}}": (Call(S),),
    f"POST {V}/{{}}": (Call(S, lambda: {"name": "renamed"}),),
    f"DELETE {V}/{{}}": (Call(S),),
    f"POST {V}/{{}}/search": (Call(S, lambda: {"query": ASKED}),),
    f"POST {V}/{{}}/files": (Call(SF, lambda f: {"file_id": f}),),
    f"GET {V}/{{}}/files": (Call(S), Call(SF, query=lambda f: {"after": f})),
    f"GET {V}/{{}}/files/{{}}": (Call(SF),),
    f"POST {V}/{{}}/files/{{}}": (Call(SF, lambda: {"attributes": {"year": 2026}}),),
    f"DELETE {V}/{{}}/files/{{}}": (Call(SF),),
    f"GET {V}/{{}}/files/{{}}/content": (Call(SF),),
    f"POST {V}/{{}}/file_batches": (Call(SF, lambda f: {"file_ids": [f]}),),
    f"GET {V}/{{}}/file_batches/{{}}": (Call(SB),),
    f"GET {V}/{{}}/file_batches/{{}}/files": (Call(SB),),
    f"GET {V}/{{}}/file_batches/{{}}/events": (Call(SB),),
    f"POST {V}/{{}}/file_batches/{{}}/cancel": (Call(SB),),
    "POST /v1/search/explain": (
        Call(S, lambda store: {"question": ASKED, "stores": [store]}),
        Call((STORE, DOCUMENT), lambda s, d: {"question": ASKED, "stores": [s], "expected": d}),
        Call(SF, lambda s, f: {"question": ASKED, "stores": [s], "expected": f}),
    ),
    "GET /v1/documents": (
        Call(S, query=lambda store: {"store": store}),
        Call((STORE, DOCUMENT), query=lambda s, d: {"store": s, "after": d}),
    ),
    "GET /v1/documents/{}": (Call((DOCUMENT,)),),
    "GET /v1/documents/{}/original": (Call((DOCUMENT,)),),
    "GET /v1/doctor": (Call(S, query=lambda store: {"store": store}),),
    "POST /mcp": (
        Call(S, lambda store: tool("search_documents", query=ASKED, store=store), headers=MCP),
        Call(S, lambda store: tool("ask", question=ASKED, store=store), headers=MCP),
        Call(S, lambda store: tool("list_documents", store=store), headers=MCP),
        Call((DOCUMENT,), lambda document: tool("get_document", document_id=document), headers=MCP),
    ),
    "GET /metrics": (Call(),),
    "GET /openapi.json": (Call(),),
}  # fmt: skip

# What else than 404 another's object and a missing one are answered with: a result without a trace of either, or a
# cursor that leads nowhere.
OTHERWISE = {"POST /mcp": {200}, "POST /v1/search/explain": {200, 404}, "GET /v1/documents": {400, 404}}

UUID = "00000000-0000-4000-8000-000000000000"
MISSING = {
    STORE: "vs_" + "0" * 32, FILE: "file-" + "0" * 24, BATCH: "vsfb_" + "0" * 32, DOCUMENT: UUID, CONVERSATION: UUID,
    ANSWER: UUID, RESPONSE: "resp_" + "0" * 48,
}  # fmt: skip


def shape(route: str) -> str:
    """A route with its parameters unnamed."""
    return route if route.endswith(":path}") else re.sub(r"\{\w+\}", "{}", route)


def routes() -> list[str]:
    """Every route of the application that a key may be needed for."""
    app = create_app(load_settings())
    found = {
        f"{method} {context.path}"
        for context in iter_route_contexts(app.routes)
        for method in context.methods or {"*"}
        if context.path not in OPEN_PATHS and method != "HEAD"
    }
    return sorted(found)


def test_every_route_is_classified_and_called() -> None:
    known = {shape(route) for granted in PERMISSIONS.values() for route in granted}
    for route in routes():
        assert shape(route) in known, f"{route} is in no scope of api/permissions.py"
        assert shape(route) in CALLS, f"{route} is not called by this test"
    assert known == {shape(route) for route in routes()}, "a permission without a route"
    assert known == set(CALLS)


def test_what_is_not_in_the_table_is_not_there_but_for_admins(tmp_path: Path) -> None:
    async def go() -> None:
        async with keyed_app(tmp_path) as served:

            @served.app.get("/v1/forgotten")
            async def forgotten() -> str:
                return "reached"

            for scope in SCOPES:
                served.make_key(scope, scope)
            seen = [(await served.call(scope, "GET", "/v1/forgotten")).status_code for scope in SCOPES]
            assert seen == [404, 404, 200]
            wrong_method = await served.call("read", "PUT", "/v1/files")
            assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "GET, POST")

    asyncio.run(go())


Ids = dict[str, str]
KEYS: dict[str, tuple[Scope, str]] = {
    "read": ("read", "alpha"), "write": ("write", "alpha"), "admin": ("admin", "alpha"), "bound": ("write", "alpha"),
    "beta": ("admin", "beta"),
}  # fmt: skip
# Whose objects are another's: of another tenant, or, for a key that is bound to a store, of another store.
ANOTHERS = {"read": "beta", "write": "beta", "admin": "beta", "bound": "write", "beta": "write"}


class World:
    """Objects of every kind, made through HTTP by whoever may."""

    def __init__(self, served: KeyedApp) -> None:
        self.served = served
        self._ids: dict[tuple[str, str], str] = {}

    async def open(self) -> None:
        for name, (scope, tenant) in KEYS.items():
            self.served.make_key(name, scope, tenant=tenant, stores=() if name == "bound" else None)
        self.served.make_key("revoked", "admin", tenant="alpha")
        self.served.engine.keys.revoke(self.served.keys["revoked"].id)

    async def own(self, key: str, kind: str, *, is_fresh: bool = False) -> str:
        """An object of this kind that a key sees; the same one each time unless it is to be `fresh`."""
        shared = kind in (STORE, FILE, BATCH, DOCUMENT)
        maker = "write" if shared and key in ("read", "admin") else key
        if is_fresh or (maker, kind) not in self._ids:
            self._ids[maker, kind] = await getattr(self, f"_make_{kind}")(maker)
        return self._ids[maker, kind]

    async def _make_store(self, key: str) -> str:
        store = str((await self.served.made(key, "POST", V, json={"name": f"of {key}"}))["id"])
        self._ids[key, STORE] = store
        for kind in (FILE, BATCH, DOCUMENT):
            self._ids.pop((key, kind), None)
        return store

    async def _make_file(self, key: str) -> str:
        file_id = await self.served.upload(key, f"Trains of {key} are booked in second class.\n")
        await self.served.attach(key, await self.own(key, STORE), file_id)
        return file_id

    async def _make_batch(self, key: str) -> str:
        path = f"{V}/{await self.own(key, STORE)}/file_batches"
        file_id = await self.served.upload(key, f"Batches of {key}.\n", "batch.txt")
        batch = str((await self.served.made(key, "POST", path, json={"file_ids": [file_id]}))["id"])
        await self.served.settled(key, f"{path}/{batch}")
        return batch

    async def _make_document(self, key: str) -> str:
        await self.own(key, FILE)
        query = {"store": await self.own(key, STORE)}
        return str((await self.served.made(key, "GET", "/v1/documents", params=query))["data"][0]["id"])

    async def _make_conversation(self, key: str) -> str:
        return str((await self._answered(key))["conversation"])

    async def _make_answer(self, key: str) -> str:
        return str((await self._answered(key))["answer_id"])

    async def _answered(self, key: str) -> dict[str, Any]:
        await self.own(key, FILE)
        body = {"model": f"quoth/{await self.own(key, STORE)}", "messages": SAID, "conversation": "new"}
        return await self.served.made(key, "POST", "/v1/chat/completions", json=body)

    async def _make_response(self, key: str) -> str:
        await self.own(key, FILE)
        body = {"model": f"quoth/{await self.own(key, STORE)}", "input": ASKED}
        return str((await self.served.made(key, "POST", "/v1/responses", json=body))["id"])


async def send(served: KeyedApp, key: str | None, route: str, call: Call, ids: list[str]) -> httpx.Response:
    """Call a route with ids in the places that it has for them."""
    method, _, path = route.partition(" ")
    left = list(ids)
    if path.endswith("{model:path}"):
        path = path.replace("{model:path}", f"quoth/{left.pop(0)}")
    while "{}" in path:
        path = path.replace("{}", left.pop(0), 1)
    request: dict[str, Any] = {"headers": call.headers}
    if call.body:
        request["json"] = call.body(*left)
    if call.query:
        request["params"] = call.query(*left)
    if call.form:
        request |= {"files": {"file": ("a.txt", b"words")}, "data": {"purpose": "assistants"}}
    return await served.call(key, method, path, **request)


def told(reply: httpx.Response, ids: list[str]) -> tuple[int, str, list[tuple[str, str]]]:
    """Everything that a response tells, but for the ids that were asked for and what every response draws anew."""
    text = reply.text
    for number, identity in enumerate(ids):
        text = text.replace(identity, f"<{number}>")
    # How long the stages took is nobody's secret, and never the same.
    text, timed = re.subn(r'"milliseconds":\{[^}]*\}', "", text)
    drawn = {"x-request-id", "date"} | ({"content-length"} if timed else set())
    headers = [item for item in sorted(reply.headers.items()) if item[0] not in drawn]
    return reply.status_code, text, headers


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with keyed_app(folder) as served:
        found = World(served)
        await found.open()
        yield found


def test_without_a_key_that_opens_nothing_is_told(tmp_path: Path) -> None:
    async def go() -> set[tuple[int, str]]:
        async with world(tmp_path) as made:
            ids = {kind: [MISSING[kind], await made.own("write", kind)] for kind in MISSING}
            seen = set()
            for route, calls in CALLS.items():
                for call in calls:
                    for key, which in itertools.product((None, "wrong", "revoked"), (0, 1)):
                        reply = await send(made.served, key, route, call, [ids[kind][which] for kind in call.kinds])
                        assert reply.headers["www-authenticate"] == "Bearer"
                        seen.add((reply.status_code, reply.text))
            return seen

    ((status, text),) = asyncio.run(go())
    assert (status, json.loads(text)["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("key", list(KEYS))
def test_every_route_on_what_is_its_own_another_s_and_missing(tmp_path: Path, key: str) -> None:
    async def go() -> int:
        cells = 0
        async with world(tmp_path) as made:
            for route, calls in sorted(CALLS.items(), key=lambda item: item[0].startswith("DELETE")):
                for call in calls:
                    cells += await check(made, key, route, call)
        return cells

    assert asyncio.run(go()) >= 2 * len(CALLS)


async def check(made: World, key: str, route: str, call: Call) -> int:
    """Call a route on what is the key's own, then with each id in turn another's and missing."""
    method, _, path = route.partition(" ")
    needed = scope_of(method, path.replace("{}", "x"))
    assert needed is not None
    for kind in call.kinds:
        await made.own(key, kind, is_fresh=method == "DELETE")
    own = [await made.own(key, kind) for kind in call.kinds]
    if SCOPES.index(needed) > SCOPES.index(KEYS[key][0]):
        gone = [MISSING[kind] for kind in call.kinds]
        seen = [await send(made.served, key, route, call, ids) for ids in (own, gone)]
        assert {(reply.status_code, reply.json()["error"]["code"]) for reply in seen} == {(403, "insufficient_scope")}
        assert seen[0].text == seen[1].text, (key, route)
        return 2
    for place, kind in enumerate(call.kinds):
        theirs = await made.own(ANOTHERS[key], kind)
        replies = []
        for identity in (theirs, MISSING[kind]):
            ids = [*own[:place], identity, *own[place + 1 :]]
            reply = await send(made.served, key, route, call, ids)
            replies.append(told(reply, [identity]))
            assert reply.status_code in OTHERWISE.get(route, {404}), (key, route, kind, reply.text)
        assert replies[0] == replies[1], (key, route, kind)
    reply = await send(made.served, key, route, call, own)
    assert reply.status_code == 200, (key, route, call.kinds, reply.text)
    return 1 + 2 * len(call.kinds)


@pytest.mark.parametrize("status", [401, 403, 429])
def test_what_is_refused_is_not_read(tmp_path: Path, status: int) -> None:
    """The guard decides by the head of a request: a spy in the body's place is not asked."""

    async def go() -> tuple[int, int]:
        async with keyed_app(tmp_path, requests_per_minute=1) as served:
            served.make_key("reader", "read")
            key = "wrong" if status == 401 else served.secrets["reader"]
            if status == 429:
                assert (await served.call("reader", "GET", "/v1/models")).status_code == 200
            path = "/v1/vector_stores" if status == 403 else "/v1/chat/completions"
            reads, sent = 0, []

            async def receive() -> Message:
                nonlocal reads
                reads += 1
                return {"type": "http.request", "body": b"{}", "more_body": False}

            async def send(message: Message) -> None:
                sent.append(message)

            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
                "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
                "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())],
                "client": ("10.9.9.9", 1), "server": ("localhost", 80),
            }  # fmt: skip
            await served.app(scope, receive, send)
            return sent[0]["status"], reads

    assert asyncio.run(go()) == (status, 0)
