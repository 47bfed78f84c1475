"""Speed of chunking, and where chunks begin: `python -m benchmarks.chunking FOLDER...`.

Every Markdown file below each folder is parsed, which is not timed, and cut with the default embedder's tokenizer.
The speed is that of the fastest of several passes. A chunk begins mid-sentence when it begins inside of a paragraph,
list or quote and what is before it neither ends a sentence nor a paragraph nor an item; mid-fence and mid-table when it
begins inside of a block of code or of a table. A table that continues with its header in the prefix is counted too.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from ingest.chunking import chunk_document
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import parse
from rag.documents import Chunk, Document
from rag.models.resolve import resolve
from rag.settings import load_settings
from rag.tokens import EmbedderTokenizer

MAX_TOKENS = 254
PASSES = 3
LIMITS = ParserLimits(max_characters=20_000_000, max_pages=5_000)
_ENDS = re.compile(r"(?:[.!?…:;。！？][\"')\]’”»*_`]*|\n[ \t]*\n)\s*\Z")
_ITEM = re.compile(r"(?:[-*+•]|\d+[.)])\s")


def main() -> None:
    """Parse, cut, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path, help="with Markdown files")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    arguments = parser.parse_args()
    tokenizer = load_tokenizer()
    print("| folder | MB | MB/CPU-s | chunks | mean tokens | mid-sentence | mid-fence | mid-table |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for folder in arguments.folders:
        documents = [parse(path.read_bytes(), path.name, LIMITS) for path in sorted(folder.rglob("*.md"))]
        print(row(folder.name, documents, tokenizer, arguments.max_tokens), flush=True)


def load_tokenizer() -> EmbedderTokenizer:
    """The default embedder's tokenizer, out of the models folder."""
    settings = load_settings()
    folder = resolve(settings.embedder.model, settings.models_dir, download=False)
    return EmbedderTokenizer(tokenizers.Tokenizer.from_file(str(folder.file("tokenizer.json"))))


def row(name: str, documents: Sequence[Document], tokenizer: EmbedderTokenizer, max_tokens: int) -> str:
    """One folder's figures as a row of the table."""
    megabytes = sum(len(document.text.encode()) for document in documents) / 1e6
    seconds = []
    for _ in range(PASSES):
        begun = time.process_time()
        cut = [chunk_document(document, "d", "g", tokenizer, max_tokens) for document in documents]
        seconds.append(time.process_time() - begun)
    chunks = [chunk for each in cut for chunk in each]
    tokens = statistics.mean(tokenizer.count(chunk.text) for chunk in chunks)
    kinds = [begins_inside(document, chunk) for document, each in zip(documents, cut, strict=True) for chunk in each]
    shares = [f"{kinds.count(kind) / len(kinds):.2%}" for kind in ("sentence", "fence", "table")]
    cells = [name, f"{megabytes:.2f}", f"{megabytes / min(seconds):.2f}", str(len(chunks)), f"{tokens:.1f}", *shares]
    return f"| {' | '.join(cells)} |"


def begins_inside(document: Document, chunk: Chunk) -> str:
    """`sentence`, `fence` or `table`, whichever the chunk's beginning tears apart, or ""."""
    at = bisect_right(document.blocks, chunk.char_start, key=lambda block: block.start) - 1
    if at < 0 or not document.blocks[at].start < chunk.char_start < document.blocks[at].end:
        return ""
    block = document.blocks[at]
    if block.kind in ("code", "table"):
        return "fence" if block.kind == "code" else "table"
    before = document.text[block.start : chunk.char_start]
    begins_item = _ITEM.match(chunk.text) and "\n" in before[len(before.rstrip()) :]
    return "" if begins_item or _ENDS.search(before) else "sentence"


if __name__ == "__main__":
    main()
