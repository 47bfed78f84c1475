"""Three tenants do what they like over HTTP, in any order: nobody ever sees a word of another's.

Every text has a word that stands in no other one. A model of who may read what says which of them a response may have;
all of its bytes are searched for the others.
"""

import asyncio
import os
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.access import Caller
from rag.assembly import Engine
from rag.backends.vectors.memory import MemoryChunkStore
from rag.documents import SparseVector
from rag.filters import Filter
from rag.ledger.stores import Store, Stores
from rag.protocols import CandidateLists
from tests.api.keyed_app import KeyedApp, keyed_app
from tests.fakes import DIMENSION

TENANTS = ("alpha", "beta", "gamma")
GROUPS = ("board", "staff")
STEPS = int(os.environ.get("TENANT_STEPS", "20000"))
V = "/v1/vector_stores"


@dataclass
class Text:
    """An upload: its secret word, whose it is, and which stores have it for which groups."""

    word: str
    tenant: str
    key: str
    file_id: str
    stores: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass
class Key:
    """A key as the model knows it; `stores` are public ids."""

    name: str
    tenant: str
    stores: set[str] | None
    groups: frozenset[str] | None

    def reads(self, groups: Collection[str]) -> bool:
        return self.groups is None or not groups or bool(self.groups.intersection(groups))


class Tenants:
    """The application, and the model of what each key may see."""

    def __init__(self, served: KeyedApp, seed: int) -> None:
        self.served = served
        self.random = random.Random(seed)
        self.keys: list[Key] = []
        self.stores: dict[str, str] = {}  # public id to tenant
        self.texts: list[Text] = []
        self.asked: dict[str, list[tuple[str, str, set[str]]]] = {}  # by key: kind, id, what it was allowed to say
        self.found = 0
        self.drawn = 0

    # --- what may be seen

    def sees_store(self, key: Key, store: str) -> bool:
        return store in key.stores if key.stores is not None else self.stores.get(store) == key.tenant

    def allowed(self, key: Key) -> set[str]:
        """The words that a response to this key may have."""
        seen = {word for _, _, words in self.asked.get(key.name, ()) for word in words}
        for text in self.texts:
            shares = any(self.sees_store(key, store) and key.reads(groups) for store, groups in text.stores.items())
            free = key.stores is None and key.groups is None and text.tenant == key.tenant
            if shares or free or text.key == key.name:
                seen.add(text.word)
        return seen

    def searchable(self, key: Key, store: str) -> set[str]:
        return {t.word for t in self.texts if store in t.stores and key.reads(t.stores[store])}

    async def call(self, key: Key, method: str, path: str, **request: Any) -> httpx.Response:
        may_say = self.allowed(key)
        reply = await self.served.call(key.name, method, path, **request)
        assert reply.status_code < 500, (method, path, reply.text)
        for text in self.texts:
            if text.word in reply.text:
                assert text.word in may_say, f"{key} was told of {text} by {method} {path}: {reply.text[:500]}"
                self.found += 1
        return reply

    # --- what they do

    def any_key(self) -> Key:
        return self.random.choice(self.keys)

    def any_store(self, key: Key) -> str | None:
        """One that it sees as a rule, and often one that it does not."""
        seen = [store for store in self.stores if self.sees_store(key, store)]
        return self.random.choice(seen if seen and self.random.random() < 0.6 else list(self.stores) or [""]) or None

    async def make_key(self) -> None:
        tenant = self.random.choice(TENANTS)
        bound = self.random.random() < 0.4
        stores = set(self.random.sample(sorted(self.stores), min(len(self.stores), 2))) if bound else None
        groups = frozenset({self.random.choice(GROUPS)}) if self.random.random() < 0.4 else None
        name = f"key{len(self.keys)}"
        ids = None if stores is None else [self.identity(store) for store in stores]
        self.served.make_key(name, "admin", tenant=tenant, stores=ids, groups=groups)
        self.keys.append(Key(name, tenant, stores, groups))

    def identity(self, public_id: str) -> str:
        return self.served.engine.stores.identity(public_id)

    async def make_store(self) -> None:
        key = self.any_key()
        reply = await self.call(key, "POST", V, json={"name": "notes"})
        store = reply.json()["id"]
        self.stores[store] = key.tenant
        if key.stores is not None:
            key.stores.add(store)

    async def upload(self) -> None:
        key, word = self.any_key(), f"secret{self.drawn:05d}x"
        self.drawn += 1
        body = f"Trains of {word} are booked in second class.\n".encode()
        sent = {"files": {"file": (f"{word}.txt", body)}, "data": {"purpose": "assistants"}}
        file_id = (await self.served.call(key.name, "POST", "/v1/files", **sent)).json()["id"]
        self.texts.append(Text(word, key.tenant, key.name, file_id))

    async def attach(self) -> None:
        key = self.any_key()
        store = self.any_store(key)
        if not self.texts or store is None:
            return
        mine = [text for text in self.texts if text.key == key.name]
        text = self.random.choice(mine if mine and self.random.random() < 0.7 else self.texts)
        groups = [self.random.choice(GROUPS)] if self.random.random() < 0.5 else []
        asked = {"file_id": text.file_id, "groups": groups}
        reply = await self.call(key, "POST", f"{V}/{store}/files", json=asked)
        if reply.status_code != 200:
            is_member = key.groups is None or key.groups.issuperset(groups)
            assert not (self.sees_store(key, store) and text.key == key.name and is_member), reply.text
            return
        assert self.sees_store(key, store), "attached to another's store"
        assert text.word in self.allowed(key), "attached another's file"
        text.stores[store] = frozenset(groups)
        await self.served.settled(key.name, f"{V}/{store}/files/{text.file_id}")

    async def detach(self) -> None:
        key, held = self.any_key(), [(text, store) for text in self.texts for store in text.stores]
        if not held:
            return
        text, store = self.random.choice(held)
        reply = await self.call(key, "DELETE", f"{V}/{store}/files/{text.file_id}")
        if reply.status_code == 200:
            assert self.sees_store(key, store)
            assert key.reads(text.stores[store])
            del text.stores[store]

    async def search(self) -> None:
        key = self.any_key()
        store = self.any_store(key)
        if store is None:
            return
        query = {"query": "Which class are trains booked in?", "max_num_results": 50}
        reply = await self.call(key, "POST", f"{V}/{store}/search", json=query)
        if not self.sees_store(key, store):
            assert reply.status_code == 404
            return
        said = {text.word for text in self.texts if text.word in reply.text}
        assert said == self.searchable(key, store), "a search must find what it may, and nothing else"

    async def explain(self) -> None:
        key = self.any_key()
        store = self.any_store(key)
        if store is not None:
            expected = self.random.choice(self.texts).file_id if self.texts else "nothing"
            body = {"question": "trains", "stores": [store], "expected": expected, "groups": list(GROUPS)}
            await self.call(key, "POST", "/v1/search/explain", json=body)

    async def ask(self) -> None:
        key = self.any_key()
        store = self.any_store(key)
        if store is None:
            return
        said = [{"role": "user", "content": "Which class are trains booked in?"}]
        words = self.searchable(key, store)
        if self.random.random() < 0.5:
            body: dict[str, Any] = {"model": f"quoth/{store}", "messages": said, "conversation": "new"}
            reply = await self.call(key, "POST", "/v1/chat/completions", json=body)
            kind = "conversation"
        else:
            tool = {"type": "file_search", "vector_store_ids": [store]}
            body = {
                "model": "quoth",
                "input": said[0]["content"],
                "tools": [tool],
                "include": ["file_search_call.results"],
            }
            reply = await self.call(key, "POST", "/v1/responses", json=body)
            kind = "id"
        if reply.status_code == 200:
            assert self.sees_store(key, store)
            where = "conversations" if kind == "conversation" else "responses"
            self.asked.setdefault(key.name, []).append((where, reply.json()[kind], words))

    async def read_back(self) -> None:
        owner, key = self.any_key(), self.any_key()
        if not self.asked.get(owner.name):
            return
        where, identity, words = self.random.choice(self.asked[owner.name])
        is_free = key.stores is None and key.groups is None and key.tenant == owner.tenant
        reply = await self.served.call(key.name, "GET", f"/v1/{where}/{identity}")
        assert reply.status_code == (200 if key is owner or is_free else 404)
        if not (key is owner or is_free):
            assert not any(word in reply.text for word in words)

    async def list_all(self) -> None:
        key = self.any_key()
        path = self.random.choice(["/v1/files", V, "/v1/models", "/v1/documents", "/v1/feedback"])
        store = self.any_store(key)
        query = {"store": store} if path == "/v1/documents" and store else {}
        reply = await self.call(key, "GET", path, params=query)
        if path in (V, "/v1/models"):
            for public_id in self.stores:
                assert (public_id in reply.text) <= self.sees_store(key, public_id)
        if path == V and reply.json()["has_more"] is False:
            listed = {each["id"] for each in reply.json()["data"]}
            assert listed == {store for store in self.stores if self.sees_store(key, store)}

    async def read_file(self) -> None:
        key = self.any_key()
        if self.texts:
            text = self.random.choice(self.texts)
            end = self.random.choice(["", "/content"])
            reply = await self.call(key, "GET", f"/v1/files/{text.file_id}{end}")
            assert reply.status_code == 200 or text.word not in reply.text

    async def delete_file(self) -> None:
        key = self.any_key()
        if self.texts:
            text = self.random.choice(self.texts)
            reply = await self.call(key, "DELETE", f"/v1/files/{text.file_id}")
            if reply.status_code == 200:
                assert text.tenant == key.tenant
                self.texts.remove(text)

    async def delete_store(self) -> None:
        key = self.any_key()
        store = self.any_store(key)
        if store is None or len(self.stores) < 3:
            return
        reply = await self.call(key, "DELETE", f"{V}/{store}")
        assert (reply.status_code == 200) == self.sees_store(key, store)
        if reply.status_code == 200:
            del self.stores[store]
            for bound in self.keys:
                if bound.stores is not None:
                    bound.stores.discard(store)
            for text in self.texts:
                text.stores.pop(store, None)
            # Conversations and responses about it go along; what they quoted must not be seen again either.
            self.asked.clear()

    async def settle(self) -> None:
        """To begin with, each tenant has a store, two keys, and texts for everybody and for each group."""
        for tenant in TENANTS:
            self.keys = [Key(tenant, tenant, None, None)]
            self.served.make_key(tenant, "admin", tenant=tenant)
            await self.make_store()
            (store,) = (store for store in self.stores if self.stores[store] == tenant)
            for groups in ([], ["board"], ["staff"]):
                await self.upload()
                text = self.texts[-1]
                await self.served.attach(tenant, store, text.file_id, groups=groups)
                text.stores[store] = frozenset(groups)
        self.keys = []
        for tenant in TENANTS:
            self.keys.append(Key(tenant, tenant, None, None))
            self.served.make_key(f"{tenant}-staff", "admin", tenant=tenant, groups=["staff"])
            self.keys.append(Key(f"{tenant}-staff", tenant, None, frozenset({"staff"})))

    async def step(self) -> None:
        doing = self.random.choices(
            [
                self.search, self.explain, self.ask, self.read_back, self.list_all, self.read_file, self.upload,
                self.attach, self.detach, self.make_store, self.make_key, self.delete_file, self.delete_store,
            ],
            [30, 8, 6, 8, 14, 10, 8, 8, 2, 2, 1 if len(self.keys) < 24 else 0, 2, 1],
        )[0]  # fmt: skip
        await doing()


async def run(
    folder: Path, steps: int, seed: int, vectors: MemoryChunkStore | None = None, change: Any = lambda engine: engine
) -> Tenants:
    async with keyed_app(folder, vectors=vectors, change=change) as served:
        tenants = Tenants(served, seed)
        await tenants.settle()
        for _ in range(steps):
            await tenants.step()
        return tenants


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nobody_sees_a_word_of_another_s(tmp_path: Path, seed: int) -> None:
    tenants = asyncio.run(run(tmp_path, 100, seed))
    assert tenants.found > 10, "words were found where they may be"


@pytest.mark.long
def test_nobody_sees_a_word_of_another_s_in_many_steps(tmp_path: Path) -> None:
    for seed in range(STEPS // 1000):
        folder = tmp_path / str(seed)
        folder.mkdir()
        tenants = asyncio.run(run(folder, 1000, 1000 + seed))
        assert tenants.found > 100


class OpenChunkStore(MemoryChunkStore):
    """A store layer without the walls between stores and groups."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.known: set[str] = set()

    async def upsert(self, store_id: str, points: Any) -> None:
        self.known.add(store_id)
        await super().upsert(store_id, points)

    async def search(
        self,
        store_id: str,
        dense: Any,
        sparse: SparseVector | None,
        limit: int,
        where: Filter | None = None,
        groups: frozenset[str] | None = None,
        together: Sequence[str] = (),
    ) -> CandidateLists:
        lists = [await super(OpenChunkStore, self).search(each, dense, sparse, limit, where) for each in self.known]
        return CandidateLists(
            tuple(each for found in lists for each in found.dense),
            tuple(each for found in lists for each in found.sparse),
        )


class OpenStores(Stores):
    """A ledger that shows every store to everybody."""

    def visible(self, caller: Caller) -> list[Store]:
        every = {tenant: super(OpenStores, self).visible(Caller(tenant=tenant)) for tenant in TENANTS}
        return [replace(store, tenant=caller.tenant) for stores in every.values() for store in stores]


def _with_open_stores(engine: Engine) -> Engine:
    return replace(engine, stores=OpenStores(engine.stores._engine))


def test_without_the_filter_of_the_store_layer_the_test_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="was told of"):
        for seed in range(5):
            (tmp_path / str(seed)).mkdir()
            asyncio.run(run(tmp_path / str(seed), 100, seed, vectors=OpenChunkStore()))


def test_without_the_wall_between_tenants_the_test_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="was told of"):
        for seed in range(5):
            (tmp_path / str(seed)).mkdir()
            asyncio.run(run(tmp_path / str(seed), 100, seed, change=_with_open_stores))
