"""What became of each file, and the identity that every run must satisfy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from rag.errors import QuothError

Outcome = Literal["indexed", "unchanged", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """One file's fate. `reason` is a stable word, set for skipped and failed; `message` says more."""

    uri: str
    outcome: Outcome
    reason: str = ""
    message: str = ""
    chunks: int = 0


@dataclass
class IngestSummary:
    """Counts of one run: `found` = indexed + unchanged + skipped + failed; `removed` documents have lost their file."""

    store: str
    found: int = 0
    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    seconds: float = 0.0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: FileOutcome) -> None:
        """Count one file."""
        if outcome.outcome == "skipped":
            self.skipped[outcome.reason] += 1
        elif outcome.outcome == "failed":
            self.failed[outcome.reason] += 1
        elif outcome.outcome == "indexed":
            self.indexed += 1
        else:
            self.unchanged += 1

    def require_identity(self) -> None:
        """Raise QuothError unless every file found has exactly one outcome."""
        counted = self.indexed + self.unchanged + self.skipped.total() + self.failed.total()
        if counted != self.found:
            raise QuothError(
                f"The run does not add up: {self.found} files found, {counted} accounted for. This is a defect in "
                "Quoth; run the ingest again, and report it with the names of the folders."
            )

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON types; `chunks` is what the store holds now."""
        return {
            "store": self.store, "found": self.found, "indexed": self.indexed, "unchanged": self.unchanged,
            "removed": self.removed, "skipped": dict(sorted(self.skipped.items())),
            "failed": dict(sorted(self.failed.items())), "chunks": self.chunks, "seconds": round(self.seconds, 3),
        }  # fmt: skip
