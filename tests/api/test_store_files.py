"""What a store holds, and batches, through the official client against a live server."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from rag.access import Caller
from tests.api.vector_store_server import StoreServer, serving_vector_stores, settled, upload

LEAVE = "# Leave\n\nEmployees get thirty days of annual leave.\n"
STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with serving_vector_stores(tmp_path_factory.mktemp("files")) as found:
        yield found


@pytest.fixture
def api(server: StoreServer) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


@pytest.fixture
def store(api: openai.OpenAI) -> Iterator[str]:
    made = api.vector_stores.create(name="Files").id
    yield made
    api.vector_stores.delete(made)


def names(found: Any) -> list[str]:
    return [hit.filename for hit in found]


def test_a_file_from_its_upload_to_its_end(api: openai.OpenAI, store: str) -> None:
    file_id = upload(api, "leave.md", LEAVE)
    done = api.vector_stores.files.create_and_poll(
        file_id, vector_store_id=store, attributes={"year": 2024, "public": True, "team": "hr"},
        chunking_strategy=STATIC, poll_interval_ms=50,
    )  # fmt: skip
    assert (done.id, done.object, done.vector_store_id, done.status, done.last_error) == (
        file_id, "vector_store.file", store, "completed", None,
    )  # fmt: skip
    assert done.attributes == {"year": 2024, "public": True, "team": "hr"}
    assert done.chunking_strategy is not None
    assert done.chunking_strategy.to_dict() == STATIC
    assert done.usage_bytes > len(LEAVE)

    (hit,) = api.vector_stores.search(store, query="annual leave")
    assert (hit.file_id, hit.filename, hit.attributes) == (file_id, "leave.md", done.attributes)
    assert "thirty days" in hit.content[0].text

    api.vector_stores.files.update(file_id, vector_store_id=store, attributes={"year": 2025})
    changed = settled(api, api.vector_stores.retrieve(store), file_id)
    assert (changed.status, changed.attributes) == ("completed", {"year": 2025})
    newer = {"type": "gt", "key": "year", "value": 2024}
    assert names(api.vector_stores.search(store, query="leave", filters=newer)) == ["leave.md"]
    older = {"type": "lte", "key": "year", "value": 2024}
    assert names(api.vector_stores.search(store, query="leave", filters=older)) == []

    text = "".join(piece.text or "" for piece in api.vector_stores.files.content(file_id, vector_store_id=store))
    assert text == LEAVE
    gone = api.vector_stores.files.delete(file_id, vector_store_id=store)
    assert (gone.id, gone.deleted, gone.object) == (file_id, True, "vector_store.file.deleted")
    assert names(api.vector_stores.search(store, query="leave")) == []
    with pytest.raises(openai.NotFoundError):
        api.vector_stores.files.retrieve(file_id, vector_store_id=store)
    with pytest.raises(openai.NotFoundError):
        api.vector_stores.files.delete(file_id, vector_store_id=store)
    assert api.files.retrieve(file_id).filename == "leave.md"


def test_without_a_strategy_the_servers_own_is_shown(server: StoreServer, api: openai.OpenAI, store: str) -> None:
    file_id = upload(api, "leave.md", LEAVE)
    made = api.vector_stores.files.create(store, file_id=file_id, chunking_strategy={"type": "auto"})
    assert made.chunking_strategy is not None
    assert made.chunking_strategy.to_dict() == {
        "type": "static",
        "static": {"max_chunk_size_tokens": server.engine.chunk_tokens, "chunk_overlap_tokens": 0},
    }


def test_a_file_that_cannot_be_read_says_why(api: openai.OpenAI, store: str) -> None:
    file_id = upload(api, "broken.pdf", "this is no PDF")
    done = api.vector_stores.files.create_and_poll(file_id, vector_store_id=store, poll_interval_ms=50)
    assert done.status == "failed"
    assert done.last_error is not None
    assert done.last_error.code in ("invalid_file", "unsupported_file")
    assert done.last_error.message
    counts = api.vector_stores.retrieve(store).file_counts
    assert (counts.failed, counts.total) == (1, 1)
    with pytest.raises(openai.BadRequestError, match="is failed in this vector store"):
        api.vector_stores.files.content(file_id, vector_store_id=store)


def test_lists_are_paged_and_filtered(api: openai.OpenAI, store: str) -> None:
    ids = [upload(api, f"{number}.txt", f"This is number {number}.") for number in range(4)]
    ids.append(upload(api, "broken.pdf", "this is no PDF"))
    for file_id in ids:
        api.vector_stores.files.create_and_poll(file_id, vector_store_id=store, poll_interval_ms=50)
    listed = api.vector_stores.files.list(vector_store_id=store, limit=2)
    assert [file.id for file in listed] == ids[::-1]
    assert [file.id for file in api.vector_stores.files.list(vector_store_id=store, limit=3, order="asc")] == ids
    failed = api.vector_stores.files.list(vector_store_id=store, filter="failed")
    assert [file.id for file in failed] == ids[4:]
    before = api.vector_stores.files.list(vector_store_id=store, before=ids[1], order="asc")
    assert [file.id for file in before.data] == ids[:1]


def test_a_batch_is_read_as_one_and_followed_by_events(server: StoreServer, api: openai.OpenAI, store: str) -> None:
    ids = [upload(api, f"{number}.txt", f"This is number {number}.") for number in range(3)]
    files = [{"file_id": file_id, "attributes": {"number": number}} for number, file_id in enumerate(ids)]
    made = api.vector_stores.file_batches.create(store, files=files)
    assert (made.object, made.vector_store_id, made.file_counts.total) == ("vector_store.files_batch", store, 3)
    events = followed(server, store, made.id)
    done = api.vector_stores.file_batches.poll(made.id, vector_store_id=store, poll_interval_ms=50)
    assert (done.status, done.file_counts.completed, done.file_counts.in_progress) == ("completed", 3, 0)
    assert events[-1] == {"type": "vector_store.files_batch.completed", "batch": done.to_dict()}
    assert {event["type"] for event in events[:-1]} <= {"vector_store.files_batch.in_progress"}
    assert all(event["batch"] != later["batch"] for event, later in itertools.pairwise(events))
    listed = api.vector_stores.file_batches.list_files(made.id, vector_store_id=store, order="asc")
    assert [(file.id, file.attributes) for file in listed] == [(id_, {"number": n}) for n, id_ in enumerate(ids)]


def followed(server: StoreServer, store: str, batch: str) -> list[dict[str, Any]]:
    with httpx.stream(
        "GET", f"{server.url}/v1/vector_stores/{store}/file_batches/{batch}/events", timeout=30
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


def test_a_batch_of_which_nothing_can_be_read_has_failed(server: StoreServer, api: openai.OpenAI, store: str) -> None:
    made = api.vector_stores.file_batches.create(store, file_ids=[upload(api, "a.pdf", "this is no PDF")])
    (*_, last) = followed(server, store, made.id)
    assert (last["type"], last["batch"]["file_counts"]["failed"]) == ("vector_store.files_batch.failed", 1)


def test_a_cancelled_batch_says_so_and_keeps_what_was_read(api: openai.OpenAI, store: str) -> None:
    ids = [upload(api, f"{number}.txt", f"This is number {number}.\n" * 40) for number in range(20)]
    made = api.vector_stores.file_batches.create(store, file_ids=ids, attributes={"batch": "one"})
    cancelled = api.vector_stores.file_batches.cancel(made.id, vector_store_id=store)
    assert (cancelled.status, cancelled.file_counts.in_progress) == ("cancelled", 0)
    counts = cancelled.file_counts
    assert counts.completed + counts.cancelled + counts.failed == counts.total == 20
    again = api.vector_stores.file_batches.retrieve(made.id, vector_store_id=store)
    assert again == cancelled


def test_a_batch_of_another_store_is_missing(api: openai.OpenAI, store: str) -> None:
    other = api.vector_stores.create(name="Other").id
    batch = api.vector_stores.file_batches.create(other, file_ids=[upload(api, "a.txt", "Something.")]).id
    with pytest.raises(openai.NotFoundError):
        api.vector_stores.file_batches.retrieve(batch, vector_store_id=store)
    api.vector_stores.delete(other)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("files", {}, "file_id"),
        ("files", {"file_id": "f", "attributes": {str(n): n for n in range(17)}}, "attributes"),
        ("files", {"file_id": "f", "attributes": {"k" * 65: 1}}, "attributes"),
        ("files", {"file_id": "f", "attributes": {"k": "x" * 513}}, "attributes"),
        ("files", {"file_id": "f", "attributes": {"k": [1]}}, "attributes"),
        ("files", {"file_id": "f", "attributes": {"k": None}}, "attributes"),
        ("files", {"file_id": "f", "attributes": {"k": 2**63}}, "attributes"),
        ("files", {"file_id": "f", "attributes": {"quoth.type": "x"}}, "attributes"),
        ("files", {"file_id": "f", "attributes": {'a"b': "x"}}, "attributes"),
        ("files", {"file_id": "f", "attributes": ["k"]}, "attributes"),
        ("files", {"file_id": "f", "groups": "hr"}, "groups"),
        ("files", {"file_id": "f", "groups": [1]}, "groups"),
        ("files", {"file_id": "f", "groups": [""]}, "groups"),
        ("files", {"file_id": "f", "chunking_strategy": {"type": "static", "static": {}}}, "chunking_strategy"),
        ("files", {"file_id": "f", "priority": 1}, "priority"),
        ("file_batches", {}, None),
        ("file_batches", {"file_ids": []}, "file_ids"),
        ("file_batches", {"file_ids": ["f"] * 2001}, "file_ids"),
        ("file_batches", {"file_ids": ["f"], "files": [{"file_id": "f"}]}, None),
        ("file_batches", {"files": [{"file_id": "f"}, {"file_id": "f"}]}, None),
        ("file_batches", {"files": [{"file_id": "f"}], "attributes": {"k": 1}}, None),
    ],
)
def test_a_body_that_cannot_be_served_is_refused_by_name(
    server: StoreServer, store: str, path: str, body: Any, param: str | None
) -> None:
    response = httpx.post(f"{server.url}/v1/vector_stores/{store}/{path}", json=body)
    assert response.status_code == 400
    assert (response.json()["error"]["param"] or "").split(".")[0] == (param or "")


HR, IT = Caller(groups=frozenset({"hr"})), Caller(groups=frozenset({"it"}))


def test_what_is_for_a_group_is_missing_for_others(server: StoreServer, api: openai.OpenAI, store: str) -> None:
    """Lists, counts, batches, texts, searches: nothing tells that there is more."""
    pay, open_ = upload(api, "pay.txt", "The pay of all employees."), upload(api, "open.txt", "The opening hours.")
    files = [{"file_id": pay, "groups": ["hr"]}, {"file_id": open_}]
    batch = api.vector_stores.file_batches.create_and_poll(store, files=files, poll_interval_ms=50).id
    secret = api.vector_stores.file_batches.create(store, files=[{"file_id": pay, "groups": ["hr"]}]).id
    assert api.vector_stores.retrieve(store).file_counts.total == 2

    def seen(caller: Caller) -> tuple[list[str], int, list[str], int]:
        with server.calling_as(caller):
            listed = [file.id for file in api.vector_stores.files.list(vector_store_id=store, order="asc", limit=1)]
            shown = api.vector_stores.retrieve(store)
            used = sum(file.usage_bytes for file in api.vector_stores.files.list(vector_store_id=store))
            assert shown.usage_bytes == used
            hits = names(api.vector_stores.search(store, query="pay of employees, opening hours"))
            return sorted(listed), shown.file_counts.total, sorted(hits), used

    assert seen(Caller())[:3] == (sorted([pay, open_]), 2, ["open.txt", "pay.txt"])
    assert seen(HR) == seen(Caller())
    for stranger in (IT, Caller(groups=frozenset())):
        assert seen(stranger)[:3] == ([open_], 1, ["open.txt"])

    missing, no_batch = f"file-{'0' * 24}", f"vsfb_{'0' * 32}"
    base = f"{server.url}/v1/vector_stores/{store}"
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/files/ID", None), ("GET", "/files/ID/content", None), ("DELETE", "/files/ID", None),
        ("POST", "/files/ID", {"attributes": {"k": 1}}), ("GET", "/files?after=ID", None),
        ("GET", "/files?before=ID", None), ("GET", "/file_batches/ID", None), ("GET", "/file_batches/ID/files", None),
        ("POST", "/file_batches/ID/cancel", None), ("GET", "/file_batches/ID/events", None),
    ]  # fmt: skip
    with server.calling_as(IT):
        for method, path, body in requests:
            hidden, nobody = (secret, no_batch) if "batches" in path else (pay, missing)
            both = [httpx.request(method, base + path.replace("ID", id_), json=body) for id_ in (hidden, nobody)]
            assert [response.status_code for response in both] == [404, 404], (method, path)
            assert both[0].text.replace(hidden, nobody) == both[1].text, (method, path)
        assert api.vector_stores.files.retrieve(open_, vector_store_id=store).status == "completed"
    with server.calling_as(HR):
        assert api.vector_stores.files.retrieve(pay, vector_store_id=store).to_dict()["groups"] == ["hr"]
        assert api.vector_stores.file_batches.retrieve(batch, vector_store_id=store).file_counts.total == 1


def test_pages_of_a_group_are_full_and_go_both_ways(server: StoreServer, api: openai.OpenAI, store: str) -> None:
    files = [
        {"file_id": upload(api, f"{n}.txt", f"Number {n}."), "groups": ["hr"] if n % 2 else ["it"]} for n in range(8)
    ]
    api.vector_stores.file_batches.create(store, files=files)
    theirs = sorted(file["file_id"] for file in files[1::2])
    with server.calling_as(HR):
        page = api.vector_stores.files.list(vector_store_id=store, limit=3)
        assert (len(page.data), page.has_more) == (3, True)
        everything = [file.id for file in page]
        assert sorted(everything) == theirs
        back = api.vector_stores.files.list(vector_store_id=store, limit=2, before=everything[3])
        assert ([file.id for file in back.data], back.has_more) == (everything[1:3], True)


def test_a_caller_names_its_own_groups_only(server: StoreServer, api: openai.OpenAI, store: str) -> None:
    with server.calling_as(HR):
        response = httpx.post(
            f"{server.url}/v1/vector_stores/{store}/files", json={"file_id": "file-x", "groups": ["hr", "it"]}
        )
    assert response.status_code == 400
    assert "(hr)" in response.json()["error"]["message"]
