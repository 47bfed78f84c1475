"""Datasets in BEIR layout, with answers and spans beside them where they are known.

Source of the layout: Thakur et al., "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval
Models", 2021. `answers.jsonl` is ours; it follows SQuAD's words (`answers`, `is_impossible`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evals.json_lines import Line, Row, Seen, read_lines, read_rows
from evals.records import Case, CorpusDocument, Dataset, Span
from rag.errors import InvalidInputError

ANSWERS = "answers.jsonl"
ORIGINALS = "originals"


def read_beir(folder: Path, split: str) -> Dataset:
    """Read `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv` and, where it is there, `answers.jsonl`.

    Raises:
        InvalidInputError: something is missing or malformed; the message names file and line.
    """
    digest = hashlib.sha256()
    documents = _documents(folder / "corpus.jsonl", digest)
    queries = _queries(folder / "queries.jsonl", digest)
    qrels = _qrels(_judgements(folder, split), documents, queries, digest)
    cases: tuple[Case, ...] = ()
    if (folder / ANSWERS).is_file():
        known = _Known(folder, documents, queries, qrels)
        elsewhere = _judged_elsewhere(folder, split)
        cases = tuple(case for case in known.cases(digest) if case.id in qrels or case.id not in elsewhere)
    return Dataset(_name(folder), folder, digest.hexdigest(), documents, queries, qrels, cases)


def read_original(folder: Path, name: str) -> str:
    """The text of a file in `originals`, character for character; nothing is done to the ends of its lines.

    Raises:
        InvalidInputError: there is none such, or it is not UTF-8.
    """
    path = folder / ORIGINALS / name
    if Path(name).name != name or not path.is_file():
        raise InvalidInputError(f"There is no file {name!r} in {folder / ORIGINALS}.")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error


def _name(folder: Path) -> str:
    """As META.json has it, else that of the folder: `xquad/de` says more than `de`."""
    path = folder / "META.json"
    if path.is_file():
        try:
            meta = json.loads(path.read_bytes())
        except ValueError as error:
            raise InvalidInputError(f"{path} is not valid JSON: {error}. Mend or delete it.") from error
        if isinstance(meta, dict) and isinstance(meta.get("name"), str):
            return str(meta["name"])
    return folder.resolve().name


def _documents(path: Path, digest: hashlib._Hash) -> dict[str, CorpusDocument]:
    seen = Seen.none()
    documents = {}
    for row in read_rows(path, digest):
        identity = row.identifier("_id")
        seen.add(identity, row.line, f"document {identity!r}")
        documents[identity] = CorpusDocument(identity, row.string("title", ""), row.string("text"))
    if not documents:
        raise InvalidInputError(f"{path} holds no document. Each line is one: _id, title, text.")
    return documents


def _queries(path: Path, digest: hashlib._Hash) -> dict[str, str]:
    seen = Seen.none()
    queries = {}
    for row in read_rows(path, digest):
        identity = row.identifier("_id")
        seen.add(identity, row.line, f"query {identity!r}")
        queries[identity] = row.string("text")
        if not queries[identity].strip():
            row.line.fail("the text of the query is blank.")
    if not queries:
        raise InvalidInputError(f"{path} holds no query. Each line is one: _id, text.")
    return queries


def _judgements(folder: Path, split: str) -> Path:
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in (folder / "qrels").glob("*.tsv"))) or "none"
        raise InvalidInputError(f"There are no judgements at {path}. Splits that are there: {known}.")
    return path


def _qrels(
    path: Path, documents: Mapping[str, CorpusDocument], queries: Mapping[str, str], digest: hashlib._Hash
) -> dict[str, dict[str, int]]:
    seen = Seen.none()
    qrels: dict[str, dict[str, int]] = {}
    is_first = True
    for line in read_lines(path, digest):
        query, document, grade = _columns(line)
        if is_first and grade == "score":
            is_first = False
            continue
        is_first = False
        if query not in queries:
            line.fail(f"there is no query {query!r} in queries.jsonl. Add it there, or remove this line.")
        if document not in documents:
            line.fail(f"there is no document {document!r} in corpus.jsonl. Add it there, or remove this line.")
        seen.add(f"{query}\t{document}", line, f"the grade of {document!r} for {query!r}")
        qrels.setdefault(query, {})[document] = _grade(line, grade)
    if not qrels:
        raise InvalidInputError(f"{path} judges nothing. Each line is a query id, a document id and a grade.")
    return qrels


def _columns(line: Line) -> tuple[str, str, str]:
    columns = line.text.split("\t")
    if len(columns) != 3:
        line.fail(f"three columns with tabs between them are expected (query, document, grade), not {len(columns)}.")
    return columns[0], columns[1], columns[2]


def _grade(line: Line, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = 0.5  # refused below, as other fractions are
    if not value.is_integer():
        line.fail(f"the grade must be a whole number; it is {text!r}.")
    return int(value)


def _judged_elsewhere(folder: Path, split: str) -> set[str]:
    """Ids of queries that other splits judge: their answers are theirs."""
    found = set()
    for path in (folder / "qrels").glob("*.tsv"):
        if path.stem != split:
            found |= {_columns(line)[0] for line in read_lines(path)}
    return found


@dataclass(slots=True)
class _Known:
    """Makes cases of what is known of the answers."""

    folder: Path
    documents: Mapping[str, CorpusDocument]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    originals: dict[str, int] = field(default_factory=dict)

    def cases(self, digest: hashlib._Hash) -> list[Case]:
        seen = Seen.none()
        found = []
        for row in read_rows(self.folder / ANSWERS, digest):
            query = row.identifier("query_id")
            if query not in self.queries:
                row.line.fail(f"there is no query {query!r} in queries.jsonl.")
            seen.add(query, row.line, f"the answer to {query!r}")
            found.append(self._case(query, row))
        for name in sorted(self.originals):
            digest.update(read_original(self.folder, name).encode())
        return found

    def _case(self, query: str, row: Row) -> Case:
        answers, spans = row.strings("answers"), self._spans(row)
        is_answerable = not row.boolean("is_impossible", default=False)
        if not is_answerable and (answers or spans):
            row.line.fail("'is_impossible' is true, but there are answers or spans. Correct one of them.")
        relevant = tuple(document for document, grade in self.qrels.get(query, {}).items() if grade > 0)
        if not is_answerable and relevant:
            row.line.fail(f"'is_impossible' is true, but document {relevant[0]!r} is judged to be relevant.")
        return Case(query, self.queries[query], tuple(dict.fromkeys(answers)), relevant, spans, is_answerable)

    def _spans(self, row: Row) -> tuple[Span, ...]:
        ranges = row.ranges("spans")
        if not ranges:
            return ()
        key = "doc_id" if "doc_id" in row.fields else "source"
        document = row.identifier(key)
        length = self._length(document, row.line)
        for _, end in ranges:
            if end > length:
                row.line.fail(f"a span ends at {end}, but {document!r} has {length} characters.")
        return tuple(Span(document, start, end) for start, end in ranges)

    def _length(self, document: str, line: Line) -> int:
        if document in self.documents:
            return len(self.documents[document].text)
        if document not in self.originals:
            if not (self.folder / ORIGINALS / document).is_file():
                line.fail(f"there is no document {document!r} in corpus.jsonl, nor such a file in {ORIGINALS}.")
            self.originals[document] = len(read_original(self.folder, document))
        return self.originals[document]
