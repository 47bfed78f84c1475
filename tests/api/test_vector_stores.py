"""/v1/vector_stores through the official client and by raw requests, against a live server."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import update

from rag.access import Caller
from rag.ledger.tables import stores
from tests.api.vector_store_server import StoreServer, serving_vector_stores, settled, upload


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with serving_vector_stores(tmp_path_factory.mktemp("stores")) as found:
        yield found


def post(server: StoreServer, path: str, body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/vector_stores{path}", json=body, timeout=30)


def test_a_store_from_its_making_to_its_end(server: StoreServer) -> None:
    with server.client() as api:
        made = api.vector_stores.create(
            name="Handbooks", description="to read", metadata={"team": "hr"},
            expires_after={"anchor": "last_active_at", "days": 2},
        )  # fmt: skip
        assert made.id.startswith("vs_")
        assert (made.object, made.name, made.status, made.usage_bytes) == ("vector_store", "Handbooks", "completed", 0)
        assert (made.metadata, made.file_counts.total) == ({"team": "hr"}, 0)
        assert made.expires_after is not None
        assert made.expires_after.days == 2
        assert made.last_active_at is not None
        assert made.expires_at == pytest.approx(made.last_active_at + 2 * 86_400, abs=1)
        assert api.vector_stores.retrieve(made.id) == made
        changed = api.vector_stores.update(made.id, name="Manuals", expires_after=None)
        assert (changed.name, changed.metadata, changed.expires_at) == ("Manuals", {"team": "hr"}, None)
        assert api.vector_stores.update(made.id, metadata=None).metadata == {}
        assert api.vector_stores.update(made.id, metadata={"a": "b"}).name == "Manuals"
        gone = api.vector_stores.delete(made.id)
        assert (gone.id, gone.deleted, gone.object) == (made.id, True, "vector_store.deleted")
        with pytest.raises(openai.NotFoundError) as missing:
            api.vector_stores.retrieve(made.id)
    assert missing.value.code == "not_found"


def test_a_store_with_files_reads_them(server: StoreServer) -> None:
    with server.client() as api:
        ids = [upload(api, f"{name}.txt", f"The {name} is kept in the cellar.") for name in ("axe", "saw")]
        made = api.vector_stores.create(name="Tools", file_ids=[*ids, ids[0]])
        assert made.file_counts.total == 2
        assert {settled(api, made, file_id).status for file_id in ids} == {"completed"}
        after = api.vector_stores.retrieve(made.id)
        assert (after.status, after.file_counts.completed, after.file_counts.total) == ("completed", 2, 2)
        assert after.usage_bytes == sum(
            file.usage_bytes for file in api.vector_stores.files.list(vector_store_id=made.id)
        )
        assert after.usage_bytes > 0
        known = server.engine.stores.find(made.id, Caller())
        api.vector_stores.delete(made.id)
        assert api.files.retrieve(ids[0]).id == ids[0]
    assert server.engine.documents.count_chunks(known.id) == 0


def test_a_store_is_not_made_with_a_file_that_is_missing(server: StoreServer) -> None:
    with server.client() as api:
        before = len(list(api.vector_stores.list(limit=100)))
        with pytest.raises(openai.NotFoundError):
            api.vector_stores.create(name="Never", file_ids=["file-000000000000000000000000"])
        assert len(list(api.vector_stores.list(limit=100))) == before


def test_stores_of_folders_are_listed_too_and_hold_no_uploads(server: StoreServer) -> None:
    with server.client() as api:
        (notes,) = [store for store in api.vector_stores.list(limit=100) if store.name == "notes"]
        assert api.vector_stores.retrieve("notes") == api.vector_stores.retrieve(notes.id)
        assert (notes.file_counts.total, notes.status) == (0, "completed")
        assert list(api.vector_stores.files.list(vector_store_id=notes.id)) == []


def test_lists_are_paged_by_the_client(server: StoreServer) -> None:
    with server.client() as api:
        made = [api.vector_stores.create(name=f"page {number}").id for number in range(5)]
        newest = [store.id for store in api.vector_stores.list(limit=2)]
        oldest = [store.id for store in api.vector_stores.list(limit=2, order="asc")]
        assert newest[:5] == made[::-1]
        assert oldest == newest[::-1]
        page = api.vector_stores.list(before=newest[3], limit=2)
        assert [store.id for store in page.data] == newest[1:3]
        for store_id in made:
            api.vector_stores.delete(store_id)


def test_an_expired_store_says_so_until_it_is_kept_again(server: StoreServer) -> None:
    with server.client() as api:
        made = api.vector_stores.create(name="Old", expires_after={"anchor": "last_active_at", "days": 1})
        long_ago = time.time() - 2 * 86_400
        with server.engine.stores._engine.begin() as connection:
            mine = stores.c.name == made.id
            connection.execute(update(stores).where(mine).values(created_at=long_ago, active_at=long_ago))
        assert api.vector_stores.retrieve(made.id).status == "expired"
        with pytest.raises(openai.BadRequestError, match="expired") as refused:
            api.vector_stores.search(made.id, query="anything")
        assert refused.value.code == "vector_store_expired"
        assert [store.name for store in server.engine.stores.expired(time.time())] == [made.id]
        api.vector_stores.update(made.id, expires_after={"anchor": "last_active_at", "days": 7})
        assert list(api.vector_stores.search(made.id, query="anything")) == []
        used = api.vector_stores.retrieve(made.id)
        assert used.last_active_at is not None
        assert used.last_active_at > time.time() - 60
        api.vector_stores.delete(made.id)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "x" * 257}, "name"),
        ({"name": 5}, "name"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "x" * 513}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after"),
        ({"expires_after": {"anchor": "last_active_at", "days": 366}}, "expires_after"),
        ({"expires_after": {"anchor": "last_active_at", "days": "5"}}, "expires_after"),
        ({"expires_after": {"anchor": "created_at", "days": 5}}, "expires_after"),
        ({"file_ids": ["file-x"] * 501}, "file_ids"),
        ({"chunking_strategy": {"type": "static"}}, "chunking_strategy"),
        ({"chunking_strategy": {"type": "other"}}, "chunking_strategy"),
        (
            {
                "chunking_strategy": {
                    "type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51}
                }
            },
            "chunking_strategy",
        ),
        ({"embedding_model": "x"}, "embedding_model"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_served_is_refused_by_name(server: StoreServer, body: Any, param: str) -> None:
    response = post(server, "", body)
    assert response.status_code == 400
    assert response.json()["error"]["param"].split(".")[0] == param


def test_halves_of_characters_are_refused_and_nul_is_replaced(server: StoreServer) -> None:
    def create(raw: bytes) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return httpx.post(f"{server.url}/v1/vector_stores", content=raw, headers=headers)

    for raw in (b'{"name": "a\\ud800b"}', b'{"metadata": {"k": "\\udfff"}}', b'{"metadata": {"\\udfff": "v"}}'):
        assert create(raw).status_code == 400, raw
    made = create(b'{"name": "a\\u0000b", "metadata": {"k\\u0000": "v\\u0000"}}').json()
    assert (made["name"], made["metadata"]) == ("a\ufffdb", {"k\ufffd": "v\ufffd"})
    httpx.delete(f"{server.url}/v1/vector_stores/{made['id']}")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=" + "x" * 65])
def test_lists_that_cannot_be_served_are_refused(server: StoreServer, query: str) -> None:
    assert httpx.get(f"{server.url}/v1/vector_stores?{query}").status_code == 400


def test_anothers_store_answers_as_a_missing_one_everywhere(server: StoreServer) -> None:
    """Byte for byte, but for the id that was asked for."""
    with server.client() as api:
        mine = api.vector_stores.create(name="Secret").id
        file_id = upload(api, "secret.txt", "The code is 4711.")
        api.vector_stores.files.create_and_poll(file_id, vector_store_id=mine)
        batch = api.vector_stores.file_batches.create(mine, file_ids=[file_id]).id
    missing = f"vs_{'0' * 32}"
    requests: list[tuple[str, str, Any]] = [
        ("GET", "", None), ("POST", "", {"name": "Mine"}), ("DELETE", "", None),
        ("POST", "/search", {"query": "code"}), ("GET", "/files", None), ("POST", "/files", {"file_id": file_id}),
        ("GET", f"/files/{file_id}", None), ("POST", f"/files/{file_id}", {"attributes": {}}),
        ("DELETE", f"/files/{file_id}", None), ("GET", f"/files/{file_id}/content", None),
        ("POST", "/file_batches", {"file_ids": [file_id]}), ("GET", f"/file_batches/{batch}", None),
        ("POST", f"/file_batches/{batch}/cancel", None), ("GET", f"/file_batches/{batch}/files", None),
        ("GET", f"/file_batches/{batch}/events", None),
    ]  # fmt: skip
    for stranger in (Caller(tenant="other"), Caller(store_ids=frozenset({"elsewhere"}))):
        with server.calling_as(stranger):
            for method, path, body in requests:
                both = [
                    httpx.request(method, f"{server.url}/v1/vector_stores/{store}{path}", json=body)
                    for store in (mine, missing)
                ]
                assert [response.status_code for response in both] == [404, 404], (method, path)
                assert both[0].text.replace(mine, missing) == both[1].text, (method, path)
            listed = httpx.get(f"{server.url}/v1/vector_stores").json()
            assert listed["data"] == []
    with server.client() as api:
        assert api.vector_stores.retrieve(mine).name == "Secret"
        assert api.vector_stores.retrieve(mine).file_counts.completed == 1


def test_a_store_belongs_to_the_tenant_that_made_it(server: StoreServer) -> None:
    with server.client() as api:
        with server.calling_as(Caller(tenant="other")):
            made = api.vector_stores.create(name="Theirs")
            assert [store.id for store in api.vector_stores.list()] == [made.id]
        assert made.id not in [store.id for store in api.vector_stores.list(limit=100)]
        with server.calling_as(Caller(tenant="other")):
            api.vector_stores.delete(made.id)


def test_a_store_can_be_deleted_while_it_reads(tmp_path: Path) -> None:
    with serving_vector_stores(tmp_path) as server, server.client() as api:
        ids = [upload(api, f"{number}.txt", f"Number {number} is here.\n" * 50) for number in range(20)]
        made = api.vector_stores.create(file_ids=ids)
        assert api.vector_stores.delete(made.id).deleted
        assert made.id not in [store.id for store in api.vector_stores.list()]
        other = api.vector_stores.create(file_ids=ids[:1])
        assert settled(api, other, ids[0]).status == "completed"
