"""Hostile names and forms, by their numbers in the catalogue of hostile inputs: each has its outcome, none is a 500."""

import asyncio
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message

from api.body_limits import LEAST_BYTES_A_SECOND, body_limit, bounded
from rag.assembly import Engine
from rag.settings import load_settings
from tests.api.uploading import (
    FILE,
    MAX_UPLOAD,
    PURPOSE,
    emptied,
    file_engine,
    form,
    on_disk,
    part,
    post,
    serving_files,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, str]]:
    with file_engine(tmp_path_factory.mktemp("served") / "data") as engine, serving_files(engine) as url:
        yield engine, url


@pytest.fixture
def engine(shared: tuple[Engine, str]) -> Iterator[Engine]:
    yield shared[0]
    emptied(shared[0])


@pytest.fixture
def url(shared: tuple[Engine, str], engine: Engine) -> str:
    return shared[1]


LONG = b"n" * 4096
NAMED = b'name="file"; filename="a"'


def named(filename: bytes) -> bytes:
    return form(PURPOSE, part(b'name="file"; filename="' + filename + b'"'))


@pytest.mark.parametrize(
    ("filename", "outcome"),
    [
        (b"../../etc/x", "x"),  # 1
        (b"/etc/passwd", "passwd"),  # 2
        (b"..\\..\\x", "x"),  # 3
        (b"..\\\\..\\\\x", "x"),  # 3, as httpx escapes it
        (b"%2e%2e%2fx", "%2e%2e%2fx"),  # 4
        (b"a\0.txt", 400),  # 5
        (LONG, 400),  # 6
        (b"n" * 300, 400),  # 6
        (b"a%0D%0A\x1b[31mERROR", "a\\x0d\\x0a\\x1b[31mERROR"),  # 8
        (b"a\"; filename*=\"UTF-8''b", 400),  # 9
        (b'a"; filename="b', 400),  # 9
        (b"", 400),  # 10
        (b" ", 400),  # 10
        (b"..", 400),  # 10
        (b"CON", "CON"),  # 11
        (b"x. ", "x. "),  # 11
        ("invoice\u202efdp.exe".encode(), "invoice\\u202efdp.exe"),  # 13
        (b"na\xefve.txt", 400),  # Latin-1
        (b"a%22b.txt", 'a"b.txt'),
        (b'a\\"b.txt', 'a"b.txt'),
    ],
)
def test_hostile_names(url: str, engine: Engine, filename: bytes, outcome: str | int) -> None:
    before = set(engine.settings.data_dir.parent.rglob("*"))
    reply = post(url, named(filename))
    if isinstance(outcome, int):
        assert (reply.status_code, reply.json()["error"]["type"]) == (outcome, "invalid_request_error")
        assert on_disk(engine) == set()
    else:
        assert reply.status_code == 200, reply.text
        assert reply.json()["filename"] == outcome
        assert on_disk(engine) == {reply.json()["id"]}
    folder = engine.settings.data_dir / "files"
    assert {path for path in set(engine.settings.data_dir.parent.rglob("*")) - before if path.parent != folder} <= {
        folder
    }


def test_names_that_look_alike_are_two_files(url: str) -> None:  # 12
    replies = [post(url, named(name.encode())) for name in ("caf\u00e9", "cafe\u0301", "CAF\u00c9")]
    assert len({reply.json()["id"] for reply in replies}) == 3
    assert [reply.json()["filename"] for reply in replies] == ["caf\u00e9", "cafe\u0301", "CAF\u00c9"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(form(FILE, PURPOSE), 200, id="a file before its purpose"),
        pytest.param(b"\r\n" * 100 + form(FILE, PURPOSE), 200, id="71 a few line ends before the boundary"),
        pytest.param(b"\r\n" * 800_000 + form(FILE, PURPOSE), 413, id="71 megabytes of them"),
        pytest.param(b"\r" * 1_600_000 + form(FILE, PURPOSE), 413, id="71 of CR alone"),
        pytest.param(b"preamble" * 200_000 + form(FILE, PURPOSE), 400, id="71 of other bytes"),
        pytest.param(form(FILE, PURPOSE) + b"x" * 1_600_000, 413, id="71 behind the last boundary"),
        pytest.param(form(*[part(NAMED)] * 10_000, PURPOSE), 400, id="72 10,000 parts"),
        pytest.param(form(FILE, *(part(b'name="f%d"' % n) for n in range(10_000))), 400, id="72 10,000 fields"),
        pytest.param(form(FILE, PURPOSE, *(part(b'name="f%d"' % n) for n in range(30))), 400, id="72 30 fields"),
        pytest.param(form(FILE, PURPOSE, PURPOSE), 400, id="a field twice"),
        pytest.param(form(FILE, FILE, PURPOSE), 400, id="two files"),
        pytest.param(form(PURPOSE), 400, id="no file"),
        pytest.param(form(PURPOSE, part(b'name="file"')), 400, id="a file without a name"),
        pytest.param(form(PURPOSE, part(b'filename="a.txt"')), 400, id="a part without a name"),
        pytest.param(form(PURPOSE, part(b'name="document"; filename="a.txt"')), 400, id="a file elsewhere"),
        pytest.param(form(FILE, part(b'name="purpose"', b"a" * 1_200_000)), 413, id="a field of more than 1 MB"),
        pytest.param(form(FILE, part(b'name="purpose"', b"\xff")), 400, id="a field that is not UTF-8"),
        pytest.param(form(PURPOSE, part(NAMED, b"x", b"X: " + b"y" * 9000)), 400, id="a long header"),
        pytest.param(form(PURPOSE, part(NAMED, b"x", *[b"X: y"] * 20)), 400, id="many headers"),
        pytest.param(form(PURPOSE, part(b'name="file" filename="a"')), 400, id="a malformed disposition"),
        pytest.param(form(PURPOSE, part(b'name="file"; ' + b"\\" * 4000)), 400, id="a disposition of backslashes"),
        pytest.param(form(PURPOSE, b"Content-Disposition: attachment; " + NAMED + b"\r\n\r\nx"), 400, id="a mail"),
        pytest.param(form(PURPOSE, b"no header at all\r\n\r\nx"), 400, id="no header"),
        pytest.param(form(FILE, PURPOSE, end=b""), 400, id="no last boundary"),
        pytest.param(form(FILE, PURPOSE)[:-3], 400, id="cut off"),
        pytest.param(form(FILE, PURPOSE)[:200], 400, id="cut off in the file"),
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"{}", 400, id="JSON"),
        pytest.param(form(PURPOSE, part(NAMED, b"x" * (MAX_UPLOAD + 1))), 413, id="69 too large"),
        pytest.param(form(PURPOSE, part(NAMED, b"x" * MAX_UPLOAD)), 200, id="69 just not too large"),
    ],
)  # fmt: skip
def test_hostile_forms(url: str, engine: Engine, body: bytes, status: int) -> None:
    reply = post(url, body)
    assert reply.status_code == status, reply.text
    assert len(on_disk(engine)) == (1 if status == 200 else 0)
    if status != 200:
        assert reply.json()["error"]["message"]


def test_parts_are_counted_before_they_are_looked_at(url: str) -> None:  # 72
    fields = [part(b'name="f%d"' % n) for n in range(20)]
    assert "more than 20 parts" in post(url, form(FILE, *fields)).json()["error"]["message"]
    assert post(url, form(FILE, *fields[:19])).json()["error"]["code"] == "invalid_request"  # no purpose


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b",
     f"multipart/form-data; boundary={'b' * 300}", "multipart/form-data; boundary=\"", "multipart/form-data;boundary"],
)  # fmt: skip
def test_hostile_content_types(url: str, engine: Engine, content_type: str) -> None:
    reply = httpx.post(f"{url}/v1/files", content=form(FILE, PURPOSE), headers={"content-type": content_type})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")
    assert on_disk(engine) == set()


@pytest.mark.parametrize("length", ["-1", "999999999999", "1e3", "0x10"])
def test_lengths_that_lie_or_exceed(url: str, engine: Engine, length: str) -> None:  # 69
    host, port = url.removeprefix("http://").split(":")
    head = f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        status = int(connection.recv(4096).split()[1])
    assert status in {400, 413}
    assert on_disk(engine) == set()


def test_a_body_without_a_length_is_bounded_as_well(url: str, engine: Engine) -> None:  # 69
    def endless() -> Iterator[bytes]:
        yield form(PURPOSE, end=b"") + b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 100_000

    assert post(url, endless()).status_code == 413
    assert on_disk(engine) == set()


def test_a_body_that_trickles_is_given_up_and_one_that_flows_is_not() -> None:  # 70
    now = 0.0

    async def trickle(seconds: float, size: int, count: int) -> int:
        nonlocal now
        sent = 0

        async def receive() -> Message:
            nonlocal now, sent
            now += seconds
            sent += 1
            return {"type": "http.request", "body": b"x" * size, "more_body": sent < count}

        receiving = bounded(receive, 10**9, grace_seconds=20, clock=lambda: now)
        while (await receiving())["more_body"]:
            pass
        return sent

    assert asyncio.run(trickle(1, LEAST_BYTES_A_SECOND, 1000)) == 1000
    now = 0.0
    with pytest.raises(HTTPException) as caught:
        asyncio.run(trickle(1, 1, 1000))
    assert caught.value.status_code == 408
    assert now < 30


def test_a_body_that_stops_is_given_up_and_a_client_that_waits_is_not() -> None:  # 70
    async def silent() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(HTTPException) as caught:
        asyncio.run(bounded(silent, 10, grace_seconds=0.01)())  # type: ignore[arg-type]
    assert caught.value.status_code == 408

    async def waits_for_the_answer() -> str:
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await asyncio.sleep(0.05)
            return {"type": "http.disconnect"}

        receiving = bounded(receive, 10, grace_seconds=0.01)
        await receiving()
        return str((await receiving())["type"])

    assert asyncio.run(waits_for_the_answer()) == "http.disconnect"


def test_only_uploads_may_be_large() -> None:
    server = load_settings().server
    assert body_limit("/v1/files", "POST", server) > server.max_upload_bytes
    for path, method in (("/v1/files", "GET"), ("/v1/files/x", "POST"), ("/v1/vector_stores", "POST")):
        assert body_limit(path, method, server) == server.max_body_bytes


def test_a_client_that_leaves_in_the_middle_leaves_nothing(url: str, engine: Engine) -> None:
    host, port = url.removeprefix("http://").split(":")
    body = form(FILE, PURPOSE)
    head = f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-10])
        deadline = time.monotonic() + 10
        while not on_disk(engine) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(on_disk(engine)) == 1
    while on_disk(engine) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert on_disk(engine) == set()
