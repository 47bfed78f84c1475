"""LlamaIndex, as its starter tutorial does it: reader, sentence splitter, vector index, persisted to a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llama_index.core import Settings, SimpleDirectoryReader, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.retrievers.bm25 import BM25Retriever
from transformers import AutoTokenizer

from benchmarks.peers.scripted import CHUNK_TOKENS, MODEL, OVERLAP_TOKENS, Searches, main


def configure() -> None:
    """The model for everything, and no language model."""
    Settings.embed_model = HuggingFaceEmbedding(model_name=MODEL, device="cpu")
    Settings.llm = None
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    Settings.node_parser = SentenceSplitter(
        chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS, tokenizer=tokenizer.tokenize
    )


def ingest(folder: Path, store: Path) -> int:
    """Read, split, embed, persist."""
    configure()
    documents = SimpleDirectoryReader(str(folder), recursive=True, required_exts=[".md"]).load_data()
    index = VectorStoreIndex.from_documents(documents)
    index.storage_context.persist(str(store))
    return len(index.index_struct.nodes_dict)


def open_store(store: Path) -> Searches:
    """The retriever of the index."""
    configure()
    index = load_index_from_storage(StorageContext.from_defaults(persist_dir=str(store)))
    retriever = index.as_retriever(similarity_top_k=5)
    return {"dense": lambda question: [found.node.get_content() for found in retriever.retrieve(question)]}


def collect(documents: Mapping[str, str], _: Path) -> Searches:
    """The index's retriever, that of BM25, and both fused by reciprocal rank."""
    configure()
    nodes = [TextNode(text=text, id_=identity) for identity, text in documents.items()]
    dense = VectorStoreIndex(nodes).as_retriever(similarity_top_k=10)
    words = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=10)
    both = QueryFusionRetriever(
        [dense, words], similarity_top_k=10, num_queries=1, mode="reciprocal_rerank", use_async=False
    )
    return {
        "dense": lambda question: _ids(dense.retrieve(question)),
        "bm25": lambda question: _ids(words.retrieve(question)),
        "hybrid": lambda question: _ids(both.retrieve(question)),
    }


def _ids(found: Sequence[NodeWithScore]) -> list[str]:
    return [each.node.node_id for each in found][:10]


if __name__ == "__main__":
    main(ingest, open_store, collect)
