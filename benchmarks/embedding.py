"""How fast texts are embedded, beside what a user would pick instead, as ratios in one run.

    python -m benchmarks.embedding --data ../shared/data/folders/fastapi_docs [--python VENV/bin/python]

--data is a folder of Markdown; the texts are its chunks of 254 tokens, as an ingest makes them, evenly spaced over the
folder. The model is all-MiniLM-L6-v2 for all, and the default embedder besides. Every round runs each engine once over
the same texts, and multiplies two float32 matrices of 2048 by 2048 on all cores in torch and in numpy, for a measure of
the machine; the figures are medians over the rounds. Work is counted for real tokens, weights and attention, so padding
is none, and a multiplication of int8 counts as one of float32. Where other programs run, threads that wait for each
other by spinning are ruinous, and ratios say little of an idle machine; `--threads 1` and CPU time compare the work
itself. `--python` names an interpreter that has fastembed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer

from benchmarks.chunking import LIMITS, MAX_TOKENS, load_tokenizer
from ingest.chunking import chunk_document
from ingest.parsers.registry import parse
from rag.backends.embedders.onnx import open_onnx
from rag.models import resolve
from rag.settings import EmbedderSettings, load_settings

MINILM, BGE = "sentence-transformers/all-MiniLM-L6-v2", "BAAI/bge-small-en-v1.5"
LONGEST, DIMENSION, LAYERS = 256, 384, {MINILM: 6, BGE: 12}
WARM_UP, QUESTIONS = 8, 20
RAW_BATCH_TOKENS = 2048
FASTEMBED = """
import json, sys, time
from fastembed import TextEmbedding
work = json.load(open(sys.argv[1]))
name, path, threads = sys.argv[2], sys.argv[3], int(sys.argv[4]) or None
model = TextEmbedding(name, specific_model_path=path, threads=threads, providers=["CPUExecutionProvider"])
list(model.embed(work["warm"]))
for texts in (work["texts"], *([text] for text in work["questions"])):
    wall, cpu = time.perf_counter(), time.process_time()
    list(model.embed(texts))
    print(time.perf_counter() - wall, time.process_time() - cpu)
"""

Embed = Callable[[Sequence[str]], object]


@dataclass
class Engine:
    """One way to embed: what it is called, which model, how, and what was measured."""

    name: str
    model: str
    passages: Embed
    query: Callable[[str], object]
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def round(self, texts: Sequence[str], questions: Sequence[str]) -> None:
        """Measure once."""
        self.passages(texts[:WARM_UP])
        wall, cpu = time.perf_counter(), time.process_time()
        self.passages(texts)
        self.walls.append(time.perf_counter() - wall)
        self.cpus.append(time.process_time() - cpu)
        for question in questions:
            begun = time.perf_counter()
            self.query(question)
            self.latencies.append(time.perf_counter() - begun)


def quoth(name: str, settings: EmbedderSettings) -> Engine:
    """The product's embedder, through the calls that ingest and search make."""
    embedder = open_onnx(settings, load_settings().models_dir)
    loop = asyncio.new_event_loop()
    counter = iter(range(1_000_000_000))
    return Engine(
        name, settings.model,
        lambda texts: loop.run_until_complete(embedder.embed_passages(texts)),
        # a number makes each question another, as questions seen before are remembered
        lambda text: loop.run_until_complete(embedder.embed_query(f"{text} {next(counter)}")),
    )  # fmt: skip


def sentence_transformers() -> Engine:
    """As its documentation shows it."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(resolve(MINILM, load_settings().models_dir).path), device="cpu")
    return Engine("sentence-transformers", MINILM, lambda texts: model.encode(list(texts)), model.encode)


def raw_runtime(threads: int) -> Engine:
    """ONNX Runtime as it opens, with batches of texts of like length; a mean over the tokens."""
    folder = resolve(MINILM, load_settings().models_dir)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graph = str(folder.file("model.onnx"))
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder.file("tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)

    def embed(texts: Sequence[str]) -> None:
        rows = sorted((item.ids for item in tokenizer.encode_batch(list(texts))), key=len)
        while rows:
            taken = max(1, RAW_BATCH_TOKENS // len(rows[-1]))
            batch, rows = rows[-taken:], rows[:-taken]
            ids, mask = np.zeros((2, len(batch), len(batch[-1])), np.int64)
            for place, row in enumerate(batch):
                ids[place, : len(row)], mask[place, : len(row)] = row, 1
            values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden = session.run(None, {node.name: values[node.name] for node in session.get_inputs()})[0]
            pooled = (hidden * mask[:, :, None]).sum(axis=1)
            pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)

    return Engine("ONNX Runtime", MINILM, embed, lambda text: embed([text]))


def fastembed_round(engine: Engine, python: str, threads: int, texts: Sequence[str], questions: Sequence[str]) -> None:
    """As `Engine.round`, in a process of another interpreter; starting it is not counted."""
    folder = resolve(MINILM, load_settings().models_dir).path
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "model"
        copy.mkdir()
        for path in folder.iterdir():
            (copy / path.name).symlink_to(path)
        (copy / "special_tokens_map.json").write_text("{}")
        work = Path(scratch) / "work.json"
        work.write_text(json.dumps({"texts": texts, "questions": questions, "warm": texts[:WARM_UP]}))
        done = subprocess.run(
            [python, "-c", FASTEMBED, str(work), MINILM, str(copy), str(threads)],
            capture_output=True,
            text=True,
            check=True,
        )
    (wall, cpu), *latencies = [map(float, line.split()) for line in done.stdout.splitlines()]
    engine.walls.append(wall)
    engine.cpus.append(cpu)
    engine.latencies += [wall for wall, _ in latencies]


def chunks_of(folder: Path, count: int) -> list[str]:
    """So many chunks, evenly spaced over the folder's Markdown files."""
    tokenizer = load_tokenizer()
    texts = [
        chunk.embedded_text
        for path in sorted(folder.rglob("*.md"))
        for chunk in chunk_document(parse(path.read_bytes(), path.name, LIMITS), "d", "g", tokenizer, MAX_TOKENS)
    ]
    return texts[:: max(1, len(texts) // count)][:count]


def work_gflop(lengths: Sequence[int], layers: int) -> float:
    """Floating point operations of texts of so many tokens: weights, and attention between the tokens."""
    tokens = np.array(lengths, np.float64)
    weights = layers * (4 * DIMENSION**2 + 2 * DIMENSION * 4 * DIMENSION)
    return float((tokens * 2 * weights + tokens**2 * 4 * DIMENSION * layers).sum()) / 1e9


def product_gflops(one: Any, other: Any) -> float:
    """Of a product of two square float32 matrices, the best of five."""
    seconds = []
    for _ in range(6):
        begun = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - begun)
    return float(2 * len(one) ** 3 / min(seconds[1:]) / 1e9)


def print_table(engines: Sequence[Engine], lengths: Sequence[int]) -> None:
    """One row an engine; ratios are to the first."""
    first = engines[0]
    print("\n| engine | chunks/s | CPU ms a chunk | x by time | x by CPU | GFLOP/s | query p50 ms | p95 ms |")
    print("| --- |" + " --: |" * 7)
    for engine in engines:
        wall, cpu = statistics.median(engine.walls), statistics.median(engine.cpus)
        speed = work_gflop(lengths, LAYERS[engine.model]) / wall
        p50, p95 = np.percentile(np.array(engine.latencies) * 1e3, [50, 95])
        print(
            f"| {engine.name} | {len(lengths) / wall:.1f} | {cpu / len(lengths) * 1e3:.1f} "
            f"| {statistics.median(first.walls) / wall:.2f} | {statistics.median(first.cpus) / cpu:.2f} "
            f"| {speed:.0f} | {p50:.1f} | {p95:.1f} |"
        )


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Embedding speed, as ratios in one run.")
    parser.add_argument("--data", type=Path, required=True, help="a folder of Markdown files")
    parser.add_argument("--chunks", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", help="an interpreter that has fastembed")
    parser.add_argument("--threads", type=int, default=0, help="of each engine; 0 is what each takes by itself")
    arguments = parser.parse_args()
    threads = arguments.threads
    if threads:
        torch.set_num_threads(threads)
    texts = chunks_of(arguments.data, arguments.chunks)
    questions = [f"How do I {' '.join(text.split()[-8:])}?" for text in texts[:QUESTIONS]]
    engines = [
        sentence_transformers(), raw_runtime(threads),
        quoth("Quoth, float32", EmbedderSettings(model=MINILM, precision="float32", threads=threads)),
        quoth("Quoth, int8", EmbedderSettings(model=MINILM, precision="int8", threads=threads)),
        quoth("Quoth, the default model", EmbedderSettings(threads=threads)),
    ]  # fmt: skip
    fast = Engine("fastembed", MINILM, lambda _: None, lambda _: None)
    one, other = torch.randn(2, 2048, 2048)
    by_torch, by_numpy = [], []
    for _ in range(arguments.rounds):
        by_torch.append(product_gflops(one, other))
        by_numpy.append(product_gflops(one.numpy(), other.numpy()))
        for engine in engines:
            engine.round(texts, questions)
        if arguments.python:
            fastembed_round(fast, arguments.python, threads, texts, questions)
    tokenizer = load_tokenizer()
    lengths = [min(LONGEST, tokenizer.count(text) + 2) for text in texts]
    print(f"{len(texts)} chunks of {statistics.mean(lengths):.0f} tokens, {arguments.rounds} rounds")
    products = f"{statistics.median(by_torch):.0f} in torch, {statistics.median(by_numpy):.0f} in numpy"
    print(f"a product of two float32 matrices, GFLOP/s: {products}")
    print_table([*engines, *([fast] if arguments.python else [])], lengths)


if __name__ == "__main__":
    main()
