"""Haystack, as its tutorials do it: a pipeline of converter, splitter, embedder and writer into the in-memory store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.converters import TextFileToDocument
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)

from benchmarks.peers.scripted import CHUNK_TOKENS, MODEL, OVERLAP_TOKENS, Search, Searches, main

TOKENS_PER_WORD = 2.11  # of all-MiniLM-L6-v2 in the folder: its splitter counts words between spaces
FILE = "store.json"


def document_store(path: Path) -> InMemoryDocumentStore:
    """As it was saved, or empty."""
    if (path / FILE).exists():
        return InMemoryDocumentStore.load_from_disk(str(path / FILE))
    return InMemoryDocumentStore(embedding_similarity_function="cosine")


def embedder() -> SentenceTransformersDocumentEmbedder:
    """Of documents."""
    return SentenceTransformersDocumentEmbedder(model=MODEL, device=ComponentDevice.from_str("cpu"), progress_bar=False)


def ingest(folder: Path, store: Path) -> int:
    """Run the pipeline, and save what it wrote."""
    documents = document_store(store)
    words = int(CHUNK_TOKENS / TOKENS_PER_WORD), int(OVERLAP_TOKENS / TOKENS_PER_WORD)
    pipeline = Pipeline()
    pipeline.add_component("converter", TextFileToDocument())
    pipeline.add_component("splitter", DocumentSplitter(split_by="word", split_length=words[0], split_overlap=words[1]))
    pipeline.add_component("embedder", embedder())
    pipeline.add_component("writer", DocumentWriter(documents))
    for sender, receiver in (("converter", "splitter"), ("splitter", "embedder"), ("embedder", "writer")):
        pipeline.connect(sender, receiver)
    written = pipeline.run({"converter": {"sources": sorted(folder.rglob("*.md"))}})
    store.mkdir(parents=True, exist_ok=True)
    documents.save_to_disk(str(store / FILE))
    return int(written["writer"]["documents_written"])


def dense_search(documents: InMemoryDocumentStore, top_k: int, field: str) -> Search:
    """A pipeline of text embedder and retriever."""
    pipeline = Pipeline()
    text_embedder = SentenceTransformersTextEmbedder(
        model=MODEL, device=ComponentDevice.from_str("cpu"), progress_bar=False
    )
    pipeline.add_component("embedder", text_embedder)
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(documents, top_k=top_k))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")

    def search(question: str) -> Sequence[str]:
        found = pipeline.run({"embedder": {"text": question}})["retriever"]["documents"]
        return [getattr(each, field) for each in found]

    return search


def collect(documents: Mapping[str, str], store: Path) -> Searches:
    """The two retrievers, and the joiner's reciprocal rank fusion of both."""
    items = [Document(id=identity, content=text) for identity, text in documents.items()]
    opened = document_store(store)
    opened.write_documents(embedder().run(items)["documents"])
    by_id = {item.id: item for item in items}
    dense, words = dense_search(opened, 10, "id"), InMemoryBM25Retriever(opened, top_k=10)
    joiner = DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=10)

    def by_words(question: str) -> list[str]:
        return [each.id for each in words.run(query=question)["documents"]]

    def hybrid(question: str) -> list[str]:
        lists = [[by_id[identity] for identity in way(question)] for way in (dense, by_words)]
        return [each.id for each in joiner.run(documents=lists)["documents"]]

    return {"dense": dense, "bm25": by_words, "hybrid": hybrid}


if __name__ == "__main__":
    main(ingest, lambda store: {"dense": dense_search(document_store(store), 5, "content")}, collect)
