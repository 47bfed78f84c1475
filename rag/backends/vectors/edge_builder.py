"""The process that indexes a copy of a collection: `python -m rag.backends.vectors.edge_builder`.

It is nobody's server: it opens the copy, lets the engine's optimizer build the index and drop deleted points, and ends.
The optimizer takes all cores and the interpreter's lock for as long as that lasts, which is why it is not the worker.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rag.backends.vectors.edge_config import Indexing
from rag.backends.vectors.edge_folders import hold_lock, sync_tree
from rag.backends.vectors.edge_shard import Shard

NICENESS = 19


def command_arguments(folder: Path, dimension: int, indexing: Indexing) -> list[str]:
    """What `main` reads, behind the module's name."""
    found = [str(folder), str(dimension), "--index-from", str(indexing.from_points)]
    return [*found, "--quantised"] if indexing.quantised else found


def main() -> None:
    """Build, and leave everything on disk."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("dimension", type=int)
    parser.add_argument("--index-from", type=int, required=True)
    parser.add_argument("--quantised", action="store_true")
    arguments = parser.parse_args()
    os.nice(NICENESS)
    lock = hold_lock(arguments.folder)
    shard = Shard(arguments.folder, arguments.dimension, Indexing(arguments.index_from, arguments.quantised))
    shard.optimise()
    shard.close()
    sync_tree(arguments.folder)
    lock.close()


if __name__ == "__main__":
    main()
