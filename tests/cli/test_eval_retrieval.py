"""`quoth eval retrieval` as a person and a program use it: the real model, the real engine, a tiny set."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evals.results import read_result
from evals.trec import read_run
from rag.backends.vectors.edge_process import stop_worker
from rag.models import list_models
from rag.settings import load_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EMBEDDER = "BAAI/bge-small-en-v1.5"
TEXTS = {
    "trains": "Trains are booked in second class.",
    "flights": "Flights need the consent of a manager.",
    "leave": "Annual leave is 28 days a year.",
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a dataset named `tiny`, two systems, and the cache that the tests share."""
    if EMBEDDER not in {model.name for model in list_models(load_settings().models_dir) if model.present}:
        pytest.skip(f"{EMBEDDER} is not in the models folder: make setup")
    folder = tmp_path_factory.mktemp("sets")
    (folder / "tiny" / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in TEXTS.items()]
    (folder / "tiny" / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    queries = [
        json.dumps({"_id": "q1", "text": "Who consents to flights?"}),
        json.dumps({"_id": "q2", "text": "leave"}),
    ]
    (folder / "tiny" / "queries.jsonl").write_text("\n".join(queries) + "\n")
    (folder / "tiny" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tflights\t1\nq2\tleave\t1\n")
    (folder / "words.toml").write_text('[retrieval]\nfusion = "sparse"\n')
    (folder / "usual.toml").write_text("")
    yield folder
    for index in (folder / "cache" / "indexes").glob("*"):
        stop_worker(index)


def evaluated(folder: Path, *arguments: str, module: str = "evals") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    models = {"QUOTH_MODELS_DIR": os.environ["QUOTH_MODELS_DIR"]} if "QUOTH_MODELS_DIR" in os.environ else {}
    program = ["-m", module, *(["eval"] if module == "cli.main" else [])]
    return subprocess.run(
        [
            sys.executable,
            *program,
            "retrieval",
            "--datasets",
            str(folder),
            "--cache",
            str(folder / "cache"),
            *arguments,
        ],
        cwd=folder,
        env={**clean, **models, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_one_dataset_is_one_object(sets: Path) -> None:
    done = evaluated(sets, "--dataset", "tiny", "--json", "--timed", "2", module="cli.main")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["dataset"], found["queries"]) == ("tiny", 2)
    (system,) = found["systems"]
    assert system["name"] == "default"
    assert system["metrics"]["ndcg@10"] == 1.0
    assert system["index"]["chunks"] == len(TEXTS)
    assert system["fingerprint"]["model"] == EMBEDDER
    assert system["latency_ms"]["queries"] == 2
    assert found["provenance"]["command"]


def test_systems_side_by_side_and_files_for_others(sets: Path, tmp_path: Path) -> None:
    systems = ["--system", str(sets / "usual.toml"), "--system", str(sets / "words.toml")]
    files = ["--save", str(tmp_path / "a.json"), "--save-run", str(tmp_path / "a.trec")]
    done = evaluated(sets, "--dataset", str(sets / "tiny"), "--metrics", "mrr@10,success@1", *systems, *files)
    assert done.returncode == 0, done.stderr
    assert "words - usual: mrr@10" in done.stdout
    result = read_result(tmp_path / "a.json")
    assert [system.name for system in result.systems] == ["usual", "words"]
    assert list(result.systems[0].metrics) == ["mrr@10", "success@1"]
    words = read_run(tmp_path / "a.words.trec")
    assert next(iter(words["q1"])) == "flights"
    assert len(read_run(tmp_path / "a.usual.trec")["q1"]) == len(TEXTS)


def test_all_datasets_at_once(sets: Path) -> None:
    done = evaluated(sets, "--all", "--json", "--timed", "0", "--dataset", "tiny")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dataset"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--dataset"),
        (["--dataset", "absent"], "absent"),
        (["--dataset", "tiny", "--metrics", "ndgc@10"], "ndgc@10"),
        (["--dataset", "tiny", "--split", "dev"], "dev"),
        (["--dataset", "tiny", "--system", "absent.toml"], "absent.toml"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: list[str], said: str, sets: Path) -> None:
    done = evaluated(sets, *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
