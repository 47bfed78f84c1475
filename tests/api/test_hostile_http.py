"""Hostile requests, by their numbers in the catalogue of hostile inputs: each has its outcome, none is a 500.

Those to uploads are in `test_hostile_uploads.py`, those about Idempotency-Key in `test_idempotency.py`, another's ids
in `test_authorisation.py`.
"""

import asyncio
import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.guards import MAX_HEADER_BYTES
from rag.searching import MAX_QUESTION_CHARACTERS
from tests.api.keyed_app import keyed_app
from tests.fakes import ScriptedChatModel
from tests.served import serving_stores

CHAT, SEARCH, EXPLAIN = "/v1/chat/completions", "/v1/vector_stores/default/search", "/v1/search/explain"
INNARDS = re.compile(
    r"Traceback|File \"|site-packages|sqlalchemy|SELECT |\.py\b|/tmp/|pydantic|starlette", re.IGNORECASE
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_stores(
        tmp_path_factory.mktemp("hostile"), ScriptedChatModel("Trains run."), max_body_bytes=65536
    ) as served:
        yield served.url


def chat(**change: Any) -> dict[str, Any]:
    return {"model": "quoth", "messages": [{"role": "user", "content": "Which class?"}], **change}


def refused(reply: httpx.Response, *statuses: int) -> None:
    """It is one of the statuses, in the one shape, with an id, and tells nothing of the inside."""
    assert reply.status_code in statuses, (reply.status_code, reply.text[:500])
    error = reply.json()["error"]
    assert all(error[name] for name in ("message", "code", "type"))
    assert reply.headers["x-request-id"].startswith("req_")
    assert not INNARDS.search(reply.text), reply.text


def spoken(url: str, sent: bytes, *, wait: float = 10) -> bytes:
    """What a server answers to these bytes, until it closes the connection or is silent."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(sent)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "٣", "5, 6", "99999999999999999999999", "70000"])
def test_lengths_that_lie_or_exceed(url: str, length: str) -> None:  # 69
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    answer = spoken(url, f"{head}Content-Length: {length}\r\n\r\n{{}}".encode())
    assert answer.split(b" ")[1] in (b"400", b"413"), answer[:200]


def test_two_lengths_and_both_kinds_of_length(url: str) -> None:  # 69
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    for more in ("Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: 2\r\nTransfer-Encoding: gzip\r\n"):
        answer = spoken(url, f"{head}{more}\r\n{{}}".encode())
        assert int(answer.split(b" ")[1]) in range(400, 502), answer[:200]
        assert b" 500 " not in answer[:20]


def test_reading_stops_soon_after_the_limit(url: str) -> None:  # 69
    """A body in chunks, without a length: the connection is closed, and no more of it is taken."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    host, port = url.removeprefix("http://").split(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        connection.sendall(head.encode())
        with pytest.raises(OSError):
            for _ in range(4000):
                connection.sendall(b"2000\r\n" + b" " * 8192 + b"\r\n")
                sent += 8192
    assert sent < 16_000_000, "the server went on reading"


@pytest.mark.long
def test_a_body_that_trickles_is_given_up_and_others_are_served(url: str) -> None:  # 70
    host, port = url.removeprefix("http://").split(":")
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
    slow = [socket.create_connection((host, int(port)), timeout=60) for _ in range(20)]
    for connection in slow:
        connection.sendall(head.encode())
    began = time.monotonic()
    answered = 0
    while time.monotonic() - began < 18:
        for connection in slow:
            connection.sendall(b" ")
        assert httpx.post(f"{url}{CHAT}", json=chat()).status_code == 200
        answered += 1
        time.sleep(1)
    assert answered >= 5
    for connection in slow:
        assert b" 408 " in connection.recv(65536)[:40]
        connection.close()
    assert time.monotonic() - began < 30


def test_a_range_header_of_ten_thousand_ranges(url: str) -> None:  # 73
    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(3000))
    assert len(ranges) < MAX_HEADER_BYTES
    assert httpx.get(f"{url}/v1/models", headers={"range": ranges}).status_code == 200, "ranges are not looked at"
    more = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))
    answer = spoken(
        url, f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nRange: {more}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.split(b" ")[1] in (b"400", b"431")


def test_headers_and_addresses_are_bounded(url: str) -> None:
    refused(httpx.get(f"{url}/v1/models", headers={"x-long": "x" * (MAX_HEADER_BYTES + 1)}), 431)
    refused(httpx.get(f"{url}/v1/models", params={"x": "x" * (MAX_HEADER_BYTES + 1)}), 431)


def test_messages_are_bounded_before_they_are_counted(url: str) -> None:  # 74
    refused(httpx.post(f"{url}{CHAT}", content=json.dumps(chat(user="x " * 1_000_000))), 413)


def test_a_question_of_too_many_characters(tmp_path: Path) -> None:  # 74
    async def go() -> list[httpx.Response]:
        async with keyed_app(tmp_path) as served:
            await served.engine.open_store("default")
            long = "x " * (MAX_QUESTION_CHARACTERS // 2 + 1)
            return [
                await served.call(None, "POST", CHAT, json=chat(messages=[{"role": "user", "content": long}])),
                await served.call(None, "POST", "/v1/responses", json={"model": "quoth", "input": long}),
                await served.call(None, "POST", SEARCH, json={"query": long}),
                await served.call(None, "POST", EXPLAIN, json={"question": long}),
            ]

    for reply in asyncio.run(go()):
        refused(reply, 400)


@pytest.mark.parametrize("number", ["1000000000", "-1", "NaN", "1e999", '"5"', "null5", "5.5", "[]", "9" * 5000])
@pytest.mark.parametrize(
    ("path", "body"),
    [(SEARCH, '{"query": "x", "max_num_results": %s}'), (EXPLAIN, '{"question": "x", "k": %s}'),
     (CHAT, '{"model": "quoth", "messages": [{"role": "user", "content": "x"}], "max_tokens": %s, "temperature": %s}')],
)  # fmt: skip
def test_numbers_that_are_none_or_out_of_bounds(url: str, path: str, body: str, number: str) -> None:  # 75
    reply = httpx.post(f"{url}{path}", content=body.replace("%s", number), headers={"content-type": "application/json"})
    if reply.status_code != 200 or number != '"5"':
        refused(reply, 400)


def test_queries_out_of_bounds(url: str) -> None:  # 75
    for query in (
        "limit=0",
        "limit=-1",
        "limit=1e9",
        "limit=99999999999999999999",
        "limit=NaN",
        "after=%00",
        "order=up",
    ):
        for path in ("/v1/files", "/v1/vector_stores", "/v1/conversations", "/v1/documents"):
            reply = httpx.get(f"{url}{path}?{query}")
            if reply.status_code != 200:
                refused(reply, 400, 404)


def deep(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "eq", "key": "year", "value": 2026}
    for _ in range(depth):
        found = {"type": "and", "filters": [found]}
    return found


@pytest.mark.parametrize(
    "filters",
    [
        {"type": "eq", "key": "year", "value": 1, "more": 1}, {"type": "like", "key": "year", "value": "x"},
        {"type": "eq", "key": "", "value": 1}, {"type": "and"}, {"type": "and", "filters": "x"}, {"key": "x"}, [], "x",
        {"type": "in", "key": "x", "value": list(range(5000))}, {"type": "eq", "key": "x" * 5000, "value": 1},
        {"type": "eq", "key": "store", "value": {"$ne": 1}}, deep(100), deep(400),
    ],
)  # fmt: skip
def test_filters_that_are_none(url: str, filters: Any) -> None:  # 76
    refused(httpx.post(f"{url}{SEARCH}", json={"query": "x", "filters": filters}), 400)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "quoth", "model": "other", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "quoth", "messages": [{"role": "user", "content": "x", "content": "y"}]}',
        b'{"model": "quoth", "messages": [{"role": "user", "content": "\\ud800"}], "stop": "\\udfff"}',
        b'{"model": "quoth", "seed": ' + b"9" * 5000 + b', "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "quoth", "messages": ' + b"[" * 20000 + b"]" * 20000 + b"}",
        b'{"model": "quoth", "metadata": ' + b'{"a":' * 9000 + b"1" + b"}" * 9000 + b"}",
        b'{"model": "quoth", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "quoth", "temperature": -Infinity, "messages": [{"role": "user", "content": "x"}]}',
        b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"", b"null", b"[]", b'"x"', b"{", b"\x00" * 100,
        b'{"model": "\xff"}',
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)  # fmt: skip
def test_json_that_is_none_or_means_two_things(url: str, body: bytes) -> None:  # 79
    reply = httpx.post(f"{url}{CHAT}", content=body, headers={"content-type": "application/json"})
    if b"ud800" in body and reply.status_code == 200:
        pytest.fail("half a character was taken for text")
    refused(reply, 400)


def unsigned(**claims: Any) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "admin", "scope": "admin", **claims})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def test_keys_that_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # 80
    async def go() -> list[httpx.Response]:
        async with keyed_app(tmp_path) as served:
            served.make_key("good", "admin")
            good = served.secrets["good"]
            ways: list[dict[str, Any]] = [
                {"headers": [("authorization", f"Bearer {unsigned()}")]},
                {"headers": [("authorization", f"Bearer {unsigned(iss='elsewhere', exp=1)}")]},
                {"headers": [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")]},
                {"headers": [("authorization", f"Bearer {good}, Bearer {good}")]},
                {"headers": [("authorization", f"Basic {base64.b64encode(f'x:{good}'.encode()).decode()}")]},
                {"headers": [("authorization", good)]},
                {"headers": [("x-api-key", good), ("api-key", good), ("cookie", f"key={good}")]},
                {"params": {"api_key": good, "key": good, "access_token": good}},
                {"headers": [("authorization", f"Bearer {good[:-1]}")]},
                {"headers": [("authorization", f"Bearer {good}x")]},
                {"headers": [("authorization", f"Bearer {good.swapcase()}")]},
                {"headers": [("authorization", "Bearer ")]},
                {"headers": [("authorization", b"Bearer \xff\xfe")]},
                {"headers": [("authorization", "Bearer " + "x" * 20_000)]},
            ]  # fmt: skip
            found = [await served.call(None, "GET", "/v1/models", **way) for way in ways]
            assert good not in caplog.text, "a key was logged"
            assert (await served.call("good", "GET", "/v1/models")).status_code == 200
            return found

    replies = asyncio.run(go())
    for reply in replies:
        refused(reply, 401)
    assert len({reply.text for reply in replies}) == 1, "what is wrong is not told"


@pytest.mark.parametrize(
    "path",
    ["/v1/../v1/files", "/v1/files/..%2f..%2fetc%2fpasswd", "/v1/files/%00", "/v1/files/" + "x" * 3000, "/v1//files",
     "/v1/conversations/%ff", "/v1/vector_stores/%2e%2e", "/v1/models/quoth%2f..", "/v1/documents/%F0%9F%98%80", "//",
     "/v1/responses/resp_%0d%0aX-Injected:1", "/%c0%ae%c0%ae/"],
)  # fmt: skip
def test_paths_that_lead_nowhere(url: str, path: str) -> None:
    answer = spoken(url, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert int(answer.split(b" ")[1]) in (200, 307, 400, 404), answer[:300]
    assert b"x-injected" not in answer.lower().split(b"\r\n\r\n")[0]
    assert b"root:" not in answer
