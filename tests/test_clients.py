"""docs/clients.md: its snippets run as they stand, against a server that was started as it says."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from rag.backends.vectors.edge_process import stop_worker
from rag.errors import ModelNotFoundError
from rag.models import resolve
from rag.settings import load_settings

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
SECONDS = 120

pytestmark = pytest.mark.slow

ANSWER = "Every full-time employee has **28 days** of paid annual leave in a calendar year."
QUOTED = re.escape(ANSWER)
# What is printed, in this order, by each block of a language below a heading.
WALK = [
    r"(?m)^1\.00 leave\.md.*Annual leave", rf"(?m)^{QUOTED}$", rf"quoted: [\"']{QUOTED}[\"'] in Leave policy 2026",
    r"5 unused days", rf"{QUOTED} \[\s*[\"']{QUOTED}[\"']",
]  # fmt: skip
PRINTED: dict[tuple[str, str, int], list[str]] = {
    ("Python: openai", "python", 0): WALK,
    ("JavaScript: openai", "javascript", 0): WALK,
    ("curl", "sh", 0): [
        r'"type":"vector_store.files_batch.completed"', r'"search_query":\["paid annual leave"\]',
        r'"filename":"leave.md"', rf'"type":"output_text","text":"{QUOTED}"', r"data: \[DONE\]",
        r'"object":"vector_store.deleted","deleted":true', r'"object":"file","deleted":true',
    ],
    ("LangChain", "python", 0): [
        rf"(?m)^{QUOTED}\n{QUOTED}$", r"leave\.md \{.*'file_index': 81", "(?m)^384 dimensions$"
    ],
    ("LangChain", "python", 1): [
        r"(?m)^1\.00 file://.*leave\.md: .*Annual leave",
        r"(?m)^Leave policy 2026\nExpenses$",
    ],
    ("LlamaIndex", "python", 0): [rf"(?m)^{QUOTED}$", rf"{QUOTED} \['{QUOTED}'\]"],
    ("Vercel AI SDK", "javascript", 0): [rf"(?m)^{QUOTED}$", rf"{QUOTED} \[ 'leave.md' \]"],
    ("MCP", "python", 0): [r"'ask'", rf"(?m)^{QUOTED}$", rf"\['{QUOTED}'\]"],
}  # fmt: skip
# Told to people, or lines for another program's environment.
NOT_RUN = {("A server and a key", "sh", 0), ("A server and a key", "sh", 1), ("Open WebUI", "sh", 0)}


def _blocks() -> dict[tuple[str, str, int], str]:
    found: dict[tuple[str, str, int], str] = {}
    for section in re.split(r"(?m)^## ", DOCUMENT)[1:]:
        heading = section.partition("\n")[0]
        for language, code in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", section):
            number = sum(key[:2] == (heading, language) for key in found)
            found[heading, language, number] = code
    return found


BLOCKS = _blocks()


@dataclass(frozen=True)
class Started:
    """A server as the document starts it, and its key."""

    url: str
    key: str
    data: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a client is told."""
        own = {"OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_KEY": self.key, "QUOTH_DATA_DIR": str(self.data)}
        return {**os.environ, **own, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}

    def client(self) -> openai.OpenAI:
        """OpenAI's own."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    settings = load_settings()
    try:
        resolve(settings.embedder.model, settings.models_dir, download=False)
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    data = tmp_path_factory.mktemp("clients") / "data"
    told = [shlex.split(line, comments=True) for line in BLOCKS["A server and a key", "sh", 0].splitlines()]
    ingest, keys, serve = ([sys.executable, "-m", "cli.main", *words] for _, *words in told)
    options = {"cwd": ROOT, "env": {**os.environ, "QUOTH_DATA_DIR": str(data), "PYTHONUNBUFFERED": "1"}}
    subprocess.run(ingest, **options, check=True, capture_output=True, timeout=SECONDS)  # type: ignore[call-overload]
    made = subprocess.run(keys, **options, check=True, capture_output=True, text=True, timeout=SECONDS)  # type: ignore[call-overload]
    server = subprocess.Popen([*serve, "--port", "0"], **options, stdout=subprocess.PIPE, text=True)  # type: ignore[call-overload]
    try:
        url = None
        while url is None:
            line = server.stdout.readline()
            assert line, "the server ended before it served"
            url = re.search(r"Serving on (\S+)", line)
        yield Started(url[1], made.stdout.strip(), data)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.communicate(timeout=10)
        stop_worker(data)


def test_every_snippet_is_known_here() -> None:
    assert set(BLOCKS) == PRINTED.keys() | NOT_RUN


@pytest.mark.parametrize("block", PRINTED, ids=lambda block: f"{block[0]} {block[2]}")
def test_a_snippet_runs_as_it_stands(block: tuple[str, str, int], started: Started, tmp_path: Path) -> None:
    before = _left(started)
    done = subprocess.run(
        _command(block, tmp_path), check=False, cwd=ROOT, env=started.environment, capture_output=True, text=True,
        timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rest = done.stdout
    for pattern in PRINTED[block]:
        found = re.search(pattern, rest)
        assert found, f"{pattern} is not in {rest}"
        rest = rest[found.end() :]
    assert _left(started) == before


def _left(started: Started) -> tuple[list[str], list[str]]:
    """Stores and files that are there."""
    with started.client() as client:
        return [store.id for store in client.vector_stores.list()], [file.id for file in client.files.list()]


def _command(block: tuple[str, str, int], folder: Path) -> list[str]:
    """Write a snippet to a file, and say what runs it."""
    heading, language, _ = block
    if language == "javascript":
        script = folder / "snippet.mjs"
        script.write_text(BLOCKS[block], encoding="utf-8")
        (folder / "node_modules").symlink_to(_node_modules(BLOCKS[block]))
        return ["node", str(script)]
    if language == "sh":
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        return ["sh", "-c", BLOCKS[block]]
    script = folder / "snippet.py"
    script.write_text(BLOCKS[block], encoding="utf-8")
    if heading != "LlamaIndex":
        return [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)]
    if not (python := os.environ.get("TEST_LLAMA_INDEX")):
        pytest.skip("set TEST_LLAMA_INDEX to a Python that has llama-index-llms-openai-like")
    return [python, str(script)]


def _node_modules(code: str) -> Path:
    packages = re.findall(r'from "((?!node:)[^"]+)"', code)
    install = f"npm install {' '.join(sorted(packages))}"
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    named = os.environ.get("TEST_NODE_MODULES")
    if not named:
        pytest.skip(f"set TEST_NODE_MODULES to the node_modules of a folder in which you ran {install}")
    modules = Path(named)
    if missing := [package for package in packages if not (modules / package).is_dir()]:
        pytest.skip(f"{modules} lacks {', '.join(missing)}: {install}")
    return modules.resolve()
