"""Every response of a walk through the API holds what the types of OpenAI's package promise.

The client itself lets a missing field pass until somebody reads it; here its types are asked to validate.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types import (
    CreateEmbeddingResponse,
    FileDeleted,
    FileObject,
    Model,
    VectorStore,
    VectorStoreDeleted,
    VectorStoreSearchResponse,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseItem, ResponseStreamEvent
from openai.types.shared import ErrorObject
from openai.types.vector_stores import (
    FileContentResponse,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
)
from pydantic import TypeAdapter, ValidationError

from tests.api.vector_store_server import StoreServer, serving_vector_stores, settled
from tests.fakes import ScriptedChatModel
from tests.served import serving_stores

SAID = "Trains are booked in second class."
ASKED = "Which class are trains booked in?"
QUESTION: list[Any] = [{"role": "user", "content": ASKED}]
# By method and path: the type of the body, or of each entry of its `data`.
OBJECTS: dict[str, Any] = {
    r"POST /files|GET /files/[^/]+": FileObject,
    r"DELETE /files/[^/]+": FileDeleted,
    r"POST /vector_stores(/[^/]+)?|GET /vector_stores/[^/]+": VectorStore,
    r"DELETE /vector_stores/[^/]+": VectorStoreDeleted,
    r"POST /vector_stores/[^/]+/files(/[^/]+)?|GET /vector_stores/[^/]+/files/[^/]+": VectorStoreFile,
    r"DELETE /vector_stores/[^/]+/files/[^/]+": VectorStoreFileDeleted,
    r"POST /vector_stores/[^/]+/file_batches(/[^/]+/cancel)?": VectorStoreFileBatch,
    r"GET /vector_stores/[^/]+/file_batches/[^/]+": VectorStoreFileBatch,
    r"POST /responses|GET /responses/[^/]+": Response,
    r"POST /chat/completions": ChatCompletion,
    r"POST /embeddings": CreateEmbeddingResponse,
    r"GET /models/.+": Model,
}
LISTS: dict[str, Any] = {
    r"GET /files": FileObject,
    r"GET /vector_stores": VectorStore,
    r"GET /vector_stores/[^/]+/(files|file_batches/[^/]+/files)": VectorStoreFile,
    r"GET /responses/[^/]+/input_items": ResponseItem,
    r"GET /models": Model,
}
PAGES: dict[str, Any] = {
    r"POST /vector_stores/[^/]+/search": VectorStoreSearchResponse,
    r"GET /vector_stores/[^/]+/files/[^/]+/content": FileContentResponse,
}
EVENTS: dict[str, Any] = {r"POST /responses": ResponseStreamEvent, r"POST /chat/completions": ChatCompletionChunk}
CURSORS = {"GET /models": {"object", "data"}}
CURSOR = {"object", "data", "first_id", "last_id", "has_more"}


class Walked(httpx2.Client):
    """A client that looks at whatever comes back; `seen` are the patterns that came up."""

    def __init__(self) -> None:
        super().__init__(event_hooks={"response": [self._look]}, timeout=30)
        self.seen: set[str] = set()

    def _look(self, response: httpx2.Response) -> None:
        response.read()
        asked = f"{response.request.method} {response.request.url.path.removeprefix('/v1')}"
        if response.is_error:
            _validate(ErrorObject, response.json()["error"])
        elif response.headers["content-type"].startswith("text/event-stream"):
            lines = re.findall(r"(?m)^data: (\{.*)$", response.text)
            assert lines
            for line in lines:
                _validate(self._type(EVENTS, asked, "stream"), json.loads(line))
        elif asked.startswith("DELETE /responses/"):
            assert response.json()["deleted"]  # the client gives nothing back
        else:
            self._look_at(asked, response.json())

    def _look_at(self, asked: str, body: Any) -> None:
        if any(re.fullmatch(pattern, asked) for pattern in LISTS):
            assert CURSORS.get(asked, CURSOR) <= body.keys()
            kind = self._type(LISTS, asked)
        elif any(re.fullmatch(pattern, asked) for pattern in PAGES):
            assert {"object", "data", "has_more", "next_page"} <= body.keys()
            kind = self._type(PAGES, asked)
        else:
            _validate(self._type(OBJECTS, asked), body)
            return
        assert body["data"], f"{asked}: nothing to look at"
        for entry in body["data"]:
            _validate(kind, entry)

    def _type(self, table: dict[str, Any], asked: str, how: str = "") -> Any:
        (pattern,) = [pattern for pattern in table if re.fullmatch(pattern, asked)]
        self.seen.add(how + pattern)
        return table[pattern]


def _validate(kind: Any, body: Any) -> None:
    try:
        TypeAdapter(kind).validate_python(body, strict=True)
    except ValidationError as error:
        raise AssertionError(f"{body}: {error}") from error


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with serving_vector_stores(tmp_path_factory.mktemp("promised"), SAID) as found:
        yield found


def test_no_promised_field_is_missing(server: StoreServer) -> None:
    with Walked() as http:
        api = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, http_client=http)
        store, files = _fill(api)
        _ask(api, store)
        _take_back(api, store, files)
    promised = OBJECTS.keys() | LISTS.keys() | PAGES.keys() | {f"stream{pattern}" for pattern in EVENTS}
    assert http.seen == promised


def _fill(api: openai.OpenAI) -> tuple[str, list[str]]:
    files = [
        api.files.create(file=(name, text.encode()), purpose="assistants").id
        for name, text in (("travel.txt", SAID), ("broken.pdf", "no PDF"))
    ]
    api.files.retrieve(files[0])
    api.files.list()
    store = api.vector_stores.create(
        name="Handbook", metadata={"team": "hr"}, expires_after={"anchor": "last_active_at", "days": 1}
    )
    api.vector_stores.files.create(store.id, file_id=files[0], attributes={"year": 2025, "draft": False})
    batch = api.vector_stores.file_batches.create(store.id, file_ids=[files[1]])
    read, failed = (settled(api, store, file_id) for file_id in files)
    assert (read.status, failed.status, failed.last_error is None) == ("completed", "failed", False)
    api.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id)
    api.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    api.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id)
    api.vector_stores.files.list(store.id)
    api.vector_stores.files.update(files[0], vector_store_id=store.id, attributes={"year": 2026})
    api.vector_stores.files.content(files[0], vector_store_id=store.id)
    api.vector_stores.update(store.id, name="Travel")
    api.vector_stores.retrieve(store.id)
    api.vector_stores.list()
    return store.id, files


def _ask(api: openai.OpenAI, store: str) -> None:
    assert api.vector_stores.search(store, query=ASKED).data
    tool: Any = {"type": "file_search", "vector_store_ids": [store]}
    made = api.responses.create(model="quoth", input=ASKED, tools=[tool], include=["file_search_call.results"])
    assert made.citations  # type: ignore[attr-defined]
    api.responses.retrieve(made.id)
    api.responses.input_items.list(made.id)
    api.responses.create(model="quoth", input=ASKED, tools=[tool], stream=True).close()
    api.responses.delete(made.id)
    model = api.models.retrieve(f"quoth/{store}").id
    assert api.chat.completions.create(model=model, messages=QUESTION).choices[0].message.annotations
    api.chat.completions.create(model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True})
    embedder = api.models.list().data[-1].id
    api.embeddings.create(model=embedder, input=[ASKED], encoding_format="float")


def _take_back(api: openai.OpenAI, store: str, files: list[str]) -> None:
    api.vector_stores.files.delete(files[0], vector_store_id=store)
    api.vector_stores.delete(store)
    for file_id in files:
        api.files.delete(file_id)
    with pytest.raises(openai.NotFoundError):
        api.files.retrieve(files[0])


def test_clients_are_told_how_soon_to_ask_again(server: StoreServer, tmp_path: Path) -> None:
    assert _told(server.url, wait=True) == [("completed", None), ("completed", None)]
    with serving_stores(tmp_path, ScriptedChatModel(SAID)) as idle:  # nothing reads what is attached there
        assert _told(idle.url, wait=False) == [("in_progress", "500"), ("in_progress", "500")]


def _told(url: str, *, wait: bool) -> list[tuple[str, str | None]]:
    """Status and header, of a file and of its batch."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as api:
        file = api.files.create(file=("travel.txt", SAID.encode()), purpose="assistants")
        store = api.vector_stores.create(name="Travel")
        batch = api.vector_stores.file_batches.create(store.id, file_ids=[file.id])
        if wait:
            settled(api, store, file.id)
        one = api.vector_stores.files.with_raw_response.retrieve(file.id, vector_store_id=store.id)
        whole = api.vector_stores.file_batches.with_raw_response.retrieve(batch.id, vector_store_id=store.id)
        return [(asked.parse().status, asked.headers.get("openai-poll-after-ms")) for asked in (one, whole)]
