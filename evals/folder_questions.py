"""Questions about a folder of your own documents: `questions.jsonl`, and the files in `documents`.

The files are read by the same parsers as an ingest, so that the characters of a passage are those of a citation.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from evals.json_lines import Line, Row, Seen, read_rows
from evals.records import Case, CorpusDocument, Dataset, Span
from ingest.sandbox import ParserPool
from ingest.source_files import Refused, SourceFile
from ingest.sources import walk
from rag.errors import InvalidInputError, ParseError
from rag.settings import IngestSettings

QUESTIONS = "questions.jsonl"
DOCUMENTS = "documents"
FIELDS = ("id", "question", "answers", "files", "passages", "answerable")


def read_folder_questions(folder: Path, settings: IngestSettings | None = None) -> Dataset:
    """Read `questions.jsonl` and the documents beside it.

    Args:
        folder: with both.
        settings: for finding and parsing the files; the defaults where it is None.

    Returns:
        Documents by their path relative to `documents`, with `/` between folders. A question's judgements are the files
        that it names and those that its passages stand in, with grade 1. Questions that name neither are cases alone.

    Raises:
        InvalidInputError: a line is malformed, names a file that is not read, or quotes what no file says.
    """
    if not (folder / DOCUMENTS).is_dir():
        raise InvalidInputError(f"There is no folder {folder / DOCUMENTS}. Put the documents of {QUESTIONS} into it.")
    digest = hashlib.sha256()
    read = _read_files(folder / DOCUMENTS, settings or IngestSettings(), digest)
    if not read.documents:
        raise InvalidInputError(f"{folder / DOCUMENTS} holds no document that can be read.")
    seen = Seen.none()
    cases: dict[str, Case] = {}
    for row in read_rows(folder / QUESTIONS, digest):
        case = _case(row, read)
        seen.add(case.id, row.line, f"question {case.id!r}")
        cases[case.id] = case
    if not cases:
        raise InvalidInputError(f"{folder / QUESTIONS} holds no question.")
    return Dataset(
        name=folder.resolve().name,
        folder=folder,
        sha256=digest.hexdigest(),
        documents=read.documents,
        queries={case.id: case.question for case in cases.values()},
        qrels={case.id: dict.fromkeys(case.documents, 1) for case in cases.values() if case.documents},
        cases=tuple(cases.values()),
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """Documents by relative path, and why others were not read."""

    documents: Mapping[str, CorpusDocument]
    refused: Mapping[str, str]


def _read_files(root: Path, settings: IngestSettings, digest: hashlib._Hash) -> _Read:
    documents: dict[str, CorpusDocument] = {}
    refused: dict[str, str] = {}
    sources: dict[str, SourceFile] = {}
    for found in walk([root], settings):
        name = found.path.relative_to(root.resolve()).as_posix()
        if isinstance(found, Refused):
            refused[name] = found.message
        else:
            sources[name] = found
    # A loop of its own in a thread of its own: the caller may be running one.
    with ThreadPoolExecutor(1) as thread:
        parsed = thread.submit(asyncio.run, _parse_all(sources, settings)).result()
    for name, (sha256, document) in parsed.items():
        digest.update(f"{name}\0{sha256}\0".encode())
        if isinstance(document, CorpusDocument):
            documents[name] = document
        else:
            refused[name] = document
    return _Read(documents, refused)


async def _parse_all(
    sources: Mapping[str, SourceFile], settings: IngestSettings
) -> dict[str, tuple[str, CorpusDocument | str]]:
    """Name -> hash of the bytes, and the document or why there is none."""
    async with ParserPool(settings) as pool:
        turns = asyncio.Semaphore(pool.size)  # no more files are held than are parsed

        async def one(name: str, file: SourceFile) -> tuple[str, CorpusDocument | str]:
            async with turns:
                try:
                    source = await asyncio.to_thread(file.read, settings.max_file_bytes)
                    document = await pool.parse(source.data, file.path.name)
                except ParseError as error:
                    return error.reason, str(error)
            return source.sha256, CorpusDocument(name, document.title, document.text)

        parsed = await asyncio.gather(*[one(name, file) for name, file in sources.items()])
    return dict(zip(sources, parsed, strict=True))


def _case(row: Row, read: _Read) -> Case:
    _refuse_misspelt(row)
    question = row.string("question")
    if not question.strip():
        row.line.fail("'question' is blank.")
    identity = row.identifier("id") if "id" in row.fields else _identity(question)
    answers, files, passages = row.strings("answers"), row.strings("files"), row.strings("passages")
    is_answerable = row.boolean("answerable", default=True)
    if not is_answerable and (answers or files or passages):
        row.line.fail("'answerable' is false, but there are answers, files or passages. Correct one of them.")
    if is_answerable and not (answers or files or passages):
        row.line.fail("one of 'answers', 'files' and 'passages' must be given, or 'answerable' be false.")
    for file in files:
        _require(file, read, row.line)
    spans = tuple(_find(passage, files, read.documents, row.line) for passage in passages)
    documents = tuple(dict.fromkeys([*files, *(span.document for span in spans)]))
    return Case(identity, question, answers, documents, tuple(dict.fromkeys(spans)), is_answerable)


def _refuse_misspelt(row: Row) -> None:
    """Other fields are the author's own notes, but `answer` for `answers` would silently empty a test."""
    for key in row.fields.keys() - set(FIELDS):
        near = difflib.get_close_matches(key, FIELDS, 1, 0.8)
        if near:
            row.line.fail(f"there is no field {key!r}. Is {near[0]!r} meant?")


def _identity(question: str) -> str:
    return f"q-{hashlib.sha256(question.encode()).hexdigest()[:12]}"


def _require(file: str, read: _Read, line: Line) -> None:
    if file in read.documents:
        return
    if file in read.refused:
        line.fail(f"{file!r} is not read: {read.refused[file]}")
    near = difflib.get_close_matches(file, read.documents, 1)
    line.fail(f"there is no file {file!r} in {DOCUMENTS}." + (f" Is {near[0]!r} meant?" if near else ""))


def _find(passage: str, files: tuple[str, ...], documents: Mapping[str, CorpusDocument], line: Line) -> Span:
    """Where a passage stands; breaks of lines and runs of spaces may differ."""
    words = re.compile(r"\s+".join(re.escape(word) for word in passage.split()))
    spans = []
    for name in files or documents:
        text = documents[name].text
        start = text.find(passage)
        if start >= 0:
            spans.append(Span(name, start, start + len(passage)))
        elif (match := words.search(text)) is not None:
            spans.append(Span(name, match.start(), match.end()))
    shown = f"{passage[:60]!r}" + ("..." if len(passage) > 60 else "")
    if not spans:
        line.fail(f"no such passage stands in {' or '.join(files) or DOCUMENTS}: {shown}. Copy it word by word.")
    if len(spans) > 1 and not files:
        line.fail(f"the passage {shown} stands in {spans[0].document} and {spans[1].document}. Name one in 'files'.")
    return spans[0]
