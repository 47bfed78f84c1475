"""Chunks to points: what was embedded before, here or in another document, is not embedded again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rag.attributes import to_ask
from rag.concurrency import in_thread
from rag.documents import AskedValue, Chunk, Point, text_key
from rag.errors import UpstreamError
from rag.ledger.documents import DocumentRecord, Documents, Indexed
from rag.protocols import ChunkStore, Embedder, SparseEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PointMaker:
    """Makes the points of one store's chunks."""

    def __init__(
        self, store_id: str, documents: Documents, vectors: ChunkStore, embedder: Embedder, sparse: SparseEncoder
    ) -> None:
        self._store_id = store_id
        self._documents = documents
        self._vectors = vectors
        self._embedder = embedder
        self._sparse = sparse

    async def points(self, batch: Sequence[Indexed]) -> list[Point]:
        """The points of these documents, in the order of their chunks.

        Raises:
            UpstreamError: the embedder failed, or returned what are no vectors.
        """
        chunks = [chunk for item in batch for chunk in item.chunks]
        dense = await self._dense(chunks)
        sparse = await in_thread(
            lambda: [self._sparse.encode_passage(words_of(item, chunk)) for item in batch for chunk in item.chunks]
        )
        return [
            Point(chunk.id, chunk.document_id, chunk.generation, vector, terms, asked, tuple(record.groups))
            for (chunk, record, asked), vector, terms in zip(_described(batch), dense, sparse, strict=True)
        ]

    async def _dense(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        texts = {text_key(chunk.embedded_text): chunk.embedded_text for chunk in chunks}
        found = await self._embedded_before(list(texts))
        missing = [key for key in texts if key not in found]
        found.update(zip(missing, await self._embed([texts[key] for key in missing]), strict=True))
        return [found[text_key(chunk.embedded_text)] for chunk in chunks]

    async def _embedded_before(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of texts that the store holds already; one whose point is missing is embedded again."""
        holders = await in_thread(self._documents.embedded_as, self._store_id, keys)
        if not holders:
            return {}
        vectors = await self._vectors.dense_vectors(self._store_id, sorted(set(holders.values())))
        return {key: vectors[chunk] for key, chunk in holders.items() if chunk in vectors}

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        fingerprint = self._embedder.fingerprint
        if not texts:
            return np.zeros((0, fingerprint.dimension), np.float32)
        vectors = await self._embedder.embed_passages(texts)
        if vectors.shape != (len(texts), fingerprint.dimension) or not np.isfinite(vectors).all():
            raise UpstreamError(
                f"The embedder {fingerprint.model} answered {len(texts)} texts with vectors of shape {vectors.shape}, "
                f"where ({len(texts)}, {fingerprint.dimension}) finite numbers were expected. Nothing of this batch "
                "was written; check the model or its server, and run the ingest again."
            )
        return vectors


def _described(batch: Sequence[Indexed]) -> Iterator[tuple[Chunk, DocumentRecord, Mapping[str, AskedValue]]]:
    """Every chunk with its document, and what filters may ask of that."""
    for item in batch:
        asked = to_ask(item.record.uri, item.record.media_type, item.record.attributes)
        for chunk in item.chunks:
            yield chunk, item.record, asked


def words_of(item: Indexed, chunk: Chunk) -> str:
    """What the word index sees of a chunk."""
    return chunk.words_with(item.record.title)
