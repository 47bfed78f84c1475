"""What an examination of a store can find, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "missing", "extra", "misfiled", "vectorless", "duplicated", "unembedded", "orphaned", "altered", "outdated",
    "stale", "mismatched", "unreadable",
]  # fmt: skip

# What a repair does about a document: drop it, and read its file again if there is one; make it look changed; or
# leave it to the ingest that follows. With `none`, no file has to be read.
Action = Literal["drop", "unsettle", "read", "none"]

REPAIRS: dict[Kind, str] = {
    "missing": "The chunk is embedded again from the ledger's text.",
    "extra": "The point is deleted.",
    "misfiled": "The point is deleted, and made again from the ledger's text.",
    "vectorless": "The point is deleted, and made again from the ledger's text.",
    "duplicated": "What is there twice is dropped, and the file is read again where the ledger itself is in doubt.",
    "unembedded": "What the interrupted ingest has left is finished or removed.",
    "orphaned": "The row is dropped, with the points that came of it.",
    "altered": "The document is taken out of sight and read again from its file.",
    "outdated": "The file is read again.",
    "stale": "The file is read again; a document without a file is removed.",
    "mismatched": "Nothing: only you can decide which embedder is meant.",
    "unreadable": "Nothing: set right what the sentence names, and run the command again.",
}
KINDS: tuple[Kind, ...] = get_args(Kind)

LISTED = 1000  # of each kind; all are counted


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: a stable word.
        message: a sentence.
        uri: of the document that it is about, where one is known.
        ids: of points, chunks, documents or rows.
        action: of a finding about a document.
        document: its id as the ledger has it, whatever that is.
    """

    kind: Kind
    message: str
    uri: str = ""
    ids: tuple[str, ...] = ()
    action: Action = "none"
    document: Any = None

    @property
    def repair(self) -> str:
        """What `--repair` does about it, as a sentence."""
        return REPAIRS[self.kind]

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON types."""
        return {
            "kind": self.kind, "message": self.message, "uri": printable(self.uri),
            "ids": [printable(one) for one in self.ids], "repair": self.repair,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing that is no fault. `kind` is a stable word as well."""

    kind: str
    message: str
    uris: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The note as JSON types."""
        return {"kind": self.kind, "message": self.message, "uris": [printable(uri) for uri in self.uris]}


@dataclass
class Examination:
    """What was found in one store: every finding is counted, and `LISTED` of each kind are kept.

    `needs_reading` says that a repair has to read files.
    """

    store: str
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    note_counts: Counter[str] = field(default_factory=Counter)
    notes: list[Note] = field(default_factory=list)
    needs_reading: bool = False

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts.total()

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if there are not too many of its kind."""
        self.counts[finding.kind] += 1
        self.needs_reading = self.needs_reading or finding.action != "none"
        if self.counts[finding.kind] <= LISTED:
            self.findings.append(finding)

    def note(self, note: Note) -> None:
        """Likewise."""
        self.note_counts[note.kind] += 1
        if self.note_counts[note.kind] <= LISTED:
            self.notes.append(note)

    def as_dict(self) -> dict[str, Any]:
        """The examination as JSON types."""
        return {
            "store": self.store, "healthy": self.is_healthy, "counts": dict(sorted(self.counts.items())),
            "findings": [finding.as_dict() for finding in self.findings],
            "note_counts": dict(sorted(self.note_counts.items())), "notes": [note.as_dict() for note in self.notes],
        }  # fmt: skip


def printable(value: object) -> str:
    """Text that can be encoded, of whatever was found where text should be."""
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "backslashreplace").decode()
