"""A file on disk against what the ledger knows of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ingest.source_files import SourceFile
from rag.ledger.documents import DocumentRecord

Change = Literal["new", "changed", "unchanged", "unknown"]

# A file that changed within this time of being read may have changed again without its time of change showing it:
# file systems tick in up to two seconds.
TICK_NS = 2_000_000_000


def compare_stat(file: SourceFile, known: DocumentRecord | None, recipe: str) -> Change:
    """Decide by size and time alone; `unknown` means that the bytes have to be hashed."""
    if known is None:
        return "new"
    if known.recipe != recipe:
        return "changed"
    same = known.size_bytes == file.size_bytes and known.mtime_ns == file.mtime_ns
    settled = known.mtime_ns < known.checked_ns - TICK_NS
    return "unchanged" if same and settled else "unknown"


def compare_hash(sha256: str, known: DocumentRecord | None, recipe: str) -> Change:
    """Decide by content."""
    if known is None:
        return "new"
    return "unchanged" if known.source_sha256 == sha256 and known.recipe == recipe else "changed"


def seen_again(file: SourceFile, known: DocumentRecord, now_ns: int) -> DocumentRecord:
    """The record of a file whose bytes were found unchanged."""
    return replace(known, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns, checked_ns=now_ns)
