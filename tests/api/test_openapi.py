"""The document describes every route, and is one that clients can be made from."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from fastapi.routing import APIRoute, iter_route_contexts

from api.app import create_app
from api.errors import _STATUSES
from api.openapi import TAGS
from api.permissions import OPEN_PATHS
from rag.settings import load_settings
from tests.api.keyed_app import ASKED, KeyedApp, keyed_app

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("document")

    async def read() -> dict[str, Any]:
        async with keyed_app(folder) as served:
            return await served.made(None, "GET", "/openapi.json")

    return asyncio.run(read())


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        name = node["$ref"].removeprefix("#/").split("/")
        node = document
        for part in name:
            node = node[part]
    return node


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


def test_it_is_a_document_of_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()


def test_every_route_is_described_but_the_one_of_another_protocol(document: dict[str, Any]) -> None:
    app = create_app(load_settings({}))
    routes = {
        (method.lower(), context.path_format)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.route, APIRoute)
        for method in context.methods or ()
    }
    assert routes - {(method, path) for method, path, _ in operations(document)} == {("post", "/mcp")}


def test_operations_have_names_tags_and_a_sentence(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for *_, operation in operations(document)]
    assert len(set(names)) == len(names)
    for _, path, operation in operations(document):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), path
        assert operation["summary"], path
        assert operation["description"][-1] in ".`", path
        assert len(operation["tags"]) == 1, path
    assert {tag for *_, operation in operations(document) for tag in operation["tags"]} == set(TAGS)


def test_schemas_are_each_there_once_and_used(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", name), name
        assert f'"#/components/schemas/{name}"' in text, f"{name} is not used"
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', text)):
        assert resolved(document, {"$ref": reference})
    assert "HTTPValidationError" not in text


def test_every_refusal_is_in_the_one_shape(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        statuses = set(operation["responses"])
        assert "422" not in statuses, path
        assert {"200", "400", "431", "500"} <= statuses, path
        assert path in OPEN_PATHS or {"401", "403", "429", "503"} <= statuses, path
        is_json = "application/json" in operation.get("requestBody", {}).get("content", {})
        assert is_json == ("415" in statuses), path
        for status, response in operation["responses"].items():
            if status != "200" and path != "/health/ready":
                found = resolved(document, response)["content"]["application/json"]["schema"]
                assert found == {"$ref": "#/components/schemas/ErrorResponse"}, (path, status)


def test_every_status_of_an_error_is_described(document: dict[str, Any]) -> None:
    described = {int(status) for *_, operation in operations(document) for status in operation["responses"]}
    assert {status for _, status, *_ in _STATUSES} <= described


def test_keys_are_asked_for_by_all_but_the_health_checks(document: dict[str, Any]) -> None:
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"]
    assert {path for _, path, operation in operations(document) if operation.get("security") == []} == OPEN_PATHS


def test_headers_are_described(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            headers = resolved(document, response)["headers"]
            assert resolved(document, headers["x-request-id"])["required"], (path, status)
            assert ("Retry-After" in headers) == (status in ("429", "503") and path not in OPEN_PATHS), (path, status)
            assert "x-ratelimit-remaining-tokens" in headers or path in OPEN_PATHS, (path, status)
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        is_kept = method == "post" and path not in ("/v1/embeddings", "/v1/search/explain")
        assert ("Idempotency-Key" in names) == is_kept, path


def test_bodies_that_are_no_json_say_what_they_are(document: dict[str, Any]) -> None:
    found = {
        operation["operationId"]: set(operation["responses"]["200"]["content"]) - {"application/json"}
        for *_, operation in operations(document)
    }
    assert {name: types for name, types in found.items() if types} == {
        "create_chat_completion": {"text/event-stream"},
        "create_response": {"text/event-stream"},
        "stream_file_batch": {"text/event-stream"},
        "retrieve_file_content": {"application/octet-stream"},
        "download_original": {"*/*"},
        "export_feedback": {"application/x-ndjson"},
        "read_metrics": {"text/plain"},
    }
    upload = document["paths"]["/v1/files"]["post"]["requestBody"]["content"]
    assert upload["multipart/form-data"]["schema"]["properties"]["file"]["format"] == "binary"


def test_answers_have_schemas_and_examples_fit_theirs(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            assert examples(document, resolved(document, body["schema"])), f"{path} has no example"
        answer = operation["responses"]["200"]["content"].get("application/json")
        if answer:
            assert resolved(document, answer["schema"]).get("properties"), path
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            assert fits(document, schema, example), name


def examples(document: dict[str, Any], schema: dict[str, Any]) -> bool:
    fields = [resolved(document, field) for field in schema.get("properties", {}).values()]
    return "examples" in schema or any("examples" in json.dumps(field) for field in fields)


def test_links_lead_to_operations_with_such_parameters(document: dict[str, Any]) -> None:
    known = {operation["operationId"]: operation for *_, operation in operations(document)}
    answers = [operation["responses"]["200"] for *_, operation in operations(document)]
    links = [link for answer in answers for link in answer.get("links", {}).values()]
    assert len(links) > 20
    for link in links:
        target = known[link["operationId"]]
        assert set(link.get("parameters", ())) <= {parameter["name"] for parameter in target.get("parameters", ())}
        assert "requestBody" not in link or "requestBody" in target


def undocumented(document: dict[str, Any], schema: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    """Fields of an answer that its schema does not name."""
    schema = resolved(document, schema)
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if fits(document, option, value):
            yield from undocumented(document, option, value, where)
            return
    if isinstance(value, dict) and "properties" in schema:
        for name, each in value.items():
            if name not in schema["properties"]:
                yield f"{where}.{name}"
            else:
                yield from undocumented(document, schema["properties"][name], each, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for each in value:
            yield from undocumented(document, schema["items"], each, where)


def test_answers_have_no_fields_that_are_not_described(document: dict[str, Any], tmp_path: Path) -> None:
    """Objects that every kind of route really answers with; that what is described is there, schemathesis shows."""

    async def ask(served: KeyedApp, method: str, path: str, template: str = "", **request: Any) -> dict[str, Any]:
        found = await served.made(None, method, path, **request)
        content = document["paths"][template or path][method.lower()]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        assert fits(document, schema, found), (path, found)
        assert not list(undocumented(document, schema, found, template or path))
        return found

    async def use() -> None:
        async with keyed_app(tmp_path) as served:
            stores, files = "/v1/vector_stores", "/v1/vector_stores/{store_id}/files"
            store = (await ask(served, "POST", stores, json={"name": "Handbooks"}))["id"]
            upload = await served.upload(None, "Trains are booked in second class.\n")
            await served.attach(None, store, upload, attributes={"year": 2024})
            await ask(served, "GET", f"{stores}/{store}/files", files)
            await ask(served, "GET", f"{stores}/{store}/files/{upload}", f"{files}/{{file_id}}")
            await ask(
                served, "POST", f"{stores}/{store}/search", f"{stores}/{{store_id}}/search", json={"query": ASKED}
            )
            said = {"model": f"quoth/{store}", "messages": [{"role": "user", "content": ASKED}]}
            await ask(served, "POST", "/v1/chat/completions", json=said)
            kept = await ask(served, "POST", "/v1/chat/completions", json={**said, "conversation": "new"})
            talk, about = "/v1/conversations", {"answer_id": kept["answer_id"], "rating": "up"}
            await ask(served, "POST", "/v1/feedback", json=about)
            await ask(served, "GET", talk)
            await ask(served, "GET", f"{talk}/{kept['conversation']}", f"{talk}/{{conversation_id}}")
            asked = {"model": f"quoth/{store}", "input": ASKED, "include": ["file_search_call.results"]}
            made = (await ask(served, "POST", "/v1/responses", json=asked))["id"]
            await ask(served, "GET", f"/v1/responses/{made}/input_items", "/v1/responses/{response_id}/input_items")
            (held,) = (await ask(served, "GET", "/v1/documents", params={"store": store}))["data"]
            at = {"start": 0, "end": 6}
            await ask(served, "GET", f"/v1/documents/{held['id']}", "/v1/documents/{document_id}", params=at)
            why = {"question": ASKED, "stores": [store], "expected": upload}
            await ask(served, "POST", "/v1/search/explain", json=why)
            await ask(served, "GET", "/v1/models")
            await ask(served, "GET", "/v1/doctor", params={"store": store})
            await ask(served, "POST", "/v1/embeddings", json={"model": "bag-of-words", "input": "trains"})

    asyncio.run(use())


def test_no_page_loads_anything_from_elsewhere(tmp_path: Path) -> None:
    """A page that shows the document would have the reader's browser call other servers."""

    async def use() -> list[httpx.Response]:
        async with keyed_app(tmp_path) as served:
            return [await served.call(None, "GET", path) for path in ("/docs", "/redoc", "/openapi.json")]

    docs, redoc, document = asyncio.run(use())
    assert (docs.status_code, redoc.status_code, document.status_code) == (404, 404, 200)
    assert "http" not in json.dumps(document.json()["info"])


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/models?what=1", "query.what"),
        ("/v1/files?limit=1&limit=2", "query.limit"),
        ("/v1/files?after=a%00b", "query.after"),
        ("/v1/vector_stores?store_id=x", "query.store_id"),
    ],
)
def test_queries_that_are_not_understood_are_refused(tmp_path: Path, path: str, param: str) -> None:
    async def use() -> httpx.Response:
        async with keyed_app(tmp_path) as served:
            return await served.call(None, "GET", path)

    reply = asyncio.run(use())
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_requests_that_miss_a_route_say_what_there_is(tmp_path: Path) -> None:
    stores, plain_text, as_json = (
        "/v1/vector_stores",
        {"content-type": "text/plain"},
        {"content-type": "application/json"},
    )

    async def use() -> list[httpx.Response]:
        async with keyed_app(tmp_path) as served:
            return [
                await served.call(None, "PATCH", "/v1/responses/resp_1"),
                await served.call(None, "GET", "/v1/files/"),
                await served.call(None, "GET", "/v1/files/file%00"),
                await served.call(None, "POST", stores, content="name", headers=plain_text),
                await served.call(None, "POST", stores, content='{"name"', headers=as_json),
            ]

    method, slash, nul, plain, cut = asyncio.run(use())
    assert (method.status_code, method.headers["allow"]) == (405, "DELETE, GET")
    assert (slash.status_code, nul.status_code, plain.status_code, cut.status_code) == (404, 404, 415, 400)
    assert plain.json()["error"]["code"] == "unsupported_media_type"
    assert cut.json()["error"]["param"] is None
