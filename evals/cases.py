"""A user's own test set: one JSON object a line, with stable ids, that a person can read, mark and edit.

    {"id": "…", "question": "…", "answers": ["28 days"], "files": ["handbook/leave.md"], "passages": ["…"],
     "answerable": true, "review": "keep", "kind": "fact", "overlap": 0.8,
     "source": {"uri": "file:///…/leave.md", "generation": "…", "start": 411, "end": 480}}

Only `question` is needed of a case that a person writes, and `files`, `answers` or `passages` of one that can be
answered. `passages` are verbatim parts of the `files`; the first is `text[start:end]` of the source. `files` are URIs
or the ends of their paths, so that the same file serves as the `questions.jsonl` of a folder. `review` is `keep` or
`drop`; a case that was dropped stays, so that it is not written again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote

from evals.json_lines import Row, Seen, read_rows
from evals.records import Case, Span
from evals.stored import StoredDocument
from rag.errors import InvalidInputError

Review = Literal["", "keep", "drop"]
_REVIEWS: Final[Mapping[str, Review]] = {"": "", "keep": "keep", "drop": "drop"}
FIELDS: Final = (
    *("id", "question", "answers", "files", "passages", "answerable", "review", "kind", "overlap", "absent", "source"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a case comes from: characters of one version of a document."""

    uri: str
    generation: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class OwnCase:
    """One line of the file.

    Attributes:
        files: URIs, or the ends of their paths.
        passages: verbatim; the first is the source's span.
        kind: what it was made from, such as `heading`; empty where a person wrote it.
        overlap: see `evals.wording`.
        absent: of a question that cannot be answered, the words that no passage holds.
        other: fields of the line that are none of ours; they are kept.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()
    answerable: bool = True
    review: Review = ""
    kind: str = ""
    overlap: float = 0.0
    absent: str = ""
    source: Source | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The line as JSON types; what is empty and not needed is left out."""
        found: dict[str, Any] = {
            "id": self.id, "question": self.question, "answers": list(self.answers), "files": list(self.files),
            "passages": list(self.passages), "answerable": self.answerable, "review": self.review,
        }  # fmt: skip
        if self.kind:
            found |= {"kind": self.kind, "overlap": round(self.overlap, 4)}
        if self.absent:
            found["absent"] = self.absent
        if self.source:
            source = self.source
            found["source"] = {
                "uri": source.uri, "generation": source.generation, "start": source.start, "end": source.end,
            }  # fmt: skip
        return {**found, **self.other}


def case_id(uri: str, start: int, end: int, question: str) -> str:
    """The id of a case: the same question about the same characters of the same document has the same one."""
    return hashlib.sha256(f"{uri}\0{start}\0{end}\0{question}".encode()).hexdigest()[:16]


def read_own_cases(path: Path) -> list[OwnCase]:
    """Read a file of cases.

    Raises:
        InvalidInputError: it cannot be read, or a line is not a case; the message names file and line.
    """
    seen = Seen.none()
    cases = []
    for row in read_rows(path):
        case = _parsed(row)
        seen.add(case.id, row.line, f"the case {case.id!r}")
        cases.append(case)
    return cases


def write_own_cases(path: Path, cases: Iterable[OwnCase]) -> None:
    """Write a file of cases at once: an interruption leaves the old file."""
    beside = path.with_name(f"{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(case.as_dict(), ensure_ascii=False) + "\n" for case in cases)
    beside.write_text("".join(lines), "utf-8")
    beside.replace(path)


def judged_cases(path: Path, cases: Sequence[OwnCase], documents: Mapping[str, StoredDocument]) -> list[Case]:
    """The cases that were not dropped, with URIs as documents and their passages found in the store.

    Args:
        path: of the file, for messages.
        documents: of the store, by URI.

    Raises:
        InvalidInputError: a file or a passage is not in the store, or a case has nothing to be judged by.
    """
    return [_judged(path, case, documents) for case in cases if case.review != "drop"]


def _judged(path: Path, case: OwnCase, documents: Mapping[str, StoredDocument]) -> Case:
    if not case.answerable:
        return Case(case.id, case.question, is_answerable=False)
    where = f"{path}, case {case.id}"
    uris = dict.fromkeys(_uri(file, case, documents, where) for file in case.files)
    spans = []
    for passage in case.passages:
        found = [span for uri in uris or documents if (span := _span(case, passage, documents[uri]))]
        if not found:
            raise InvalidInputError(
                f"{where}: its passage {passage[:60]!r} stands in no document of the store. Correct it, or write the "
                "case anew: quoth eval synthesize with this file as --out."
            )
        spans += found
    uris |= dict.fromkeys(span.document for span in spans)
    if not (case.answers or uris):
        raise InvalidInputError(f"{where}: give it `answers`, `files` or `passages`, or `answerable` false.")
    return Case(case.id, case.question, case.answers, tuple(uris), tuple(dict.fromkeys(spans)))


def _uri(file: str, case: OwnCase, documents: Mapping[str, StoredDocument], where: str) -> str:
    """The URI that a file's name, or the end of its path, stands for."""
    found = [uri for uri in documents if uri == file or unquote(uri).endswith(f"/{file}")]
    if case.source and case.source.uri in found:
        return case.source.uri
    if len(found) != 1:
        problem = "is not in the store. Ingest it" if not found else f"may be {found[0]} or {found[1]}"
        raise InvalidInputError(f"{where}: {file!r} {problem}, or name its URI.")
    return found[0]


def _span(case: OwnCase, passage: str, document: StoredDocument) -> Span | None:
    """Where a passage stands: at its source, word for word, or with other breaks of lines and runs of spaces."""
    source, text = case.source, document.text
    if source and document.uri == source.uri and text[source.start : source.end] == passage:
        return Span(document.uri, source.start, source.end)
    words = r"\s+".join(re.escape(word) for word in passage.split())
    found = re.search(re.escape(passage), text) or re.search(words, text)
    return Span(document.uri, *found.span()) if found else None


def _parsed(row: Row) -> OwnCase:
    question, review = row.string("question"), _REVIEWS.get(row.string("review", ""))
    if not question.strip():
        row.line.fail("'question' is blank.")
    if review is None:
        row.line.fail("'review' is `keep`, `drop` or empty.")
    source = _source(row)
    start, end = (source.start, source.end) if source else (0, 0)
    return OwnCase(
        id=row.identifier("id") if "id" in row.fields else case_id(source.uri if source else "", start, end, question),
        question=question, answers=row.strings("answers"), files=row.strings("files"),
        passages=row.strings("passages"), answerable=row.boolean("answerable", default=True), review=review,
        kind=row.string("kind", ""), overlap=_share(row), absent=row.string("absent", ""), source=source,
        other={name: value for name, value in row.fields.items() if name not in FIELDS},
    )  # fmt: skip


def _share(row: Row) -> float:
    value = row.fields.get("overlap", 0.0)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        row.line.fail("'overlap' is a number from 0 to 1; leave it out of a case that you write.")
    return float(value)


def _source(row: Row) -> Source | None:
    value = row.fields.get("source")
    if value is None:
        return None
    try:
        return Source(str(value["uri"]), str(value["generation"]), int(value["start"]), int(value["end"]))
    except (KeyError, TypeError, ValueError):
        row.line.fail("'source' needs `uri`, `generation`, `start` and `end`. Leave it out of a case that you write.")
