"""An ingest that reports what it did to the machine: `python -m tests.ingest.observed_ingest DATA DOCS...`.

The parsers, the ledger and the vector engine are real; the embedder counts words. Prints one JSON object: the summary,
every refusal, network connections and files opened for writing outside of DATA by this process (the children can do
neither: see ingest.parsers.child), and the peak memory of this process and of the largest child, in MB.
"""

import asyncio
import json
import resource
import socket
import sys
from pathlib import Path
from typing import Any

from ingest.pipeline import Ingestor
from rag.backends.vectors.qdrant_edge import EdgeChunkStore
from tests.fakes import DIMENSION, fake_engine


async def ingest(data: Path, docs: list[Path]) -> dict[str, Any]:
    connections: list[str] = []
    written: list[str] = []

    def observe(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and arguments[0].family != socket.AF_UNIX:
            connections.append(str(arguments[1]))
        elif event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
            path, mode = arguments[:2]
            if set(mode) & set("wax+") and not path.startswith((str(data), "/dev/", "/tmp/quoth-", "/proc/")):
                written.append(path)

    sys.addaudithook(observe)
    vectors = EdgeChunkStore(data, "fake", DIMENSION)
    try:
        with fake_engine(data, vectors=vectors) as engine:
            summary = await Ingestor(engine).run(docs, "default")
            refusals = engine.refusals.all(engine.stores.get("default").id)
    finally:
        await vectors.close()
    peak = {
        name: resource.getrusage(who).ru_maxrss / 1024
        for name, who in (("own", resource.RUSAGE_SELF), ("child", resource.RUSAGE_CHILDREN))
    }
    return {
        "summary": summary.as_dict(),
        "refusals": [[each.uri, each.outcome, each.reason, each.message] for each in refusals],
        "connections": connections, "written": written, "peak_mb": peak,
    }  # fmt: skip


if __name__ == "__main__":
    found = asyncio.run(ingest(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]]))
    sys.stdout.write(json.dumps(found))
