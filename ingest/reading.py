"""One file to a document that is ready to be written: read, parse, sketch, chunk."""

from __future__ import annotations

import time
from pathlib import PurePath

from ingest.changes import compare_hash, seen_again
from ingest.chunking import chunk_document
from ingest.duplicates import sketch_of
from ingest.parsers.registry import readable_name, readable_stem
from ingest.planning import Recipes
from ingest.sandbox import ParserPool
from ingest.source_files import SourceFile
from rag.assembly import Engine
from rag.concurrency import in_thread
from rag.documents import document_id, generation_of
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
        recipe = self._recipes.of(name)
        if known is not None and compare_hash(source.sha256, known, recipe) == "unchanged":
            await in_thread(self._documents.touch, [seen_again(source.file, known, time.time_ns())])
            return None
        document = await pool.parse(source.data, name)
        identity = document_id(self._store_id, file.uri)
        generation = generation_of(source.sha256, recipe)
        chunks = await in_thread(
            chunk_document, document, identity, generation, self._engine.embedder.tokenizer, self._engine.chunk_tokens,
            titled=is_own_title(document.title, name),
        )  # fmt: skip
        if not chunks:
            raise ParseError("no_text", f"{name} holds no text that could be indexed.")
        record = DocumentRecord(
            id=identity, store_id=self._store_id, uri=file.uri, title=document.title, media_type=document.media_type,
            attributes=document.attributes, size_bytes=source.file.size_bytes, mtime_ns=source.file.mtime_ns,
            checked_ns=time.time_ns(), source_sha256=source.sha256, recipe=recipe, generation=generation,
            sketch=await in_thread(sketch_of, document.text),
        )  # fmt: skip
        return Indexed(record=record, text=document.text, chunks=chunks)


def is_own_title(title: str, name: str) -> bool:
    """Whether a document's title is more than the name of its file."""
    return title not in (readable_stem(name), readable_name(PurePath(name).name))
