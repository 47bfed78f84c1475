"""`quoth eval synthesize` and `quoth eval answers`, as a person uses them: real engine, real embedder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.evaluation.answers import table
from evals.records import EvalResult
from evals.results import read_result
from rag.backends.vectors.edge_process import stop_worker
from rag.models import list_models
from rag.settings import load_settings

ROOT = Path(__file__).parents[2]
EMBEDDER = "BAAI/bge-small-en-v1.5"
CORPUS = {
    "pump": "The pump weighs 6 kg. It is made of steel.",
    "leave": "Every employee has 28 days of leave a year. The team lead approves it within 3 working days.",
    "lunch": "Lunch in the canteen costs 4.50 euros. Coffee and tea are free.",
}
QUESTIONS = [
    ("q1", "How much does the pump weigh?", "pump", "6 kg"),
    ("q2", "How much does lunch cost?", "lunch", "4.50 euros"),
    ("q3", "Who painted the Mona Lisa?", "", ""),
]


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


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    if EMBEDDER not in {model.name for model in list_models(load_settings().models_dir) if model.present}:
        pytest.skip(f"{EMBEDDER} is not in the models folder: make setup")
    return tmp_path / "data"


def dataset(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("corpus.jsonl", [{"_id": key, "title": key, "text": text} for key, text in CORPUS.items()])
    write("queries.jsonl", [{"_id": key, "text": question} for key, question, _, _ in QUESTIONS])
    rows = [
        {"query_id": key, "answers": [answer] if answer else [], "doc_id": gold or "pump", "is_impossible": not answer}
        for key, _, gold, answer in QUESTIONS
    ]
    write("answers.jsonl", rows)
    judged = "".join(f"{key}\t{gold}\t1\n" for key, _, gold, _ in QUESTIONS if gold)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


@pytest.mark.slow
def test_answers_over_a_dataset(data: Path, tmp_path: Path) -> None:
    folder, cache, save = dataset(tmp_path / "small"), tmp_path / "cache", tmp_path / "result.json"
    options = ["--dataset", str(folder), "--cache", str(cache), "--save", str(save), "--price", "1,2", "--json"]
    found = as_json(quoth("eval", "answers", *options, data=data))
    for index in (cache / "indexes").iterdir():
        stop_worker(index)
    system = found["systems"][0]
    assert (found["kind"], found["queries"], found["provenance"]["answerable"]) == ("answers", 3, 2)
    assert system["metrics"]["contains_answerable"] == system["metrics"]["citation_recall"] == 1
    assert system["per_query"]["refusal_recall"].keys() == {"q3"}
    assert system["metrics"]["price"] > 0
    curve = found["provenance"]["curve"]["default"]
    assert curve["area"] == system["metrics"]["aurc"]
    assert curve["points"][-1][0] == 1
    read = read_result(save)
    assert (read.dataset_sha256, read.queries) == (found["dataset_sha256"], 3)
    assert len((tmp_path / "result.json.answers.jsonl").read_text().splitlines()) == 4
    shown_as_expected(read)


def shown_as_expected(result: EvalResult) -> None:
    shown = "\n".join(table(result))
    assert "3 questions, 2 of them answerable" in shown
    assert "area of risk by signal: answerable" in shown
    assert "contains, answerable 1.0000 (1.000..1.000)" in " ".join(shown.split())


@pytest.mark.slow
def test_a_set_from_own_documents_and_answers_to_it(data: Path, tmp_path: Path) -> None:
    folder, cases = tmp_path / "folder", tmp_path / "cases.jsonl"
    folder.mkdir()
    for name, text in CORPUS.items():
        (folder / f"{name}.md").write_text(f"# The {name}\n\n{text}\n")
    assert quoth("ingest", str(folder), "--store", "s", data=data).returncode == 0
    options = ["--store", "s", "--out", str(cases), "--count", "4", "--json"]
    made = as_json(quoth("eval", "synthesize", *options, data=data))
    assert (made["cases"], made["unanswerable"], made["counts"]["new"]) == (4, 1, 4)
    before = cases.read_bytes()
    assert as_json(quoth("eval", "synthesize", *options, data=data))["counts"] == {"kept": 4}
    assert cases.read_bytes() == before
    found = as_json(quoth("eval", "answers", "--store", "s", "--cases", str(cases), "--json", data=data))
    stop_worker(data)
    assert (found["dataset"], found["queries"]) == ("s", 4)
    assert found["systems"][0]["metrics"]["citation_recall"] == 1


def test_refusals_are_fitted_to_own_cases_and_kept(data: Path, tmp_path: Path) -> None:
    folder, cases = tmp_path / "folder", tmp_path / "cases.jsonl"
    folder.mkdir()
    for name, text in CORPUS.items():
        (folder / f"{name}.md").write_text(f"# The {name}\n\n{text}\n")
    assert quoth("ingest", str(folder), "--store", "s", data=data).returncode == 0
    known = [
        f"{asking} the {name}?" for name in CORPUS for asking in ("What about", "Who knows", "Tell me of", "Is it")
    ]
    foreign = [
        f"What is the {thing} of Saturn?" for thing in "mass colour orbit ring moon year core age rim sky".split()
    ]
    rows = [{"question": q, "answers": ["x"], "files": ["pump.md"]} for q in known]
    rows += [{"question": q, "answerable": False} for q in foreign]
    cases.write_text("".join(json.dumps({"id": str(at), **row}) + "\n" for at, row in enumerate(rows)))
    options = ["--store", "s", "--cases", str(cases)]
    found = as_json(quoth("eval", "refusal", *options, "--keep", "--json", data=data))
    assert (found["calibration"]["cases"], found["calibration"]["fitted_on"]) == (22, "cases.jsonl")
    assert found["refusals"]["s"]["area"] > 0.7
    asked = as_json(quoth("ask", "Tell me of the pump?", "--store", "s", "--json", data=data))
    stop_worker(data)
    assert asked["answerable"]["threshold"] == found["calibration"]["threshold"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Name what to fit on"),
        (["--all", "--cases", "y"], "Name what to fit on"),
        (["--dataset", "x", "--keep"], "--keep is for a store of your own"),
    ],
)
def test_arguments_of_refusal_that_do_not_fit(tmp_path: Path, arguments: list[str], problem: str) -> None:
    done = quoth("eval", "refusal", *arguments, data=tmp_path / "data")
    assert done.returncode == 2
    assert problem in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Name what to ask"),
        (["--dataset", "x", "--cases", "y"], "Name what to ask"),
        (["--dataset", "x"], "There is no dataset"),
        (["--dataset", "x", "--price", "cheap"], "--price is 'cheap'"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path: Path, arguments: list[str], problem: str) -> None:
    done = quoth("eval", "answers", *arguments, data=tmp_path / "data")
    assert done.returncode == 2
    assert problem in done.stderr
