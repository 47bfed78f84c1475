"""txtai, as its examples do it: segments into an embeddings database that keeps their text, saved to a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer
from txtai import Embeddings
from txtai.pipeline import Segmentation

from benchmarks.peers.scripted import CHUNK_TOKENS, MODEL, OVERLAP_TOKENS, Search, Searches, main

MOST_RESULTS = 10


def ingest(folder: Path, store: Path) -> int:
    """Cut every file, and put the pieces under ids of their own; what is stored already is replaced."""
    tokenizer = Tokenizer.from_file(str(Path(MODEL) / "tokenizer.json"))
    tokenizer.no_truncation()  # its file may ask for it, and then all but the first chunk of a file would be lost
    tokenizer.no_padding()
    cut = Segmentation(chunker="token", tokenizer=tokenizer, chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS)
    rows = []
    for path in sorted(folder.rglob("*.md")):
        for number, text in enumerate(cut(path.read_text(encoding="utf-8"))):
            rows.append((f"{path}#{number}", text, None))
    embeddings = Embeddings(path=MODEL, content=True, gpu=False)
    if store.exists():
        embeddings.load(str(store))
    embeddings.upsert(rows)
    embeddings.save(str(store))
    embeddings.close()
    return len(rows)


def open_store(store: Path) -> Searches:
    """Similarity search."""
    embeddings = Embeddings()
    embeddings.load(str(store))
    return {"dense": lambda question: [found["text"] for found in embeddings.search(question, 5)]}


def collect(documents: Mapping[str, str], _: Path) -> Searches:
    """Three indexes: by likeness, by words, and txtai's own hybrid of both."""
    rows = [(identity, text, None) for identity, text in documents.items()]
    return {
        "dense": indexed(rows, path=MODEL, gpu=False),
        "bm25": indexed(rows, keyword=True),
        "hybrid": indexed(rows, path=MODEL, gpu=False, hybrid=True),
    }


def indexed(rows: list[tuple[str, str, None]], **configuration: object) -> Search:
    """An index of the rows that is searched for ids."""
    embeddings = Embeddings(content=True, **configuration)
    embeddings.index(rows)
    # A question goes into its SQL between quotes, so it may not hold one.
    return lambda question: [found["id"] for found in embeddings.search(question.replace("'", " "), MOST_RESULTS)]


if __name__ == "__main__":
    main(ingest, open_store, collect)
