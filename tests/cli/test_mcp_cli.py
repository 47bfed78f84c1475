"""`quoth mcp` and `quoth search --explain` as programs use them: real models, a small folder, the official client."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from rag.backends.vectors.edge_process import stop_worker
from rag.models import list_models
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
EMBEDDER = "BAAI/bge-small-en-v1.5"
TEXT = "Trains are booked in second class."


def environment(data: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    models = {"QUOTH_MODELS_DIR": os.environ["QUOTH_MODELS_DIR"]} if "QUOTH_MODELS_DIR" in os.environ else {}
    return {**clean, **models, "PYTHONPATH": str(ROOT), "QUOTH_DATA_DIR": str(data)}


def quoth(*arguments: str, data: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments], cwd=data.parent, env=environment(data), capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `data`, in which `docs` are the store `default` and `others` the store `others`."""
    present = {model.name for model in list_models(load_settings().models_dir) if model.present}
    if EMBEDDER not in present:
        pytest.skip(f"{EMBEDDER} is not in the models folder: make setup")
    folder = tmp_path_factory.mktemp("mcp")
    for store, text in (("default", TEXT), ("others", "Employees get thirty days of leave.")):
        (folder / store).mkdir()
        (folder / store / f"{store}.md").write_text(f"# Rules\n\n{text}\n")
        quoth("ingest", str(folder / store), "--store", store, data=folder / "data")
    yield folder
    stop_worker(folder / "data")


def configured(place: Path, *arguments: str) -> StdioServerParameters:
    """The client as docs/mcp.md configures it, with this machine's own paths."""
    shown = (ROOT / "docs" / "mcp.md").read_text().split("```json\n")[1].split("```")[0]
    server = json.loads(shown)["mcpServers"]["quoth"]
    assert (Path(server["command"]).name, server["args"][:1]) == ("quoth", ["mcp"])
    assert list(server["env"]) == ["QUOTH_DATA_DIR"]
    return StdioServerParameters(
        command=sys.executable, args=["-m", "cli.main", *server["args"], *arguments], env=environment(place / "data"),
        cwd=str(place),
    )  # fmt: skip


def used(parameters: StdioServerParameters, *calls: tuple[str, dict[str, Any]], era: str = "auto") -> list[Any]:
    async def go() -> list[Any]:
        async with Client(parameters, mode=era) as client:
            return [await client.call_tool(tool, arguments) for tool, arguments in calls]

    return asyncio.run(go())


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_a_client_that_starts_the_server_searches_asks_and_reads(place: Path, era: str) -> None:
    question = "Which class are trains booked in?"
    found, answered, stores, wrong = used(
        configured(place),
        ("search_documents", {"query": question, "store": "default"}),
        ("ask", {"question": question, "store": "default"}),
        ("list_stores", {}),
        ("ask", {"question": question, "store": "nowhere"}),
        era=era,
    )
    assert TEXT in found.structured_content["passages"][0]["quote"]
    assert answered.structured_content["citations"][0]["quote"] == TEXT
    assert [each["name"] for each in stores.structured_content["stores"]] == ["default", "others"]
    assert wrong.is_error
    assert "There is no store named 'nowhere'" in wrong.content[0].text


def test_a_server_of_one_store_shows_no_other(place: Path) -> None:
    stores, foreign = used(
        configured(place, "--store", "others"),
        ("list_stores", {}),
        ("search_documents", {"query": "trains", "store": "default"}),
    )
    assert [each["name"] for each in stores.structured_content["stores"]] == ["others"]
    assert foreign.is_error


def test_a_store_that_is_not_there_is_told_before_anything_is_served(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "mcp", "--store", "nowhere"], cwd=place, env=environment(place / "data"),
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "")
    assert "There is no store named 'nowhere'" in done.stderr


def test_a_search_is_explained_to_people_and_to_programs(place: Path) -> None:
    (place / "default" / "late.md").write_text("# Late\n\nThis came after the ingest.\n")
    shown = quoth("search", "Which class are trains in?", "--explain", data=place / "data")
    assert "Words that count: class trains" in shown
    assert "returned" in shown
    told = json.loads(quoth("search", "trains", "--expect", "default.md", "--json", data=place / "data"))
    assert told["expected"]["verdict"] == "returned"
    assert told["candidates"][0]["dense_rank"] == 1
    # A terminal may ask the disk, too.
    late = str(place / "default" / "late.md")
    told = json.loads(quoth("search", "trains", "--expect", late, "--json", data=place / "data"))
    assert told["expected"]["verdict"] == "unknown"
    assert "No ingest has found it yet" in told["expected"]["sentence"]
