"""Run Quoth and its peers turn about and print the tables: `python -m benchmarks.peers --help`."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.figures import Row, percentile, tables
from benchmarks.peers.processes import Outcome, adopt_orphans
from benchmarks.peers.scripted import WARMING
from benchmarks.peers.systems import System, fresh, systems_of
from evals.datasets import read_dataset
from evals.metrics import evaluate, mean
from rag.models import resolve
from rag.settings import load_settings

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
STAGES = ("ingest", "again", "query", "collect")
ONCE = {"again": 1, "collect": 1}  # rounds: peers embed everything again, and quality does not vary


class Bench:
    """The measurements of one run, kept in a file as they come, so that a run that was cut off goes on."""

    def __init__(self, arguments: argparse.Namespace, scratch: Path) -> None:
        self._arguments = arguments
        self._scratch = scratch
        self._file: Path = arguments.out
        self.rows: list[Row] = []
        if self._file.exists():
            self.rows = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
        self.folder = scratch / arguments.folder.name
        copied = copy_markdown(arguments.folder, self.folder, arguments.files)
        print(f"{copied} Markdown files of {arguments.folder.name}, {os.cpu_count()} cores", flush=True)
        self._questions = scratch / "questions.json"
        self._questions.write_text(json.dumps(questions(self.folder, arguments.questions + WARMING)), encoding="utf-8")

    def is_done(self, system: System, stage: str, number: int, name: str = "") -> bool:
        """Whether the file has it."""
        mine = (system.name, stage, number, name)
        return any((row["system"], row["stage"], row["round"], row.get("set", "")) == mine for row in self.rows)

    def folder_stages(self, system: System, number: int) -> None:
        """Ingest into an empty store, again into the same, and ask it."""
        limit = self._arguments.limit
        stages = [
            stage for stage in STAGES[:3]
            if stage in self._arguments.stages and number < ONCE.get(stage, number + 1)
            and not self.is_done(system, stage, number)
        ]  # fmt: skip
        if not stages:
            return
        store = fresh(self._scratch / f"store-{system.name}")
        outcome = system.ingest(self.folder, store, self._scratch, limit)
        if "ingest" in stages:
            self._keep(system, "ingest", number, outcome, chunks=outcome.said.get("chunks", 0), store_mb=size_mb(store))
        if "query" in stages:
            outcome = system.call("query", store, self._questions, self._scratch, limit)
            times = outcome.said.get("milliseconds", {})
            figures = {f"{way}_p{share}": percentile(ms, share) for way, ms in times.items() for share in (50, 95)}
            self._keep(system, "query", number, outcome, first_hit_s=round(outcome.at.get("hits", 0), 2), **figures)
        if "again" in stages:
            self._keep(system, "again", number, system.ingest(self.folder, store, self._scratch, limit))
        fresh(store)

    def collection_stage(self, system: System, name: str) -> None:
        """Index a test set's documents and score what each way of searching finds."""
        if self.is_done(system, "collect", 0, name):
            return
        dataset = read_dataset(self._arguments.data / "retrieval" / name)
        judged = {query: grades for query, grades in dataset.qrels.items() if any(grades.values())}
        documents = {each.id: f"{each.title} {each.text}".strip() or "-" for each in dataset.documents.values()}
        path = self._scratch / f"{name}.json"
        content = {"documents": documents, "queries": {query: dataset.queries[query] for query in judged}}
        path.write_text(json.dumps(content), encoding="utf-8")
        store = fresh(self._scratch / f"store-{system.name}-{name}")
        outcome = system.call("collect", path, store, self._scratch, self._arguments.limit)
        ways = {}
        for line in outcome.lines:
            run = {query: {each: -float(rank) for rank, each in enumerate(ids)} for query, ids in line["found"].items()}
            scores = {
                metric: mean(values) for metric, values in evaluate(run, judged, ["ndcg@10", "recall@10"]).items()
            }
            ways[line["way"]] = {**scores, "mean_ms": line["mean_ms"]}
        self._keep(system, "collect", 0, outcome, set=name, ways=ways)
        fresh(store)

    def _keep(self, system: System, stage: str, number: int, outcome: Outcome, **figures: Any) -> None:
        row = {
            "system": system.name, "stage": stage, "round": number, "wall_s": round(outcome.wall_seconds, 2),
            "cpu_s": round(outcome.cpu_seconds, 2), "peak_mb": round(outcome.peak_mb), "error": outcome.error,
            **figures,
        }  # fmt: skip
        self.rows.append(row)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def copy_markdown(source: Path, target: Path, most: int) -> int:
    """The Markdown files alone, with their times, so that everybody sees the same; returns how many."""
    paths = sorted(path for path in source.rglob("*.md") if path.is_file())[:most]
    for path in paths:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return len(paths)


def questions(folder: Path, count: int) -> list[str]:
    """Questions made of the folder's headings, evenly spaced in the order of the files."""
    headings = []
    for path in sorted(folder.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        headings += [found.strip().lower() for found in re.findall(r"^#{1,4} +([^{#\n]{12,80})", text, re.MULTILINE)]
    step = max(1, len(headings) // count)
    return [f"How do I use {heading}?" for heading in headings[::step][:count]]


def size_mb(folder: Path) -> float:
    """What a store takes on disk, in 10^6 bytes; sparse files count what they take."""
    return round(sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--peers-root", type=Path, required=True, help="folder of the peers' virtual environments")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds folders/ and retrieval/")
    parser.add_argument("--folder", type=Path, help="of documents; without it folders/fastapi_docs of the data")
    parser.add_argument("--files", type=int, default=100_000, help="use the first so many files only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=120, help="timed in each round, after ten that warm up")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--sets", nargs="*", default=["cranfield", "cacm"], help="of retrieval/, for the stage collect")
    parser.add_argument("--only", nargs="*", default=[], help="systems")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON:SCRIPT", help="one of your own")
    parser.add_argument("--quoth", action="append", default=[], metavar="NAME=VALUE", help="a setting of Quoth's")
    parser.add_argument("--chunk-tokens", type=int, default=254)
    parser.add_argument("--overlap-tokens", type=int, default=32, help="of the peers; Quoth repeats headings instead")
    parser.add_argument("--limit", type=float, default=900, help="seconds that a process may take")
    parser.add_argument(
        "--out", type=Path, default=Path("peers.jsonl"), help="measurements; those in it are not redone"
    )
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    arguments.folder = (arguments.folder or arguments.data / "folders" / "fastapi_docs").resolve()
    folder = resolve(MODEL, load_settings().models_dir).path
    tokens = arguments.chunk_tokens, arguments.overlap_tokens
    systems = systems_of(
        arguments.peers_root.resolve(), arguments.only, arguments.peer, (MODEL, folder), tokens, arguments.quoth
    )
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="quoth-peers-") as scratch:
        bench = Bench(arguments, Path(scratch))
        for number in range(arguments.rounds):
            for system in systems:
                bench.folder_stages(system, number)
        for name in arguments.sets if "collect" in arguments.stages else ():
            for system in systems:
                bench.collection_stage(system, name)
    print(f"\n$ python -m benchmarks.peers {' '.join(sys.argv[1:])}\n\n{tables(bench.rows)}")


if __name__ == "__main__":
    main()
