"""The models that embed here, beside each other: quality, speed, memory.

    python -m benchmarks.embedders --data ../shared/data/retrieval --documents 700 --queries 150

--data holds sets in BEIR layout; of each, every document that is judged relevant is kept and others, evenly spaced, up
to `--documents`. Without the two limits the sets are whole. Quality is nDCG@10 of exact search by cosine alone, a mean
over the judged queries. Each embedder runs in a process of its own, whose peak memory is printed; its speed is that of
the documents that it embedded first, by CPU time, as other programs may run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytrec_eval

from benchmarks.retrieval_quality import Collection, best, read_collection
from rag.backends.embedders.onnx import open_onnx
from rag.protocols import Embedder
from rag.settings import EmbedderSettings, load_settings

EMBEDDERS = (
    ("BAAI/bge-small-en-v1.5", "auto"),
    ("sentence-transformers/all-MiniLM-L6-v2", "float32"),
    ("sentence-transformers/all-MiniLM-L6-v2", "int8"),
)
SETS = ("cranfield", "cacm", "chunking_eval", "scifact_train")


def cut(collection: Collection, documents: int) -> Collection:
    """The judged documents, and others evenly spaced up to so many."""
    judged = {document for grades in collection.qrels.values() for document in grades}
    kept = [id_ for id_ in collection.documents if id_ in judged]
    others = [id_ for id_ in collection.documents if id_ not in judged]
    step = max(1, math.ceil(len(others) / max(1, documents - len(kept))))
    return replace(collection, documents={id_: collection.documents[id_] for id_ in [*kept, *others[::step]]})


async def measure(embedder: Embedder, collection: Collection) -> tuple[float, float]:
    """nDCG@10, and the CPU seconds of embedding the documents."""
    begun = time.process_time()
    documents = await embedder.embed_passages(list(collection.documents.values()))
    seconds = time.process_time() - begun
    ids, run = list(collection.documents), {}
    for query, text in collection.queries.items():
        found = best(documents @ await embedder.embed_query(text), ids, 10)
        run[query] = {id_: float(len(found) - place) for place, (id_, _) in enumerate(found)}
    judged = pytrec_eval.RelevanceEvaluator(collection.qrels, {"ndcg_cut.10"}).evaluate(run)
    return sum(one["ndcg_cut_10"] for one in judged.values()) / len(collection.qrels), seconds


async def measure_all(arguments: argparse.Namespace) -> dict[str, object]:
    """What one embedder's row shows."""
    settings = EmbedderSettings(model=arguments.model, precision=arguments.precision)
    embedder = open_onnx(settings, load_settings().models_dir)
    scores, seconds, texts = {}, 0.0, 0
    for name in arguments.sets:
        collection = cut(read_collection(arguments.data / name, arguments.queries), arguments.documents)
        scores[name], used = await measure(embedder, collection)
        seconds, texts = seconds + used, texts + len(collection.documents)
        print(f"{arguments.model} {arguments.precision} {name}: {scores[name]:.4f}", file=sys.stderr, flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"scores": scores, "ms": seconds / texts * 1e3, "memory_mb": memory}


def row(model: str, precision: str, found: dict[str, object]) -> str:
    """One embedder's row."""
    scores = list(found["scores"].values())  # type: ignore[attr-defined]
    cells = [f"{score:.4f}" for score in [*scores, float(np.mean(scores))]]
    return f"| {model}, {precision} | {' | '.join(cells)} | {found['ms']:.1f} | {found['memory_mb']:.0f} |"


def main() -> None:
    """Measure every embedder in a child of its own, or, as such a child, one."""
    parser = argparse.ArgumentParser(description="Quality, speed and memory of the embedders.")
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--documents", type=int, default=1_000_000_000, help="of each set about so many")
    parser.add_argument("--queries", type=int, default=1_000_000_000, help="of each set at most")
    parser.add_argument("--model", help="only this one")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    if arguments.model:
        print(json.dumps(asyncio.run(measure_all(arguments))))
        return
    print(f"| nDCG@10 | {' | '.join(arguments.sets)} | mean | CPU ms a document | peak MB |")
    print("| --- |" + " --: |" * (len(arguments.sets) + 3))
    for model, precision in EMBEDDERS:
        command = [sys.executable, "-m", "benchmarks.embedders", *sys.argv[1:], "--model", model]
        done = subprocess.run([*command, "--precision", precision], stdout=subprocess.PIPE, text=True, check=True)
        print(row(model, precision, json.loads(done.stdout)), flush=True)


if __name__ == "__main__":
    main()
