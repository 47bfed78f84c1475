"""How long a new user waits, and how much memory they give: `python -m benchmarks.first_answer [FOLDER]`.

Every figure is of whole processes, started as a user starts them. Ingest begins with a data directory that does not
exist yet, a cold search with one that no process has open. Idle memory is that of the API and of the vector worker
after ten answers: proportional set size where the system tells it, resident set size elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from rag.backends.vectors.edge_process import stop_worker

ROOT = Path(__file__).parents[1]
QUESTION = "How is it installed?"


def quoth(*arguments: str, data: Path) -> tuple[float, str]:
    """Run a command to its end; its wall time in seconds and its output."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "cli.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(data), check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


def environment(data: Path) -> dict[str, str]:
    """The environment of a command that works in `data`."""
    return {**os.environ, "QUOTH_DATA_DIR": str(data)}


def memory_mb(pid: int) -> float:
    """Memory of one process, in megabytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if rollup.exists():
        pss = next(line for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
        return int(pss.split()[1]) / 1024
    resident = subprocess.run(["/bin/ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True)
    return int(resident.stdout) / 1024


@contextmanager
def served(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running API and its base URL."""
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(data), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None  # noqa: S101
    line = next(line for line in process.stdout if "Serving on " in line)
    try:
        yield process, line.split("Serving on ")[1].split(" ")[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def ask(url: str) -> float:
    """Ask one question; the seconds until the answer was whole."""
    body = json.dumps({"model": "quoth", "messages": [{"role": "user", "content": QUESTION}]}).encode()
    request = Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})  # noqa: S310
    for _ in range(200):
        try:
            started = time.perf_counter()
            with urlopen(request) as reply:  # noqa: S310
                reply.read()
            return time.perf_counter() - started
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the API did not answer")


def worker_pid(data: Path) -> int | None:
    """The vector worker of a data directory."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any("edge_worker" in part for part in command) and any(str(data) in part for part in command):
            return int(entry.name)
    return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=str(ROOT / "examples"))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch).resolve() / "data"
        _, output = quoth("ingest", arguments.folder, "--json", data=data)
        first = json.loads(output)
        again = [quoth("ingest", arguments.folder, "--json", data=data)[0] for _ in range(arguments.repeats)]
        cold = []
        for _ in range(arguments.repeats):
            stop_worker(data)
            cold.append(quoth("search", QUESTION, "--json", data=data)[0])
        warm = [quoth("search", QUESTION, "--json", data=data)[0] for _ in range(arguments.repeats)]
        with served(data) as (process, url):
            answers = [ask(url) for _ in range(10)]
            memory = memory_mb(process.pid)
            worker = worker_pid(data)
            worker_memory = memory_mb(worker) if worker else float("nan")
        stop_worker(data)
    rate = first["chunks"] / first["seconds"]
    print(f"| of {first['indexed']} documents, {first['chunks']} chunks | |\n| --- | --: |")
    print(f"| first ingest | {first['seconds']:.1f} s, {rate:.1f} chunks/s |")
    print(f"| ingest of the same folder again, process start to end | {statistics.median(again):.2f} s |")
    print(f"| cold `quoth search`, process start to end | {statistics.median(cold):.2f} s |")
    print(f"| the same while the vector worker runs | {statistics.median(warm):.2f} s |")
    print(f"| answer over HTTP, median of 10 | {statistics.median(answers) * 1000:.0f} ms |")
    print(f"| idle API after them | {memory:.0f} MB |")
    print(f"| the vector worker beside it | {worker_memory:.0f} MB |")


if __name__ == "__main__":
    main()
