"""`quoth serve` beside the command line on one data directory, spoken to by the official client."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import openai
import pytest

from rag.backends.vectors.edge_process import stop_worker
from rag.errors import ModelNotFoundError
from rag.models import resolve
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
QUESTION = [{"role": "user", "content": "How many days of paid annual leave are there in 2026?"}]


def start(*arguments: str, data: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "QUOTH_DATA_DIR": str(data), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.Popen(
        command, cwd=data.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """A running server over the examples: its base URL, all it printed until it served, and the data directory."""
    settings = load_settings()
    try:
        resolve(settings.embedder.model, settings.models_dir, download=False)
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    data = tmp_path_factory.mktemp("serve") / "data"
    ingest = start("ingest", str(ROOT / "examples" / "handbook"), data=data)
    ingest.communicate(timeout=120)
    assert ingest.returncode == 0
    server = start("serve", "--port", "0", data=data)
    assert server.stdout is not None
    printed = ""
    while "curl" not in printed:
        line = server.stdout.readline()
        assert line, server.communicate()[1]
        printed += line
    try:
        yield printed.split("Serving on ")[1].split(" ")[0], printed, data
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=30)
        stop_worker(data)
        assert "Traceback" not in errors
        assert server.returncode == 0


def test_it_prints_what_the_store_holds_and_what_to_try(served: tuple[str, str, Path]) -> None:
    _, printed, _ = served
    assert "Store 'default':" in printed
    assert "/v1/chat/completions" in printed


@pytest.mark.parametrize("stream", [False, True])
def test_the_official_client_gets_citations_that_stand_in_the_file(served: tuple[str, str, Path], stream: bool) -> None:
    url, _, _ = served
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        if stream:
            chunks = list(client.chat.completions.create(model="quoth/default", messages=QUESTION, stream=True))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            citations = chunks[-1].citations  # type: ignore[attr-defined]
        else:
            done = client.chat.completions.create(model="quoth/default", messages=QUESTION)
            text, citations = done.choices[0].message.content or "", done.citations  # type: ignore[attr-defined]
    assert "days" in text
    assert citations
    for citation in citations:
        path = Path(unquote(urlsplit(citation["uri"]).path))
        if path.suffix in (".md", ".txt"):
            assert citation["quote"] in path.read_text()


def test_the_command_line_works_on_the_same_data_meanwhile(served: tuple[str, str, Path]) -> None:
    url, _, data = served
    ingest = start("ingest", str(ROOT / "examples" / "support"), "--store", "support", data=data)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        asked = 0
        while ingest.poll() is None or asked < 3:
            assert client.chat.completions.create(model="quoth/default", messages=QUESTION).choices
            asked += 1
        ingest.communicate()
        assert ingest.returncode == 0
        assert {"quoth/default", "quoth/support"} <= {model.id for model in client.models.list()}
        price = [{"role": "user", "content": "What does the seal kit SK-40 cost?"}]
        answer = client.chat.completions.create(model="quoth/support", messages=price)
    assert "34" in (answer.choices[0].message.content or "")
