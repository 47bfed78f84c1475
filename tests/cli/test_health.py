"""`quoth doctor` and `quoth why` as a program uses them: real models, the real engine, a small folder."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.backends.vectors.edge_process import stop_worker
from rag.models import list_models
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
EMBEDDER = "BAAI/bge-small-en-v1.5"


def quoth(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    models = {"QUOTH_MODELS_DIR": os.environ["QUOTH_MODELS_DIR"]} if "QUOTH_MODELS_DIR" in os.environ else {}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=data.parent,
        env={**clean, **models, "PYTHONPATH": str(ROOT), "QUOTH_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def as_json(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, (done.returncode, done.stderr, done.stdout)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `docs` and `data`, in which they are the store `default`."""
    present = {model.name for model in list_models(load_settings().models_dir) if model.present}
    if EMBEDDER not in present:
        pytest.skip(f"{EMBEDDER} is not in the models folder: make setup")
    folder = tmp_path_factory.mktemp("health")
    (folder / "docs").mkdir()
    for name in ("lions", "tigers", "bears"):
        (folder / "docs" / f"{name}.md").write_text(f"# {name.title()}\n\nAll that is known of {name}.\n")
    as_json(quoth("ingest", str(folder / "docs"), "--json", data=folder / "data"))
    yield folder
    stop_worker(folder / "data")


def forge(place: Path) -> None:
    connection = sqlite3.connect(place / "data" / "ledger.sqlite", timeout=30)
    with connection:
        connection.execute("UPDATE documents SET title = 'Forged' WHERE uri LIKE '%lions.md'")
    connection.close()


def test_doctor_says_what_is_wrong_and_mends_it(place: Path) -> None:
    healthy = as_json(quoth("doctor", "--json", data=place / "data"))
    assert (healthy["healthy"], healthy["stores"][0]["findings"]) == (True, [])
    forge(place)
    ill = as_json(quoth("doctor", "--json", data=place / "data"), 4)
    assert (ill["healthy"], ill["stores"][0]["counts"]) == (False, {"altered": 1})
    (finding,) = ill["stores"][0]["findings"]
    assert set(finding) == {"kind", "message", "uri", "ids", "repair"}
    assert finding["uri"].endswith("lions.md")
    shown = quoth("doctor", "--store", "default", data=place / "data")
    assert shown.returncode == 4
    assert "found: 1 altered" in shown.stdout
    assert "quoth doctor --store default --repair" in shown.stdout
    mended = quoth("doctor", "--repair", data=place / "data")
    assert mended.returncode == 0, mended.stderr
    assert "Store 'default': healthy, 1 mended." in mended.stdout


def test_doctor_refuses_a_store_that_is_not_there(place: Path) -> None:
    done = quoth("doctor", "--store", "nothing", data=place / "data")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing" in done.stderr


def test_the_digest_is_equal_in_another_data_directory(place: Path) -> None:
    other = place / "other"
    as_json(quoth("ingest", str(place / "docs"), "--store", "second", "--json", data=other))
    try:
        one = quoth("doctor", "--digest", data=place / "data")
        two = as_json(quoth("doctor", "--digest", "--json", data=other))
    finally:
        stop_worker(other)
    assert one.returncode == 0, one.stderr
    assert one.stdout == f"{two['stores'][0]['digest']}  default\n"
    assert two["stores"] == [{"store": "second", "healthy": True, "digest": two["stores"][0]["digest"]}]


def test_why_tells_a_file_and_a_question(place: Path) -> None:
    found = as_json(quoth("why", "tigers.md", "--question", "What is known of tigers?", "--json", data=place / "data"))
    assert (found["verdict"], found["store"], found["file"]) == ("indexed", "default", "fresh")
    assert found["search"]["is_found"]
    assert found["search"]["passages"][0]["words"] == ["known", "tigers"]
    shown = quoth("why", str(place / "docs" / "bears.md"), "-q", "bears", data=place / "data")
    assert shown.returncode == 0, shown.stderr
    assert "It is found" in shown.stdout
    nothing = as_json(quoth("why", "nothing.md", "-q", "bears", "--json", data=place / "data"))
    assert nothing["verdict"] == "not_there"
    assert "search" not in nothing
