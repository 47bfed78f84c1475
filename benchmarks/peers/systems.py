"""The systems that are compared: how each is called, and what may be left running behind it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.processes import Outcome, run
from rag.backends.vectors.edge_process import stop_worker

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUOTH = "Quoth"
PEERS = {
    "LangChain": ("langchain", "with_langchain.py"),
    "LlamaIndex": ("llamaindex", "with_llamaindex.py"),
    "Haystack": ("haystack", "with_haystack.py"),
    "txtai": ("txtai", "with_txtai.py"),
}

# Nobody calls home, nobody downloads, and nobody reads the settings of whoever measures.
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "true",
}


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        name: in the table.
        python: of its virtual environment.
        script: that speaks as `benchmarks.peers.scripted` says.
        environment: besides the usual one.
    """

    name: str
    python: Path
    script: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def call(self, command: str, first: Path, second: Path, scratch: Path, limit_seconds: float) -> Outcome:
        """Run one command of the script in a cold process."""
        words = [str(self.python), str(self.script), command, str(first), str(second)]
        return run(words, self._environment(), scratch, limit_seconds)

    def ingest(self, folder: Path, store: Path, scratch: Path, limit_seconds: float) -> Outcome:
        """Index a folder in a cold process; `said` holds `chunks`."""
        return self.call("ingest", folder, store, scratch, limit_seconds)

    def _environment(self) -> dict[str, str]:
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("QUOTH_", "PYTHON"))}
        return {**usual, **_QUIET, "PYTHONPATH": str(ROOT), **self.environment}


class QuothItself(System):
    """Ingests by its command line. The worker that holds the vectors is ended behind each process: all is cold."""

    def call(self, command: str, first: Path, second: Path, scratch: Path, limit_seconds: float) -> Outcome:
        """As System."""
        store = first if command == "query" else second
        words = [str(self.python), str(self.script), command, str(first), str(second)]
        return run(words, self._environment(), scratch, limit_seconds, lambda: stop_worker(store))

    def ingest(self, folder: Path, store: Path, scratch: Path, limit_seconds: float) -> Outcome:
        """As System."""
        words = [str(self.python), "-m", "cli.main", "ingest", str(folder), "--data", str(store), "--json"]
        outcome = run(words, self._environment(), scratch, limit_seconds, lambda: stop_worker(store))
        if not outcome.error:
            outcome.said.update(json.loads(outcome.output[-1]))
        return outcome


def systems_of(
    root: Path,
    names: list[str],
    own: list[str],
    model: tuple[str, Path],
    tokens: tuple[int, int],
    settings: list[str],
) -> list[System]:
    """Quoth, and the peers.

    Args:
        root: folder of the peers' virtual environments.
        names: of those to run; all when empty.
        own: peers of the user's own, as NAME=PYTHON:SCRIPT.
        model: its name for Quoth, and its folder for the peers.
        tokens: of a chunk, and of what two neighbours share; Quoth's share none.
        settings: more of Quoth's, as NAME=VALUE without the prefix.
    """
    quoth = {"QUOTH_EMBEDDER__MODEL": model[0], "QUOTH_CHUNKING__MAX_TOKENS": str(tokens[0])}
    quoth |= {f"QUOTH_{name}": value for name, _, value in (each.partition("=") for each in settings)}
    peer = {
        "PEER_MODEL": str(model[1]),
        "PEER_CHUNK_TOKENS": str(tokens[0]),
        "PEER_OVERLAP_TOKENS": str(tokens[1]),
    }
    found: list[System] = [QuothItself(QUOTH, Path(sys.executable), HERE / "with_quoth.py", quoth)]
    for name, (folder, script) in PEERS.items():
        found.append(System(name, root / folder / "bin" / "python", HERE / script, peer))
    for each in own:
        name, _, words = each.partition("=")
        python, _, script = words.partition(":")
        found.append(System(name, Path(python), Path(script).resolve(), peer))
    chosen = [system for system in found if not names or system.name in names]
    missing = [str(system.python) for system in chosen if not system.python.exists()]
    if missing:
        sys.exit(f"There is no {', '.join(missing)}: benchmarks/peers/README.md says how to make it, or use --only.")
    return chosen


def fresh(folder: Path) -> Path:
    """The same folder, with nothing there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
