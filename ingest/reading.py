"""One file to a document that is ready to be written: read, parse, sketch, chunk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from ingest.changes import compare_hash, seen_again
from ingest.chunking import chunk_document
from ingest.duplicates import sketch_of
from ingest.parsers.registry import readable_name, readable_stem
from ingest.planning import Recipes
from ingest.sandbox import ParserPool
from ingest.source_files import SourceFile, Terms
from ingest.strategy import Chunking
from rag.assembly import Engine
from rag.attributes import merged, of_parser
from rag.concurrency import in_thread
from rag.dates import seconds_of
from rag.documents import AttributeValue, Chunk, chunk_id, document_id, generation_of
from rag.errors import ParseError
from rag.ledger.documents import DocumentRecord, Documents, Indexed


class Reader:
    """Reads the files of one store."""

    def __init__(self, engine: Engine, documents: Documents, store_id: str, recipes: Recipes) -> None:
        self._engine = engine
        self._documents = documents
        self._store_id = store_id
        self._recipes = recipes

    async def read(self, file: SourceFile, known: DocumentRecord | None, pool: ParserPool) -> Indexed | None:
        """Read a file; None when its bytes are those that are indexed.

        Raises:
            ParseError: it cannot be read, or holds nothing to be indexed.
        """
        source = await in_thread(file.read, self._engine.settings.ingest.max_file_bytes)
        name = file.path.name
        terms = file.terms
        if terms.sha256 and source.sha256 != terms.sha256:
            raise ParseError("altered", f"{name} is not what was uploaded any more: upload it again.")
        recipe = self._recipes.of(name, terms)
        if known is not None and compare_hash(source.sha256, known, recipe) == "unchanged":
            await in_thread(self._documents.touch, [seen_again(source.file, known, time.time_ns())])
            return None
        generation = generation_of(source.sha256, recipe)
        same_text = self._recipes.of_text(name, terms) + _terms(known)
        if known is not None and compare_hash(source.sha256, known, same_text) == "unchanged":
            stored = await in_thread(self._documents.content, known)
            if stored is not None:
                return self._under(stored, terms, recipe, seen_again(source.file, known, time.time_ns()))
        document = await pool.parse(source.data, name)
        identity = document_id(self._store_id, file.uri)
        cut = terms.chunking or Chunking(self._engine.chunk_tokens)
        chunks = await in_thread(
            chunk_document, document, identity, generation, self._engine.embedder.tokenizer, cut.max_tokens,
            overlap_tokens=cut.overlap_tokens, titled=is_own_title(document.title, name),
        )  # fmt: skip
        if not chunks:
            raise ParseError("no_text", f"{name} holds no text that could be indexed.")
        record = DocumentRecord(
            id=identity, store_id=self._store_id, uri=file.uri, title=document.title, media_type=document.media_type,
            attributes=merged(terms.attributes, _dated(document.attributes, source.file)),
            size_bytes=source.file.size_bytes, mtime_ns=source.file.mtime_ns, checked_ns=time.time_ns(),
            source_sha256=source.sha256, recipe=recipe, generation=generation,
            sketch=await in_thread(sketch_of, document.text), groups=terms.groups,
        )  # fmt: skip
        return Indexed(record, document.text, chunks, self._usage(document.text, chunks))

    def _under(self, stored: Indexed, terms: Terms, recipe: str, known: DocumentRecord) -> Indexed:
        """A document under other attributes and groups: its text and its chunks are taken from the ledger."""
        generation = generation_of(known.source_sha256, recipe)
        attributes = merged(terms.attributes, of_parser(known.attributes))
        record = replace(known, attributes=attributes, groups=terms.groups, recipe=recipe, generation=generation)
        chunks = [
            replace(chunk, id=chunk_id(known.id, generation, chunk.ordinal), generation=generation)
            for chunk in stored.chunks
        ]
        return Indexed(record, stored.text, chunks, self._usage(stored.text, chunks))

    def _usage(self, text: str, chunks: Sequence[Chunk]) -> int:
        """Bytes of a document's text and of its vectors, 32-bit floats."""
        return len(text.encode()) + 4 * self._engine.embedder.fingerprint.dimension * len(chunks)


def _dated(by_parser: Mapping[str, AttributeValue], file: SourceFile) -> dict[str, AttributeValue]:
    """What the parser told, with a date in seconds since 1970: the one that it read, else the file's."""
    told = seconds_of(by_parser.get("date"))
    return {**by_parser, "date": file.mtime_ns / 1e9 if told is None else told}


def _terms(known: DocumentRecord | None) -> str:
    """The end of a recipe that speaks of attributes and groups alone."""
    _, mark, rest = known.recipe.partition(";terms=") if known else ("", "", "")
    return mark + rest


def is_own_title(title: str, name: str) -> bool:
    """Whether a document's title is more than the name of its file."""
    return title not in (readable_stem(name), readable_name(PurePath(name).name))
