"""What a run has to do: each file that is found is unchanged, refused, or to be read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from itertools import islice

from ingest.changes import TICK_NS, compare_stat
from ingest.chunking import RECIPE as CHUNKING_RECIPE
from ingest.outcomes import PASSING, UNCERTAIN, FileOutcome
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import recipe_of
from ingest.source_files import NO_TERMS, Refused, SourceFile, Terms
from rag.assembly import Engine
from rag.ledger.documents import DocumentRecord
from rag.ledger.jobs import JobFile
from rag.ledger.refusals import Refusal
from rag.settings import IngestSettings

POINTS_RECIPE = "points-2"  # raise its number whenever other attributes go beside the vectors
SCAN_FILES = 1000  # looked up in the ledger together


class Recipes:
    """Names what a document's text and chunks depend on besides the file's bytes."""

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings.ingest
        self._limits = ParserLimits.of(settings)
        self._rest = f"{CHUNKING_RECIPE};{POINTS_RECIPE};{engine.recipe}"
        self._trial = _digest(settings)

    def of(self, name: str, terms: Terms = NO_TERMS) -> str:
        """The recipe of a file of this name; part of the document's generation."""
        return self.of_text(name, terms) + terms.recipe

    def of_text(self, name: str, terms: Terms) -> str:
        """That part of it which text and chunks depend on."""
        cut = terms.chunking
        strategy = f";static={cut.max_tokens}/{cut.overlap_tokens}" if cut else ""
        return f"{recipe_of(name, self._limits)};{self._rest}{strategy}"

    def trial_of(self, name: str, terms: Terms = NO_TERMS) -> str:
        """The recipe and the limits under which the file was tried: where one changes, trying again can succeed."""
        return f"{self.of(name, terms)};limits={self._trial}"


def _digest(settings: IngestSettings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:8]


class Planner:
    """Judges the files that a walk yields."""

    def __init__(self, engine: Engine, store_id: str, *, retry: bool) -> None:
        self._engine = engine
        self._store_id = store_id
        self._retry = retry
        self._recipes = Recipes(engine)

    def judge(
        self, files: Iterator[SourceFile | Refused], first: int
    ) -> tuple[list[JobFile], list[FileOutcome], list[Refusal]]:
        """Judge the next files of a walk.

        Args:
            files: the walk, which is advanced.
            first: the place of its next file.

        Returns:
            A row for each; the outcomes of those that need not be read; and what is new among the refusals.
        """
        batch = list(islice(files, SCAN_FILES))
        uris = [file.uri for file in batch]
        known = self._engine.documents.at(self._store_id, uris)
        refused = self._engine.refusals.at(self._store_id, uris)
        rows: list[JobFile] = []
        outcomes: list[FileOutcome] = []
        refusals: list[Refusal] = []
        for seq, file in enumerate(batch, first):
            outcome = self._outcome(file, known.get(file.uri), refused.get(file.uri))
            size = file.size_bytes if isinstance(file, SourceFile) else 0
            if outcome is None:
                reason = "changed" if file.uri in known else "new"
                rows.append(JobFile(seq, file.uri, file.root_uri, size, "todo", reason))
                continue
            rows.append(JobFile(seq, file.uri, file.root_uri, size, outcome.outcome, outcome.reason))
            outcomes.append(outcome)
            if isinstance(file, Refused):
                refusal = Refusal(file.uri, file.outcome, file.reason, file.message)
                if refused.get(file.uri) != refusal:
                    refusals.append(refusal)
        return rows, outcomes, refusals

    def _outcome(
        self, file: SourceFile | Refused, known: DocumentRecord | None, refusal: Refusal | None
    ) -> FileOutcome | None:
        """The file's fate, or None when it has to be read."""
        if isinstance(file, Refused):
            return FileOutcome(file.uri, file.outcome, file.reason, file.message)
        if compare_stat(file, known, self._recipes.of(file.path.name, file.terms)) == "unchanged":
            return FileOutcome(file.uri, "unchanged")
        if refusal and not self._retry and self._is_hopeless(file, refusal):
            return FileOutcome(
                file.uri, "failed" if refusal.outcome == "failed" else "skipped", refusal.reason, refusal.message
            )
        return None

    def _is_hopeless(self, file: SourceFile, refusal: Refusal) -> bool:
        same = (refusal.size_bytes, refusal.mtime_ns) == (file.size_bytes, file.mtime_ns)
        if not same or refusal.recipe != self._recipes.trial_of(file.path.name, file.terms):
            return False
        return refusal.reason not in UNCERTAIN or refusal.attempts >= self._engine.settings.ingest.max_attempts


def refusal_of(
    file: SourceFile, outcome: FileOutcome, trial: str, before: Refusal | None, now_ns: int | None = None
) -> Refusal:
    """What is remembered of a file that was tried in vain."""
    # A file that has just changed may change again without its time showing it, so it is not remembered as it was.
    now_ns = time.time_ns() if now_ns is None else now_ns
    mtime_ns = file.mtime_ns if file.mtime_ns < now_ns - TICK_NS else 0
    if outcome.reason in PASSING:
        trial = ""
    same = before is not None and (before.size_bytes, before.mtime_ns, before.recipe) == (
        file.size_bytes, mtime_ns, trial,
    )  # fmt: skip
    return Refusal(
        uri=file.uri, outcome=outcome.outcome, reason=outcome.reason, message=outcome.message,
        size_bytes=file.size_bytes, mtime_ns=mtime_ns, recipe=trial,
        attempts=1 + (before.attempts if before and same else 0),
    )  # fmt: skip
