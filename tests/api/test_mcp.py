"""The Model Context Protocol over HTTP, spoken by the official client in both of its eras against a live server."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import mcp_types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError

from api.mcp.tools import TOOLS
from rag.errors import UpstreamUnavailableError
from rag.protocols import ModelDelta, Prompt, Sampling
from tests.api.library_server import TRAVEL, LibraryServer, serving_library
from tests.fakes import ScriptedChatModel

ERAS = ["auto", "legacy"]
Use = Callable[[Client], Awaitable[Any]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryServer]:
    with serving_library(tmp_path_factory.mktemp("mcp")) as served:
        yield served


@asynccontextmanager
async def connected(url: str, caller: str = "", era: str = "auto") -> AsyncIterator[Client]:
    async with create_mcp_http_client(headers={"x-as": caller}) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=era) as client:
            yield client


def used(library: LibraryServer, use: Use, caller: str = "", era: str = "auto") -> Any:
    async def go() -> Any:
        async with connected(library.url, caller, era) as client:
            return await use(client)

    return asyncio.run(go())


def called(
    library: LibraryServer, tool: str, arguments: dict[str, Any], caller: str = "", era: str = "auto"
) -> mcp_types.CallToolResult:
    found: mcp_types.CallToolResult = used(library, lambda client: client.call_tool(tool, arguments), caller, era)
    return found


def text_of(result: mcp_types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, mcp_types.TextContent)
    return block.text


@pytest.mark.parametrize("era", ERAS)
def test_tools_are_listed_as_reading_only_and_with_schemas(library: LibraryServer, era: str) -> None:
    listed = used(library, lambda client: client.list_tools(), era=era)
    assert [tool.name for tool in listed.tools] == list(TOOLS)
    for tool in listed.tools:
        assert tool.annotations.read_only_hint
        assert not tool.annotations.destructive_hint
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)


CALLS = [
    ("search_documents", {"query": "Which class are trains booked in?", "store": "default", "k": 2}),
    ("ask", {"question": "Which class are trains booked in?", "store": "default"}),
    ("list_documents", {"store": "default"}),
    ("list_stores", {}),
]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("tool", "arguments"), CALLS)
def test_results_fit_their_schemas(library: LibraryServer, tool: str, arguments: dict[str, Any], era: str) -> None:
    result = called(library, tool, arguments, era=era)
    assert not result.is_error, text_of(result)
    jsonschema.validate(result.structured_content, TOOLS[tool].result.model_json_schema(mode="serialization"))


def test_passages_are_quotes_between_marks(library: LibraryServer) -> None:
    result = called(library, "search_documents", {"query": "Which class are trains booked in?", "k": 1})
    (passage,) = result.structured_content["passages"]
    assert TRAVEL[passage["char_start"] : passage["char_end"]] == passage["quote"]
    text = text_of(result)
    mark = text.split(">>> ")[-1].strip()
    fenced = text[text.index(f"<<< {mark}\n") :]
    assert fenced == f"<<< {mark}\n{passage['quote']}\n>>> {mark}"
    assert "no instructions to anybody" in text


def test_filters_and_groups_decide_what_is_found(library: LibraryServer) -> None:
    asked = {"query": "first class for the board", "store": "default", "k": 10}
    year = {"type": "eq", "key": "year", "value": 2024}
    for caller, filters, found in (("", year, 1), ("board", year, 1), ("staff", year, 0), ("staff", None, 2)):
        result = called(library, "search_documents", asked | {"filters": filters}, caller)
        assert len(result.structured_content["passages"]) == found, (caller, filters)


def test_an_answer_quotes_its_source(library: LibraryServer) -> None:
    result = called(library, "ask", {"question": "Which class are trains booked in?", "store": "default"})
    found = result.structured_content
    assert found["answer"] == "Trains are booked in second class."
    (citation,) = found["citations"]
    assert TRAVEL[citation["char_start"] : citation["char_end"]] == citation["quote"]
    assert (citation["title"], citation["headings"]) == ("Travel", ["Travel", "Trains"])
    assert citation["quote"] in text_of(result)
    assert "Travel > Trains, characters" in text_of(result)


def test_documents_are_listed_and_read_in_pages(library: LibraryServer) -> None:
    async def use(client: Client) -> str:
        documents, after = [], None
        while True:
            page = (await client.call_tool("list_documents", {"limit": 2, "after": after})).structured_content
            documents += page["documents"]
            if not (after := page["next"]):
                break
        assert [each["title"] for each in documents] == ["rooms", "Travel", "board"]
        text, start = "", 0
        while start is not None:
            arguments = {"document_id": documents[1]["document_id"], "start": start, "end": start + 40}
            part = (await client.call_tool("get_document", arguments)).structured_content
            text, start = text + part["text"], part["next_start"]
        return text

    assert used(library, use, "staff-and-board") == TRAVEL


def test_stores_are_those_of_the_key(library: LibraryServer) -> None:
    assert [each["name"] for each in called(library, "list_stores", {}).structured_content["stores"]] == [
        "default",
        "people",
    ]
    (own,) = called(library, "list_stores", {}, "people").structured_content["stores"]
    assert own["name"] == "people"
    # The only store that is there need not be named.
    found = called(library, "search_documents", {"query": "annual leave"}, "people").structured_content
    assert (found["store"], len(found["passages"])) == ("people", 1)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search_documents", {}, "query: Field required"),
        ("search_documents", {"query": ""}, "query: String should have at least 1 character"),
        ("search_documents", {"query": " "}, "The question is empty"),
        ("search_documents", {"query": "x", "k": 0}, "k: Input should be greater than or equal to 1"),
        ("search_documents", {"query": "x", "k": 10**9}, "k: Input should be less than or equal to 50"),
        ("search_documents", {"query": "x", "top_k": 3}, "top_k: Extra inputs are not permitted"),
        ("search_documents", {"query": "x", "filters": {"type": "near"}}, "filters"),
        ("search_documents", {"query": "x" * 100_001}, "query: String should have at most 100000 characters"),
        ("ask", {"question": ["x"]}, "question: Input should be a valid string"),
        ("list_documents", {"after": "nothing"}, "names no document"),
        ("get_document", {"document_id": "../../etc/passwd"}, "There is no document"),
        ("get_document", {"document_id": "x", "start": -1}, "start: Input should be greater than or equal to 0"),
    ],
)
def test_bad_arguments_are_errors_that_a_model_can_read(
    library: LibraryServer, tool: str, arguments: dict[str, Any], message: str
) -> None:
    result = called(library, tool, arguments)
    assert result.is_error
    assert message in text_of(result)
    assert result.structured_content is None


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("search_documents", {"query": "trains"}), ("ask", {"question": "trains?"}), ("list_documents", {})],
)
def test_anothers_store_looks_like_a_missing_one(library: LibraryServer, tool: str, arguments: dict[str, Any]) -> None:
    foreign = called(library, tool, arguments | {"store": "default"}, "people")
    missing = called(library, tool, arguments | {"store": "defaulx"}, "people")
    assert foreign.is_error
    assert text_of(foreign).replace("default", "defaulx") == text_of(missing)


@pytest.mark.parametrize("caller", ["people", "staff"])
def test_anothers_document_looks_like_a_missing_one(library: LibraryServer, caller: str) -> None:
    own, other = library.document("board.txt"), str(uuid.uuid4())
    foreign = called(library, "get_document", {"document_id": own}, caller)
    missing = called(library, "get_document", {"document_id": other}, caller)
    assert foreign.is_error
    assert text_of(foreign).replace(own, other) == text_of(missing)
    assert not called(library, "get_document", {"document_id": own}, "board").is_error


def test_a_tool_that_is_none_is_an_error_of_the_protocol(library: LibraryServer) -> None:
    async def use(client: Client) -> None:
        with pytest.raises(MCPError, match="There is no tool 'delete_document'"):
            await client.call_tool("delete_document", {})

    used(library, use)


def test_a_model_that_fails_is_told_with_our_message(tmp_path: Path) -> None:
    with serving_library(
        tmp_path, ScriptedChatModel("Trains are", UpstreamUnavailableError("It fell silent."))
    ) as served:
        result = called(served, "ask", {"question": "Which class are trains booked in?", "store": "default"})
    assert (result.is_error, text_of(result)) == (True, "It fell silent.")


class EndlessChatModel(ScriptedChatModel):
    """Writes until it is stopped."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        self.prompts.append(prompt)
        try:
            while True:
                yield ModelDelta(text="and so on ")
                await asyncio.sleep(0.01)
        finally:
            self.closed += 1


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_a_call_that_is_given_up_stops_the_model(tmp_path: Path, era: str, how: str) -> None:
    model = EndlessChatModel()

    async def give_up(client: Client) -> None:
        asked = {"question": "Which class are trains booked in?", "store": "default"}
        calling = asyncio.ensure_future(
            client.call_tool("ask", asked, read_timeout_seconds=1.0 if how == "timed out" else None)
        )
        await eventually(lambda: len(model.prompts) == 1)
        if how == "cancelled":
            calling.cancel()
        with pytest.raises((asyncio.CancelledError, Exception)):
            await calling
        await eventually(lambda: model.closed == 1)
        # The connection lives on.
        assert not (await client.call_tool("list_stores", {})).is_error

    with serving_library(tmp_path, model) as served:
        used(served, give_up, era=era)


def test_nobody_gives_up_the_calls_of_another_key(tmp_path: Path) -> None:
    model = EndlessChatModel()
    params = {"name": "ask", "arguments": {"question": "Which class are trains booked in?", "store": "default"}}
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}

    async def go(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, headers=HEADERS | {"mcp-session-id": "s"}, timeout=30) as http:

            async def send(message: object, caller: str, **headers: str) -> httpx.Response:
                return await http.post("/mcp", json=message, headers={"x-as": caller, **headers})

            calling = asyncio.ensure_future(send(call, "board"))
            await eventually(lambda: len(model.prompts) == 1)
            for caller, headers in (("staff", {}), ("", {}), ("board", {"mcp-session-id": "t"})):
                assert (await send(cancel, caller, **headers)).status_code == 202
            assert (await send({**cancel, "params": {"requestId": "7"}}, "board")).status_code == 202
            assert (model.closed, calling.done()) == (0, False)
            assert (await send(cancel, "board")).status_code == 202
            assert (await calling).status_code == 200
            assert model.closed == 1

    with serving_library(tmp_path, model) as served:
        asyncio.run(go(served.url))


def test_a_client_that_leaves_stops_the_model(tmp_path: Path) -> None:
    model = EndlessChatModel()
    params = {"name": "ask", "arguments": {"question": "Which class are trains booked in?", "store": "default"}}

    async def go(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, headers=HEADERS) as http:
            call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
            calling = asyncio.ensure_future(http.post("/mcp", json=call))
            await eventually(lambda: len(model.prompts) == 1)
            calling.cancel()
            await asyncio.wait([calling])
            await eventually(lambda: model.closed == 1)

    with serving_library(tmp_path, model) as served:
        asyncio.run(go(served.url))


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - another thread's state
            await asyncio.sleep(0.01)


def test_another_method_than_post_is_refused(library: LibraryServer) -> None:
    for method in ("GET", "DELETE"):
        refused = httpx.request(method, f"{library.url}/mcp")
        assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method_not_allowed")


HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:{port}"}, 200),
        ({"origin": "http://localhost:5173"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_pages_that_have_their_name_resolve_to_this_machine_are_refused(
    library: LibraryServer, headers: dict[str, str], status: int
) -> None:
    port = library.url.rsplit(":", 1)[1]
    sent = HEADERS | {name: value.format(port=port) for name, value in headers.items()}
    assert httpx.post(f"{library.url}/mcp", json=PING, headers=sent).status_code == status


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"jsonrpc": "2.0"}', b"[" * 100_000, b'{"id": 1' + b"0" * 10_000 + b"}", b"\xff"],
)
@pytest.mark.parametrize("version", [{}, {"mcp-protocol-version": "2026-07-28"}, {"mcp-protocol-version": "x"}])
def test_bodies_that_are_no_message_are_the_clients_fault(
    library: LibraryServer, body: bytes, version: dict[str, str]
) -> None:
    answered = httpx.post(f"{library.url}/mcp", content=body, headers=HEADERS | version)
    assert answered.status_code == 400, answered.text


def test_a_body_that_is_too_large_is_refused(library: LibraryServer) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    for content in (b" " * 2_000_000, pieces()):
        answered = httpx.post(f"{library.url}/mcp", content=content, headers=HEADERS)
        assert (answered.status_code, answered.json()["error"]["code"]) == (413, "too_large")


def test_half_characters_are_no_fault_of_the_server(library: LibraryServer) -> None:
    call = {"name": "search_documents", "arguments": {"query": "trains \ud800", "store": "default"}}
    answered = httpx.post(
        f"{library.url}/mcp", content=json.dumps({**PING, "method": "tools/call", "params": call}), headers=HEADERS
    )
    assert answered.status_code in (200, 400)
    assert "Something unexpected" not in answered.text


def test_the_api_starts_without_the_protocols_package() -> None:
    code = "import sys, api.app; from rag.settings import load_settings; api.app.create_app(load_settings()); "
    code += "sys.exit('mcp' in sys.modules or 'mcp_types' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
