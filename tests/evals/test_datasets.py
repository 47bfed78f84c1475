"""Datasets in BEIR layout, good and bad; finding and cutting datasets."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evals.datasets import corpus_sha256, find_dataset, list_datasets, read_dataset, split_queries, with_originals
from evals.records import Case, CorpusDocument, Dataset, Span
from rag.errors import InvalidInputError

CORPUS = [
    {"_id": "d1", "title": "Leave", "text": "You have 28 days of leave."},
    {"_id": 2, "text": "A hotel night is paid up to 140 euros.\u2028Line", "metadata": {"page": 1}},
    {"_id": "d3", "title": None, "text": ""},
]
QUERIES = [{"_id": f"q{number}", "text": f"Question {number}?"} for number in range(1, 5)]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td3\t0", "q2\t2\t1"]
ANSWERS = [
    {"query_id": "q1", "answers": ["28 days", "28", "28"], "spans": [[9, 16], [9, 16], [9, 11]], "doc_id": "d1"},
    {"query_id": "q2", "answers": ["140 euros"]},
    {"query_id": "q3", "answers": [], "is_impossible": True, "doc_id": "d1", "spans": []},
]


def write_rows(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    write_rows(folder / "corpus.jsonl", CORPUS)
    write_rows(folder / "queries.jsonl", QUERIES)
    write_rows(folder / "answers.jsonl", ANSWERS)
    (folder / "qrels" / "test.tsv").write_text("\n".join(QRELS))
    return folder


def test_beir_layout_is_read(beir: Path) -> None:
    dataset = read_dataset(beir)
    assert (dataset.name, dataset.folder) == ("small", beir)
    assert dataset.documents["d1"] == CorpusDocument("d1", "Leave", "You have 28 days of leave.")
    assert dataset.documents["2"] == CorpusDocument("2", "", "A hotel night is paid up to 140 euros.\u2028Line")
    assert list(dataset.documents) == ["d1", "2", "d3"]
    assert dataset.queries["q4"] == "Question 4?"
    assert dataset.qrels == {"q1": {"d1": 2, "d3": 0}, "q2": {"2": 1}}
    assert dataset.cases == (
        Case("q1", "Question 1?", ("28 days", "28"), ("d1",), (Span("d1", 9, 16), Span("d1", 9, 11))),
        Case("q2", "Question 2?", ("140 euros",), ("2",)),
        Case("q3", "Question 3?", is_answerable=False),
    )


def test_judgements_alone_make_no_cases(beir: Path) -> None:
    (beir / "answers.jsonl").unlink()
    assert read_dataset(beir).cases == ()


def test_bom_crlf_blank_lines_and_a_missing_header_do_no_harm(beir: Path) -> None:
    plain = read_dataset(beir)
    for path in [*beir.glob("*.jsonl"), beir / "qrels" / "test.tsv"]:
        lines = path.read_bytes().removeprefix(QRELS[0].encode()).split(b"\n")
        path.write_bytes(b"\xef\xbb\xbf\r\n \t\r\n" + b"\r\n\r\n".join(lines))
    again = read_dataset(beir)
    assert (again.documents, again.queries, again.qrels) == (plain.documents, plain.queries, plain.qrels)
    assert again.cases == plain.cases


def test_half_a_surrogate_pair_becomes_a_replacement_character(beir: Path) -> None:
    (beir / "queries.jsonl").write_text(
        "".join(f'{{"_id": "q{n}", "text": "\\ud83d \\ud83d\\ude00"}}\n' for n in range(1, 5))
    )
    assert read_dataset(beir).queries["q1"] == "\ufffd \U0001f600"


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "answers.jsonl", "qrels/test.tsv"])
def test_the_hash_covers_every_file(beir: Path, name: str) -> None:
    before = read_dataset(beir).sha256
    assert read_dataset(beir).sha256 == before
    with (beir / name).open("a") as file:
        file.write("\n")
    assert read_dataset(beir).sha256 != before


def test_the_name_is_that_of_meta_json(beir: Path) -> None:
    (beir / "META.json").write_text('{"name": "sets/small", "docs": 3}')
    assert read_dataset(beir).name == "sets/small"
    (beir / "META.json").write_text('["no name"]')
    assert read_dataset(beir).name == "small"
    (beir / "META.json").write_text("{")
    with pytest.raises(InvalidInputError, match=r"META\.json is not valid JSON"):
        read_dataset(beir)


def test_answers_of_another_split_are_left_to_it(beir: Path) -> None:
    (beir / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq2\t2\t1\n")
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    assert [case.id for case in read_dataset(beir).cases] == ["q1", "q3"]
    dev = read_dataset(beir, "dev")
    assert [case.id for case in dev.cases] == ["q2", "q3"]
    assert dev.qrels == {"q2": {"2": 1}}


def row(fields: dict[str, Any]) -> str:
    return json.dumps(fields)


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("corpus.jsonl", "{", "line 4: it is not valid JSON"),
        ("corpus.jsonl", "[1]", "line 4: it holds no JSON object"),
        ("corpus.jsonl", "[" * 100_000, "line 4: it is not valid JSON"),
        ("corpus.jsonl", row({"_id": "d1", "text": "x"}), "line 4: document 'd1' stands in line 1 already"),
        ("corpus.jsonl", row({"_id": "2", "text": "x"}), "line 4: document '2' stands in line 2 already"),
        ("corpus.jsonl", row({"text": "x"}), "line 4: '_id' must be an id, .* it is missing"),
        ("corpus.jsonl", row({"_id": "", "text": "x"}), "line 4: '_id' must be an id"),
        ("corpus.jsonl", row({"_id": True, "text": "x"}), "line 4: '_id' must be an id, .* it is true"),
        ("corpus.jsonl", row({"_id": "d"}), "line 4: 'text' must be a string; it is missing"),
        ("corpus.jsonl", row({"_id": "d", "text": ["x"]}), r"line 4: 'text' must be a string; it is \[\"x\"\]"),
        ("corpus.jsonl", row({"_id": "d", "text": "", "title": 3}), "line 4: 'title' must be a string; it is 3"),
        ("queries.jsonl", row({"_id": "q1", "text": "x"}), "line 5: query 'q1' stands in line 1 already"),
        ("queries.jsonl", row({"_id": "q9", "text": " "}), "line 5: the text of the query is blank"),
        ("queries.jsonl", row({"_id": "q9", "text": None}), "line 5: 'text' must be a string; it is null"),
        ("qrels/test.tsv", "q9\td1\t1", "line 5: there is no query 'q9'"),
        ("qrels/test.tsv", "q2\td9\t1", "line 5: there is no document 'd9'"),
        ("qrels/test.tsv", "q1\td1\t1", "line 5: the grade of 'd1' for 'q1' stands in line 2 already"),
        ("qrels/test.tsv", "q2 d1 1", "line 5: three columns"),
        ("qrels/test.tsv", "q2\t0\td1\t1", "line 5: three columns .* not 4"),
        ("qrels/test.tsv", "q2\td1\t0.5", "line 5: the grade must be a whole number; it is '0.5'"),
        ("qrels/test.tsv", "q2\td1\tyes", "line 5: the grade must be a whole number; it is 'yes'"),
        ("qrels/test.tsv", "q2\td1\tnan", "line 5: the grade must be a whole number; it is 'nan'"),
        ("answers.jsonl", row({"query_id": "q9"}), "line 4: there is no query 'q9'"),
        ("answers.jsonl", row({"query_id": "q1"}), "line 4: the answer to 'q1' stands in line 1 already"),
        ("answers.jsonl", row({"query_id": "q4", "answers": "x"}), "line 4: 'answers' must be a list of strings"),
        ("answers.jsonl", row({"query_id": "q4", "answers": [" "]}), "line 4: 'answers' must be a list of strings"),
        ("answers.jsonl", row({"query_id": "q4", "is_impossible": 1}), "line 4: 'is_impossible' must be true or false"),
        (
            "answers.jsonl",
            row({"query_id": "q4", "is_impossible": True, "answers": ["x"]}),
            "line 4: 'is_impossible' is true, but there are answers",
        ),
        ("answers.jsonl", row({"query_id": "q4", "spans": [[0, 1]]}), "line 4: 'source' must be an id"),
        ("answers.jsonl", row({"query_id": "q4", "spans": [[2, 1]], "doc_id": "d1"}), "line 4: 'spans' must be a list"),
        ("answers.jsonl", row({"query_id": "q4", "spans": [[0, True]], "doc_id": "d1"}), "line 4: 'spans' must be"),
        ("answers.jsonl", row({"query_id": "q4", "spans": [[0, 99]], "doc_id": "d1"}), "line 4: a span ends at 99"),
        (
            "answers.jsonl",
            row({"query_id": "q4", "spans": [[0, 1]], "doc_id": "d9"}),
            "line 4: there is no document 'd9'",
        ),
    ],
)
def test_a_bad_line_is_named(beir: Path, name: str, line: str, problem: str) -> None:
    with (beir / name).open("a") as file:
        file.write(f"\n{line}\n" if name.endswith("tsv") else f"{line}\n")
    with pytest.raises(InvalidInputError, match=f"{Path(name).name}, {problem}"):
        read_dataset(beir)


def test_a_relevant_document_of_an_impossible_question_is_refused(beir: Path) -> None:
    write_rows(beir / "answers.jsonl", [{"query_id": "q1", "is_impossible": True}])
    with pytest.raises(InvalidInputError, match="line 1: 'is_impossible' is true, but document 'd1' is judged"):
        read_dataset(beir)


def test_bytes_that_are_not_utf8_are_named(beir: Path) -> None:
    (beir / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "x"}\n{"_id": "q2", "text": "\xe9"}\n')
    with pytest.raises(InvalidInputError, match=r"queries\.jsonl, line 2: it is not UTF-8 \(byte 23\)"):
        read_dataset(beir)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("corpus.jsonl", r"corpus\.jsonl holds no document"),
        ("queries.jsonl", r"queries\.jsonl holds no query"),
        ("qrels/test.tsv", r"test\.tsv judges nothing"),
    ],
)
def test_an_empty_file_is_refused(beir: Path, name: str, problem: str) -> None:
    (beir / name).write_text("\n")
    with pytest.raises(InvalidInputError, match=problem):
        read_dataset(beir)


def test_missing_files_are_named(beir: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no judgements at .*dev\.tsv. Splits that are there: test\."):
        read_dataset(beir, "dev")
    (beir / "queries.jsonl").unlink()
    with pytest.raises(InvalidInputError, match=r"queries\.jsonl cannot be read"):
        read_dataset(beir)
    with pytest.raises(InvalidInputError, match=r"is no dataset. It needs corpus\.jsonl"):
        read_dataset(tmp_path)
    shutil.rmtree(beir / "qrels")
    write_rows(beir / "queries.jsonl", QUERIES)
    with pytest.raises(InvalidInputError, match="Splits that are there: none"):
        read_dataset(beir)


def test_spans_may_refer_to_uncut_documents(beir: Path) -> None:
    (beir / "originals").mkdir()
    (beir / "originals" / "whole.md").write_bytes("é: You have\r\n28 days.".encode())
    answers = [*ANSWERS, {"query_id": "q4", "source": "whole.md", "spans": [[13, 20]], "evidence": ["28 days"]}]
    write_rows(beir / "answers.jsonl", answers)
    dataset = read_dataset(beir)
    assert dataset.cases[-1].spans == (Span("whole.md", 13, 20),)
    originals = with_originals(dataset)
    assert originals.name == "small/originals"
    assert originals.documents["whole.md"].text[13:20] == "28 days"
    assert originals.queries == {"q4": "Question 4?"}
    assert originals.qrels == {"q4": {"whole.md": 1}}
    assert originals.cases[0].documents == ("whole.md",)
    (beir / "originals" / "whole.md").write_bytes("é: You have\r\n28 days!".encode())
    assert read_dataset(beir).sha256 != dataset.sha256


@pytest.mark.parametrize("source", ["absent.md", "../answers.jsonl", "/etc/hostname"])
def test_spans_refer_to_nothing_else(beir: Path, source: str) -> None:
    (beir / "originals").mkdir()
    write_rows(beir / "answers.jsonl", [{"query_id": "q4", "source": source, "spans": [[0, 1]]}])
    with pytest.raises(InvalidInputError, match=r"[tT]here is no"):
        read_dataset(beir)
    write_rows(beir / "answers.jsonl", ANSWERS)
    with pytest.raises(InvalidInputError, match="No span of small refers to a file"):
        with_originals(read_dataset(beir))


def test_datasets_are_found_by_path_and_by_name(beir: Path, tmp_path: Path) -> None:
    shutil.copytree(beir, tmp_path / "sets" / "de")
    assert find_dataset(str(beir)) == beir
    assert find_dataset("small", tmp_path) == beir
    assert find_dataset("sets/de", tmp_path) == tmp_path / "sets" / "de"
    assert list_datasets(tmp_path) == ["sets/de", "small"]
    with pytest.raises(InvalidInputError, match=r"no dataset at 'big', .* \(there: sets/de, small\)"):
        find_dataset("big", tmp_path)
    with pytest.raises(InvalidInputError, match=r"\(there: none\)"):
        find_dataset("big", tmp_path / "absent")


def many(count: int) -> Dataset:
    queries = {f"q{number}": "?" for number in range(count)}
    return Dataset(
        name="many",
        folder=Path(),
        sha256="0",
        documents={"d": CorpusDocument("d", "", "text")},
        queries=queries,
        qrels={query: {"d": 1} for query in queries},
        cases=tuple(Case(query, "?") for query in queries),
    )


def test_a_split_takes_every_question_once_and_keeps_it_there() -> None:
    whole = many(2_000)
    dev, test = split_queries(whole, 0.3)
    assert not dev.queries.keys() & test.queries.keys()
    assert dev.queries.keys() | test.queries.keys() == whole.queries.keys()
    assert len(dev.queries) / 2_000 == pytest.approx(0.3, abs=0.03)
    for part in (dev, test):
        assert part.qrels.keys() == part.queries.keys() == {case.id for case in part.cases}
        assert part.documents == whole.documents
        assert corpus_sha256(part) == corpus_sha256(whole)
    assert len({whole.sha256, dev.sha256, test.sha256}) == 3
    fewer, _ = split_queries(many(1_000), 0.3)
    assert fewer.queries.keys() == dev.queries.keys() & many(1_000).queries.keys()
    other, _ = split_queries(whole, 0.3, seed=1)
    assert other.queries.keys() != dev.queries.keys()
    assert (len(split_queries(whole, 0)[0].queries), len(split_queries(whole, 1)[1].queries)) == (0, 0)
    with pytest.raises(InvalidInputError, match="must be 0 to 1"):
        split_queries(whole, 1.5)


def test_the_real_sets_hold_what_their_notes_say(collections: Path) -> None:
    names = list_datasets(collections / "retrieval")
    assert len(names) >= 12
    for name in names:
        folder = find_dataset(name, collections / "retrieval")
        meta = json.loads((folder / "META.json").read_text())
        dataset = read_dataset(folder)
        assert dataset.name == meta["name"] == name
        assert len(dataset.documents) == meta["docs"]
        assert len(dataset.queries) == meta["queries"]
        assert len(dataset.qrels) == meta["queries_with_qrels"]
        grades = [grade for judged in dataset.qrels.values() for grade in judged.values()]
        assert (len(grades), sum(grade > 0 for grade in grades)) == (meta["qrels"], meta["qrels_positive"])
        assert (
            sum(not document.text and not document.title for document in dataset.documents.values())
            == (meta["empty_docs"])
        )
        assert len(dataset.cases) == meta["answers"]


def test_spans_of_the_real_sets_say_what_the_answers_say(collections: Path) -> None:
    squad = read_dataset(collections / "retrieval" / "squad2_dev_half")
    assert sum(not case.is_answerable for case in squad.cases) == 3_168
    for case in squad.cases:
        assert {squad.documents[span.document].text[span.start : span.end] for span in case.spans} == set(case.answers)
    folder = collections / "retrieval" / "chunking_eval"
    originals = with_originals(read_dataset(folder))
    assert (len(originals.documents), len(originals.cases)) == (5, 472)
    evidence = [json.loads(line)["evidence"] for line in (folder / "answers.jsonl").read_text().splitlines()]
    for case, expected in zip(originals.cases, evidence, strict=True):
        assert {originals.documents[span.document].text[span.start : span.end] for span in case.spans} == set(expected)
