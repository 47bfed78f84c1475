"""What became of one file, in words: indexed, refused, left out, not read yet, or never found."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, quote_from_bytes

from ingest.findings import printable
from ingest.freshness import Disk, file_path, roots_of
from ingest.ignoring import why_ignored
from ingest.outcomes import BLAMELESS, PASSING, UNCERTAIN
from ingest.source_files import Refused
from ingest.sources import path_of, source_at
from rag.assembly import Engine
from rag.attributes import UPLOADS, file_id_of
from rag.errors import InvalidInputError
from rag.ledger.documents import DocumentRecord
from rag.ledger.files import FILE_ID
from rag.ledger.inspection import Inspection
from rag.ledger.refusals import Refusal
from rag.ledger.stores import Store

Verdict = Literal["indexed", "refused", "left_out", "waiting", "unread", "below_no_folder", "not_there"]

MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of a file.

    Attributes:
        verdict: a stable word.
        sentences: for people; what happened, and what to do next.
        facts: for programs: of a document its title, chunks, version and so on, of a refusal its reason.
    """

    uri: str
    verdict: Verdict
    sentences: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The explanation as JSON types."""
        return {
            "uri": printable(self.uri), "verdict": self.verdict,
            "sentences": [printable(one) for one in self.sentences], **self.facts,
        }  # fmt: skip


def explain(engine: Engine, store: Store, name: str) -> Explanation:
    """Tell what became of a file in a store.

    Args:
        name: a path, a URI, the id of an upload, or the end of a path that is unique among the files that the ledger
            knows.

    Raises:
        InvalidInputError: it is the end of several paths, or a `.quothignore` cannot be understood.
        StorageError: the ledger failed.
    """
    inspection = engine.documents.inspection(store.id)
    uri = _find(engine, store, inspection, name)
    known = engine.documents.at(store.id, [uri]).get(uri)
    refusal = engine.refusals.at(store.id, [uri]).get(uri)
    if known:
        return _indexed(engine, store, inspection, known, refusal)
    if refusal:
        return _refused(engine, refusal)
    return _unknown(engine, store, inspection, uri)


def _find(engine: Engine, store: Store, inspection: Inspection, name: str) -> str:
    """The URI that is meant."""
    if "://" in name:
        return name
    if FILE_ID.fullmatch(name):
        attached = engine.store_files.attached(store.id, [name]).get(name)
        return attached.uri if attached else f"{UPLOADS}{name}"
    spellings = _spellings(name)
    known = inspection.known(spellings)
    for uri in spellings:
        if uri in known:
            return uri
    if not Path(name).expanduser().exists():
        found = inspection.ending("/" + quote(name.lstrip("/"), safe="/"), 1000)
        if len(found) > 1:
            named = ", ".join(str(file_path(uri) or uri) for uri in found[:MOST_NAMED])
            raise InvalidInputError(f"{len(found)} files end like {name!r}: {named}. Give more of the path.")
        if found:
            return found[0]
    return spellings[0]


def _spellings(name: str) -> list[str]:
    """The URIs that a path can have: a walk resolves links above a given folder, and keeps those below it."""
    path = Path(name).expanduser()
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links
    parent = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
    paths = dict.fromkeys((absolute, parent, os.path.realpath(path)))
    return ["file://" + quote_from_bytes(os.fsencode(one)) for one in paths]


def _indexed(
    engine: Engine, store: Store, inspection: Inspection, known: DocumentRecord, refusal: Refusal | None
) -> Explanation:
    freshness = Disk(engine, inspection).judge(known)
    chunks = len(inspection.chunks_of(known.id, known.generation))
    sentences = [f"It is indexed in {store.name!r} as {known.title!r}, in {chunks} chunks."]
    if freshness.verdict == "fresh":
        sentences.append(freshness.message or "The file is unchanged since it was read.")
    elif freshness.verdict == "lost":
        sentences.append(f"{freshness.message} Until then what was read of it can be found.")
    elif freshness.verdict == "closed":
        sentences.append(f"Whether the file has changed cannot be told at present. {freshness.message}")
    else:
        sentences.append(f"{freshness.message} The next ingest of its folder follows it.")
    if refusal:
        sentences.append(f"The last attempt to read it failed, so an older version is kept: {refusal.message}")
    facts = {
        "title": known.title, "media_type": known.media_type, "chunks": chunks, "size_bytes": known.size_bytes,
        "checked_at": known.checked_ns / 1e9, "source_sha256": known.source_sha256, "generation": known.generation,
        "recipe": known.recipe, "file": freshness.verdict, "document_id": known.id,
    }  # fmt: skip
    return Explanation(known.uri, "indexed", tuple(sentences), facts)


def _refused(engine: Engine, refusal: Refusal) -> Explanation:
    sentences = [f"It was {refusal.outcome} ({refusal.reason}). {refusal.message}"]
    most = engine.settings.ingest.max_attempts
    if refusal.reason in PASSING | BLAMELESS and refusal.reason not in UNCERTAIN:
        sentences.append("Every ingest tries it again.")
    elif refusal.reason in UNCERTAIN and refusal.attempts < most:
        sentences.append(f"It was tried {refusal.attempts} of {most} times; the next ingest tries it again.")
    elif refusal.reason in UNCERTAIN:
        sentences.append(f"It was tried {refusal.attempts} times, and is tried again once it changes.")
    else:
        sentences.append("It is tried again once it changes, or once Quoth or its settings read it another way.")
    facts = {"outcome": refusal.outcome, "reason": refusal.reason, "attempts": refusal.attempts}
    return Explanation(refusal.uri, "refused", tuple(sentences), facts)


def _unread_upload(engine: Engine, store: Store, uri: str) -> Explanation:
    file_id = file_id_of(uri) or ""
    attached = engine.store_files.attached(store.id, [file_id]).get(file_id)
    if attached is None:
        return Explanation(uri, "not_there", (f"{store.name!r} holds no such upload.",))
    facts = {"status": attached.row.status, "job": attached.row.job_id}
    if attached.row.status == "in_progress":
        sentence = f"The job {attached.row.job_id} is to read it. `quoth jobs` says how far it is."
        return Explanation(attached.uri, "waiting", (sentence,), facts)
    sentence = f"It is {attached.row.status}, and not in the index. {attached.row.error_message}"
    return Explanation(attached.uri, "refused", (sentence.strip(),), facts)


def _unknown(  # noqa: PLR0911 - one verdict a return
    engine: Engine, store: Store, inspection: Inspection, uri: str
) -> Explanation:
    """A file that is neither a document nor refused."""
    path, roots = file_path(uri), Disk(engine, inspection).roots
    if uri.startswith(UPLOADS):
        return _unread_upload(engine, store, uri)
    if path is None:
        return Explanation(uri, "not_there", (f"{store.name!r} knows of no such thing, and it is the URI of no file.",))
    above = roots_of(uri, roots)
    job = inspection.waiting(uri)
    if job:
        sentence = f"The job {job} has found it and not read it yet. `quoth jobs` says how far it is."
        return Explanation(uri, "waiting", (sentence,), {"job": job})
    # Not `exists`: a link that leads nowhere is there, and says so below.
    if not os.path.lexists(path):
        also = "" if above else " Nor was a folder above it ever ingested."
        return Explanation(uri, "not_there", (f"There is no such file, and {store.name!r} knows of none.{also}",))
    if not above:
        named = ", ".join(str(path_of(root)) for root in roots[:MOST_NAMED]) or "none"
        sentence = f"It lies below no folder that was ingested into {store.name!r} (there: {named})."
        return Explanation(uri, "below_no_folder", (sentence, f"Index it: quoth ingest {path.parent}"))
    rules = [why_ignored(path, path_of(root)) for root in above]
    if rules and all(rules):
        sentence = f"A rule leaves it out: {rules[-1]}."
        return Explanation(uri, "left_out", (sentence, "Change the rule, or ingest the file by its own name."), {
            "rule": rules[-1],
        })  # fmt: skip
    file = source_at(uri, above[-1], engine.settings.ingest)
    if path.is_dir():
        sentence = "It is a folder below one that was ingested. Ask for one of its files."
        return Explanation(uri, "unread", (sentence,))
    sentences = ["No ingest has found it yet: it came after the last one."]
    if isinstance(file, Refused):
        sentences.append(f"The next will not read it ({file.reason}). {file.message}")
    else:
        sentences.append(f"Index it: quoth ingest {path_of(above[-1])}")
    return Explanation(uri, "unread", tuple(sentences))
