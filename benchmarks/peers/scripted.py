"""The side of a peer's script: three commands, and lines on standard output that say what came of them.

    SCRIPT ingest FOLDER STORE        index the Markdown files below FOLDER
    SCRIPT query STORE QUESTIONS      the first hit, then the milliseconds of each question (a JSON array of strings)
    SCRIPT collect SET STORE          index documents (`documents`, by id) and answer questions (`queries`, by id)

A line that says something begins with `@@` and goes on with a JSON object; `benchmarks.peers.processes` notes when each
came. Only the standard library is imported here, because this runs in every peer's environment.

Environment: PEER_MODEL is a folder in the form of sentence-transformers, PEER_CHUNK_TOKENS and PEER_OVERLAP_TOKENS are
the size of chunks in tokens of that model.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MODEL = os.environ.get("PEER_MODEL", "sentence-transformers/all-MiniLM-L6-v2")
CHUNK_TOKENS = int(os.environ.get("PEER_CHUNK_TOKENS", "254"))
OVERLAP_TOKENS = int(os.environ.get("PEER_OVERLAP_TOKENS", "32"))
FIRST_QUESTION = "How do I declare a request body?"
WARMING = 10  # questions that are asked before the clock counts

Search = Callable[[str], Sequence[str]]
"""Question -> what was found, best first."""

Searches = Mapping[str, Search]
"""Way of searching, such as `dense`, `bm25`, `hybrid` -> search."""


def main(
    ingest: Callable[[Path, Path], int],
    open_store: Callable[[Path], Searches],
    collect: Callable[[Mapping[str, str], Path], Searches],
) -> None:
    """Do what the command line says.

    Args:
        ingest: folder, store -> chunks; what is stored is on disk on return.
        open_store: store -> ways to search it for five passages; the first one is the peer's usual one.
        collect: documents by id, store -> ways to search them for the ids of ten documents.
    """
    command, first, second = sys.argv[1:]
    if command == "ingest":
        say(chunks=ingest(Path(first), Path(second)))
    elif command == "query":
        searches = open_store(Path(first))
        say(hits=len(next(iter(searches.values()))(FIRST_QUESTION)))
        questions = json.loads(Path(second).read_text(encoding="utf-8"))
        say(milliseconds={way: timed(search, questions) for way, search in searches.items()})
    elif command == "collect":
        content = json.loads(Path(first).read_text(encoding="utf-8"))
        for way, search in collect(content["documents"], Path(second)).items():
            started = time.perf_counter()
            found = {query: list(search(text)) for query, text in content["queries"].items()}
            mean = (time.perf_counter() - started) / len(found) * 1000
            say(way=way, found=found, mean_ms=mean)
    else:
        sys.exit(f"unknown command {command}")


def timed(search: Search, questions: Sequence[str]) -> list[float]:
    """Milliseconds of each question but the first ten, which warm everything up; of all where there are no more."""
    taken = []
    for question in questions:
        started = time.perf_counter()
        search(question)
        taken.append((time.perf_counter() - started) * 1000)
    return taken[WARMING:] or taken


def say(**what: object) -> None:
    """Print one line for the runner."""
    print("@@" + json.dumps(what), flush=True)
