"""The benchmarks one after the other, each with its command: `make bench`, or `make bench DATA=DIR`.

Without DATA those that need nothing but the examples. DIR holds test sets in BEIR layout in `retrieval/` and folders of
documents in `folders/`; benchmarks that need more than that, such as `benchmarks.peers`, are run by themselves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def commands(data: Path | None, scratch: str) -> Iterator[list[str]]:
    """Module and arguments of each."""
    yield ["benchmarks.first_answer"]
    yield ["benchmarks.load"]
    if data is None:
        return
    sets, folder = str(data / "retrieval"), str(data / "folders" / "fastapi_docs")
    yield ["benchmarks.embedding", "--data", folder]
    yield ["benchmarks.embedders", "--data", sets, "--documents", "700", "--queries", "150"]
    yield ["benchmarks.ranking", "--data", sets, "--queries", "50", "--depth", "10"]
    keep = ["--keep", scratch, "--chunks", "1000", "10000", "100000"]
    yield ["benchmarks.scale", "--data", str(data / "retrieval" / "scifact_train"), *keep]


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of test data")
    with tempfile.TemporaryDirectory() as scratch:
        for command in commands(parser.parse_args().data, scratch):
            print(f"\n$ python -m {' '.join(command)}\n", flush=True)
            subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()
