"""A peer for tests: finds by shared words. Its ingest leaves a process behind that holds memory."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers.scripted import Search, Searches, main

LEFT_MB = 120
HOLD = f"""
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
held = bytearray(os.urandom(1 << 20) * {LEFT_MB})
print("ready", flush=True)
os.close(1)
time.sleep(60)
"""


def ingest(folder: Path, store: Path) -> int:
    texts = {str(path): path.read_text() for path in folder.rglob("*.md")}
    store.mkdir(exist_ok=True)
    (store / "texts.json").write_text(json.dumps(texts))
    subprocess.run([sys.executable, "-c", HOLD], check=True, stdout=subprocess.PIPE)
    time.sleep(1.2)  # long enough to be looked at
    return len(texts)


def by_words(texts: Mapping[str, str]) -> Search:
    def search(question: str) -> list[str]:
        asked = set(question.lower().split())
        shared = {identity: len(asked & set(text.lower().split())) for identity, text in texts.items()}
        return sorted((each for each in shared if shared[each]), key=lambda each: (-shared[each], each))[:10]

    return search


def open_store(store: Path) -> Searches:
    return {"dense": by_words(json.loads((store / "texts.json").read_text()))}


def collect(documents: Mapping[str, str], _: Path) -> Searches:
    return {"bm25": by_words(documents)}


if __name__ == "__main__":
    main(ingest, open_store, collect)
