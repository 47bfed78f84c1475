"""LangChain, as its tutorial on retrieval does it: loader, splitter, embeddings, Qdrant in a local folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.document_loaders import DirectoryLoader, TextLoader
from langchain_community.retrievers import BM25Retriever
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_qdrant import QdrantVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams
from transformers import AutoTokenizer

from benchmarks.peers.scripted import CHUNK_TOKENS, MODEL, OVERLAP_TOKENS, Searches, main

COLLECTION = "docs"


def vector_store(path: Path) -> QdrantVectorStore:
    """The collection in this folder, made when it is not there."""
    client = QdrantClient(path=str(path))
    embeddings = HuggingFaceEmbeddings(model_name=MODEL, model_kwargs={"device": "cpu"})
    if not client.collection_exists(COLLECTION):
        dimension = len(embeddings.embed_query("dimension"))
        client.create_collection(COLLECTION, vectors_config=VectorParams(size=dimension, distance=Distance.COSINE))
    return QdrantVectorStore(client=client, collection_name=COLLECTION, embedding=embeddings)


def ingest(folder: Path, store: Path) -> int:
    """Load, split, embed, store."""
    documents = DirectoryLoader(str(folder), glob="**/*.md", loader_cls=TextLoader).load()
    splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        AutoTokenizer.from_pretrained(MODEL), chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS
    )
    chunks = splitter.split_documents(documents)
    vector_store(store).add_documents(chunks)
    return len(chunks)


def open_store(store: Path) -> Searches:
    """Similarity search."""
    opened = vector_store(store)
    return {"dense": lambda question: [found.page_content for found in opened.similarity_search(question, k=5)]}


def collect(documents: Mapping[str, str], store: Path) -> Searches:
    """Similarity, BM25 as it comes, and both in an ensemble of equal weights."""
    items = [Document(page_content=text, metadata={"id": identity}) for identity, text in documents.items()]
    opened = vector_store(store)
    opened.add_documents(items)
    dense, words = opened.as_retriever(search_kwargs={"k": 10}), BM25Retriever.from_documents(items, k=10)
    both = EnsembleRetriever(retrievers=[words, dense], weights=[0.5, 0.5])
    return {
        "dense": lambda question: _ids(dense.invoke(question)),
        "bm25": lambda question: _ids(words.invoke(question)),
        "hybrid": lambda question: _ids(both.invoke(question)),
    }


def _ids(found: Sequence[Document]) -> list[str]:
    return [each.metadata["id"] for each in found][:10]


if __name__ == "__main__":
    main(ingest, open_store, collect)
