"""The command line, as a person and a program use it: real models, the real engine, a real folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from rag.backends.vectors.edge_process import stop_worker
from rag.models import DEFAULTS, list_models
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
EMBEDDER = "BAAI/bge-small-en-v1.5"


def quoth(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    models = {"QUOTH_MODELS_DIR": os.environ["QUOTH_MODELS_DIR"]} if "QUOTH_MODELS_DIR" in os.environ else {}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=data.parent,
        env={**clean, **models, "PYTHONPATH": str(ROOT), "QUOTH_DATA_DIR": str(data), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A data directory with the examples in it, and the summary of the ingest that made it."""
    present = {model.name for model in list_models(load_settings().models_dir) if model.present}
    if EMBEDDER not in present:
        pytest.skip(f"{EMBEDDER} is not in the models folder: make setup")
    data = tmp_path_factory.mktemp("cli") / "data"
    done = quoth("ingest", str(ROOT / "examples"), "--json", data=data)
    yield data, as_json(done)
    stop_worker(data)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['quoth', '--help']\n"
        "from cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'pydantic', 'sqlalchemy', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "ingest" in done.stdout


def test_the_default_models_are_known() -> None:
    assert {EMBEDDER} <= set(DEFAULTS)


def test_ingest_adds_up(examples: tuple[Path, dict[str, Any]]) -> None:
    _, summary = examples
    assert list(summary) == [
        "store", "found", "indexed", "new", "changed", "unchanged", "removed", "moved", "skipped", "failed", "chunks",
        "seconds",
    ]  # fmt: skip
    refused = sum(summary["skipped"].values()) + sum(summary["failed"].values())
    assert summary["found"] == summary["indexed"] + summary["unchanged"] + refused
    assert summary["indexed"] >= 15
    assert summary["failed"] == {}


def test_ingesting_again_changes_nothing(examples: tuple[Path, dict[str, Any]]) -> None:
    data, first = examples
    again = as_json(quoth("ingest", str(ROOT / "examples"), "--json", data=data))
    assert (again["unchanged"], again["indexed"], again["chunks"]) == (first["indexed"], 0, first["chunks"])


def test_search_finds_where_it_says(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    found = as_json(quoth("search", "annual leave days", "-k", "3", "--json", data=data))
    assert found["question"] == "annual leave days"
    assert len(found["hits"]) == 3
    for hit in found["hits"]:
        assert set(hit) == {
            "chunk_id", "document_id", "uri", "title", "score", "text", "char_start", "char_end", "page_start",
            "page_end", "headings", "locator", "expands", "also_in",
        }  # fmt: skip
        path = Path(unquote(urlsplit(hit["uri"]).path))
        if path.suffix in (".md", ".txt"):
            assert path.read_text()[hit["char_start"] : hit["char_end"]] == hit["text"]


def test_a_passage_names_the_other_documents_that_hold_it(tmp_path: Path) -> None:
    docs, data = tmp_path / "docs", tmp_path / "data"
    docs.mkdir()
    for name in ("leave.md", "copy of leave.md"):
        (docs / name).write_text("# Leave\n\nEverybody has 28 days of leave.\n")
    quoth("ingest", str(docs), data=data)
    (hit,) = as_json(quoth("search", "days of leave", "--json", data=data))["hits"]
    assert {hit["uri"], *(copy["uri"] for copy in hit["also_in"])} == {path.as_uri() for path in docs.iterdir()}
    assert "also in " in quoth("search", "days of leave", data=data).stdout


def test_search_and_ask_take_a_filter(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    everything = as_json(quoth("search", "annual leave days", "-k", "50", "--json", data=data))["hits"]
    suffixes = {Path(unquote(urlsplit(hit["uri"]).path)).suffix for hit in everything}
    assert {".md"} < suffixes
    where = ("--where", 'type = md and path ~ "examples/*" and date > 1970-01-01')
    found = as_json(quoth("search", "annual leave days", "-k", "50", *where, "--half-life", "30", "--json", data=data))
    assert {hit["uri"].rpartition(".")[2] for hit in found["hits"]} == {"md"}
    assert {hit["chunk_id"] for hit in found["hits"]} >= {
        hit["chunk_id"] for hit in everything if hit["uri"].endswith(".md")
    }
    told = as_json(quoth("search", "annual leave", *where, "--explain", "--json", data=data))
    assert told["filter"].startswith('quoth.suffix in (".md"')
    assert {"returned", "filtered"} <= {candidate["outcome"] for candidate in told["candidates"]}
    nothing = as_json(quoth("ask", "How many days of leave?", "--where", "type = nothing", "--json", data=data))
    assert (nothing["refused"], nothing["citations"]) == (True, [])


def test_ask_cites_what_stands_in_the_file(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    cases = json.loads((ROOT / "tests" / "example_questions.json").read_text())
    question = next(case for case in cases if case.get("file", "").endswith(".md"))["question"]
    done = as_json(quoth("ask", question, "--json", data=data))
    assert done["citations"]
    for citation in done["citations"]:
        path = Path(unquote(urlsplit(citation["uri"]).path))
        assert done["answer"][citation["answer_start"] : citation["answer_end"]]
        if path.suffix in (".md", ".txt"):
            assert path.read_text()[citation["char_start"] : citation["char_end"]] == citation["quote"]


def test_ask_tells_how_each_sentence_stands_and_refuses_what_is_not_there(
    examples: tuple[Path, dict[str, Any]],
) -> None:
    data, _ = examples
    done = as_json(quoth("ask", "How many days of annual leave are there?", "--json", data=data))
    assert {sentence["verdict"] for sentence in done["sentences"]} == {"quoted"}
    assert done["answerable"]["probability"] > done["answerable"]["threshold"]
    refused = as_json(quoth("ask", "Who won the football world cup in 1998?", "--json", data=data))
    assert refused["refused"]
    assert refused["citations"] == refused["sentences"] == []
    assert refused["answerable"]["probability"] < refused["answerable"]["threshold"]


def test_ask_shows_the_prompt_and_where_its_tokens_go(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    shown = as_json(quoth("ask", "How many days of leave?", "--show-prompt", "--json", data=data))
    assert [message["role"] for message in shown["messages"]] == ["system", "user"]
    tokens = shown["tokens"]
    assert tokens["passages"] > 0
    assert sum(tokens.values()) - tokens["available"] <= tokens["available"]
    done = quoth("ask", "How many days of leave?", "--show-prompt", data=data)
    assert f"passages {tokens['passages']}" in done.stdout


def test_ask_and_chat_print_answer_and_sources(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    done = quoth("ask", "How many days of annual leave are there?", data=data)
    assert done.returncode == 0, done.stderr
    assert "[1]" in done.stdout
    assert "“" in done.stdout


def test_a_search_does_not_import_torch(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    code = (
        "import sys; sys.argv = ['quoth', 'search', 'leave', '--json']\n"
        "from cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'transformers', 'langchain', 'fastapi') if name in sys.modules])"
    )
    environment = {**os.environ, "QUOTH_DATA_DIR": str(data)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_status_and_stores(examples: tuple[Path, dict[str, Any]]) -> None:
    data, summary = examples
    (store,) = as_json(quoth("status", "--json", data=data))["stores"]
    assert (store["name"], store["chunks"]) == ("default", summary["chunks"])
    assert "default" in quoth("stores", data=data).stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["search", "x"], {"QUOTH_RETRIEVL__K": "3"}, 2, "QUOTH_RETRIEVL__K"),
        (["ingest", "nowhere"], {}, 2, "nowhere"),
        (["ingest", "empty"], {}, 2, "no files"),
        (["search", "x", "--store", "nope"], {}, 3, "nope"),
        (["ask", "x"], {"QUOTH_CHAT__MODEL": "local:not/here"}, 3, "quoth models pull"),
        (["ask", "x"], {"QUOTH_CHAT__MODEL": "nonsense"}, 2, "QUOTH_CHAT__MODEL"),
        (["search", "x"], {"QUOTH_EMBEDDER__MODEL": "not/here"}, 3, "quoth models pull"),
        (["search", "  "], {}, 2, "empty"),
        (["search", "x", "--where", "type = "], {}, 2, "expected a value"),
        (["search", "x", "--half-life", "-1"], {}, 2, "half-life"),
        (["serve", "--host", "0.0.0.0"], {}, 2, "quoth keys create"),
        (["search", "x", "--data", "file/data"], {}, 2, "cannot be made"),
        (["search"], {}, 2, "question"),
    ],
)
def test_bad_input_gets_a_message_and_a_code(
    examples: tuple[Path, dict[str, Any]], arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    data, _ = examples
    (data.parent / "empty").mkdir(exist_ok=True)
    (data.parent / "file").write_text("")
    done = quoth(*arguments, data=data, HF_HUB_OFFLINE="1", **environment)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_files_that_cannot_be_read_are_counted_and_named(examples: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    data, _ = examples
    (tmp_path / "corrupt.pdf").write_bytes(b"%PDF-1.7 nothing")
    (tmp_path / "good.md").write_text("# Good\n\nAll is well.\n")
    done = quoth("ingest", str(tmp_path), "--store", "broken", "--json", data=data)
    assert done.returncode == 4
    assert json.loads(done.stdout)["failed"] == {"corrupt": 1}
    listed = quoth("status", "--files", data=data)
    assert "corrupt.pdf" in listed.stdout


def test_a_port_in_use_is_said(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = quoth("serve", "--port", str(taken.getsockname()[1]), data=data)
    assert done.returncode == 2
    assert "in use" in done.stderr.lower()


def test_a_store_of_another_embedder_is_said(examples: tuple[Path, dict[str, Any]]) -> None:
    data, _ = examples
    done = quoth("search", "x", data=data, QUOTH_EMBEDDER__MODEL="sentence-transformers/all-MiniLM-L6-v2")
    if "quoth models pull" in done.stderr:
        pytest.skip("sentence-transformers/all-MiniLM-L6-v2 is not in the models folder")
    assert done.returncode == 2
    assert EMBEDDER in done.stderr
