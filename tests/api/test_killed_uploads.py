"""Uploads and a server that is killed: what it acknowledged is there, and nothing else is."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.api.uploading import PURPOSE, form, part, post

ROOT = Path(__file__).parents[2]


@contextmanager
def killable(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "tests.api.file_server", str(data)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    client.get(f"{url}/health/live")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
        yield process, url
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_kill_takes_nothing_that_was_acknowledged_and_leaves_nothing_else(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = {"idempotency-key": "once"}
    body = form(PURPOSE, part(b'name="file"; filename="a.bin"', bytes(range(256)) * 8000))
    with killable(data) as (process, url):
        kept = post(url, body, **key).json()
        process.kill()
    with killable(data) as (process, url):
        assert httpx.get(f"{url}/v1/files/{kept['id']}/content").content == bytes(range(256)) * 8000
        again = post(url, body.replace(b"--b", b"--other"), "other", **key)
        assert (again.json(), again.headers["idempotent-replayed"]) == (kept, "true")
        host, port = url.removeprefix("http://").split(":")
        head = f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-10])
            deadline = time.monotonic() + 20
            while len(list((data / "files").iterdir())) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(list((data / "files").iterdir())) == 2
            process.kill()
            process.wait()
    assert len(list((data / "files").iterdir())) == 2
    with killable(data) as (_, url):
        assert [file["id"] for file in httpx.get(f"{url}/v1/files").json()["data"]] == [kept["id"]]
        assert [path.name for path in (data / "files").iterdir()] == [kept["id"]]
