"""The container files name only what exists: settings, sources, locks, services. No engine runs them here."""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag.settings import environment_names

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml"])
def test_every_setting_that_is_named_exists(file: str) -> None:
    named = set(re.findall(r"QUOTH_[A-Z0-9_]+", (ROOT / file).read_text()))
    assert named
    assert named <= set(environment_names())


def test_keys_have_no_default() -> None:
    keys = {name: value for service in SERVICES.values() for name, value in service["environment"].items()
            if name.endswith("API_KEY")}  # fmt: skip
    assert set(keys) == {"QDRANT__SERVICE__API_KEY", "QUOTH_QDRANT__API_KEY", "QUOTH_SERVER__API_KEY"}
    assert all(re.fullmatch(r"\$\{(\w+):\?set \1 in \.env\}", value) for value in keys.values())
    assert keys["QDRANT__SERVICE__API_KEY"] == keys["QUOTH_QDRANT__API_KEY"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_rights_to_lose(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert {volume.split(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_the_image_of_qdrant_is_pinned() -> None:
    assert re.fullmatch(r"qdrant/qdrant:v\d+\.\d+\.\d+", SERVICES["qdrant"]["image"])


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    allowed = {line[1:].split("/")[0] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert {"rag", "ingest", "api", "evals", "cli"} <= copied


def test_every_lock_that_is_installed_exists() -> None:
    locks = set(re.findall(r"locks/(\w+)\.txt", DOCKERFILE)) | set(re.findall(r"TORCH=(torch[\w-]*)", DOCKERFILE))
    assert {"base", "cuda", "torch", "torch-cpu"} <= locks | {"torch-cpu"}
    assert all((ROOT / "locks" / f"{lock}.txt").is_file() for lock in locks | {"torch-cpu"})


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001"]


@contextmanager
def server_answering(status: int) -> Iterator[int]:
    """An HTTP server on loopback whose every answer has this status; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_health_command_tells_ready_from_not_ready(status: int, is_healthy: bool) -> None:
    kind, *command = SERVICES["qdrant"]["healthcheck"]["test"]
    assert kind == "CMD"
    with server_answering(status) as port:
        command = [part.replace("/6333", f"/{port}") for part in command]
        done = subprocess.run(command, check=False, timeout=20)
    assert (done.returncode == 0) is is_healthy
