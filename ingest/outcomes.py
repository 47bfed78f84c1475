"""What became of each file, and the identity that every run must satisfy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rag.errors import QuothError

Outcome = Literal["indexed", "unchanged", "skipped", "failed"]

# Tried again by every run.
PASSING = frozenset({"unreadable", "changing"})

# Tried again by later runs, up to a number of times. All other failures repeat themselves until the file changes, or
# what reads it.
UNCERTAIN = frozenset({"parser_killed", "parser_timeout", "parser_error", "internal"})

# These say nothing of a file's content, so what was indexed of it before stays, and the run itself tries it again.
BLAMELESS = PASSING | {"parser_killed", "internal"}

# No failure where the file is a picture: most hold no text, and nobody has to be able to read those that do.
FINE_FOR_PICTURES = frozenset({"image_without_text", "needs_ocr"})


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """One file's fate. `reason` is a stable word: `new` or `changed` for indexed, why not for skipped and failed."""

    uri: str
    outcome: Outcome
    reason: str = ""
    message: str = ""
    chunks: int = 0


@dataclass
class IngestSummary:
    """Counts of one run.

    `found` = indexed + unchanged + skipped + failed, and indexed = new + changed. `removed` documents have lost their
    file; of these, `moved` were found again, with the same bytes, under another name.
    """

    store: str
    found: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    moved: int = 0
    chunks: int = 0
    seconds: float = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, store: str, found: int, tally: Mapping[tuple[str, str], int]) -> IngestSummary:
        """The summary of what was found, given how many files there are of each outcome and reason.

        Raises:
            QuothError: a file has no outcome, or one was found that is not accounted for.
        """
        summary = cls(store=store, found=found)
        for (outcome, reason), count in tally.items():
            summary._count(outcome, reason, count)
        accounted = summary.indexed + summary.unchanged + summary.skipped.total() + summary.failed.total()
        if accounted != found:
            raise QuothError(
                f"The run does not add up: {found} files found, {accounted} accounted for. This is a defect in "
                "Quoth; run the ingest again, and report it with the names of the folders."
            )
        return summary

    @property
    def indexed(self) -> int:
        """Files that were read and can be found now."""
        return self.new + self.changed

    def _count(self, outcome: str, reason: str, count: int) -> None:
        if outcome == "skipped":
            self.skipped[reason] += count
        elif outcome == "failed":
            self.failed[reason] += count
        elif outcome == "unchanged":
            self.unchanged += count
        elif outcome == "indexed" and reason == "changed":
            self.changed += count
        elif outcome == "indexed":
            self.new += count

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON types; `chunks` is what the store holds now."""
        return {
            "store": self.store, "found": self.found, "indexed": self.indexed, "new": self.new,
            "changed": self.changed, "unchanged": self.unchanged, "removed": self.removed, "moved": self.moved,
            "skipped": dict(sorted(self.skipped.items())), "failed": dict(sorted(self.failed.items())),
            "chunks": self.chunks, "seconds": round(self.seconds, 3),
        }  # fmt: skip
