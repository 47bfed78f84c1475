"""Why a search did not return the document that somebody expected of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from rag.access import Caller
from rag.attributes import file_id_of, of_user, upload_uri
from rag.concurrency import in_thread
from rag.errors import InvalidInputError, NotFoundError
from rag.explaining import Asked, Candidacy, Places, SearchExplanation, candidacy_dict, terms_of
from rag.filters import And, Eq, Filter
from rag.fusion import fuse
from rag.ledger.files import FILE_ID
from rag.ledger.library import Held, may_read
from rag.protocols import CandidateLists

if TYPE_CHECKING:
    from rag.assembly import Engine
    from rag.ledger.stores import Store

Verdict = Literal[
    "returned", "duplicate", "diversified", "below_k", "below_candidates", "replaced", "filtered", "hidden",
    "not_embedded", "refused", "waiting", "unknown",
]  # fmt: skip

RANKED: Final = 10_000  # the longest list that the vector stores give
BEST: Final = 3  # of the document's passages
_MOST_NAMED = 5
_ENDINGS = 1000


@dataclass(frozen=True, slots=True)
class Expectation:
    """What became of an expected document in a search.

    Attributes:
        expected: as it was named.
        sentence: for people; what happened, and what to do next.
        document_id: of one that is indexed.
        passages: its best ones.
    """

    expected: str
    verdict: Verdict
    sentence: str
    document_id: str | None = None
    uri: str | None = None
    passages: tuple[Candidacy, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "expected": self.expected, "verdict": self.verdict, "sentence": self.sentence,
            "document_id": self.document_id, "uri": self.uri,
            "passages": [candidacy_dict(passage) for passage in self.passages],
        }  # fmt: skip


async def explain_expected(
    engine: Engine, asked: Asked, explained: SearchExplanation, expected: str, caller: Caller
) -> Expectation:
    """Tell where a document came in, or what stopped it. Only the ledger is asked, never the disk.

    Args:
        asked: the search.
        explained: what `explain_search` made of it.
        expected: a document's id, its URI, the id of its upload, or the end of its path.

    Raises:
        InvalidInputError: it is the end of several paths.
        QuothError: as `Retriever.search`.
    """
    held, otherwise = await in_thread(_look_up, engine, asked.stores, expected, caller)
    if held is None:
        return otherwise
    record = held.record
    own = Eq("document_id", record.id)
    if not await engine.vectors.count(record.store_id, own):
        sentence = "None of its passages can be searched: `quoth doctor` says why, and `quoth doctor --repair` mends."
        return Expectation(expected, "not_embedded", sentence, record.id, record.uri)
    view = asked.view(caller)
    if not may_read(record.groups, view):
        sentence = "Its groups keep it from this reader: none of theirs is among them."
        return Expectation(expected, "hidden", sentence, record.id, record.uri)
    within: Filter = own if asked.where is None else And((asked.where, own))
    if asked.where is not None and not await engine.vectors.count(record.store_id, within):
        named = ", ".join(f"{key}={value!r}" for key, value in of_user(record.attributes).items()) or "none"
        sentence = f"The filter leaves it out. Its attributes: {named}."
        return Expectation(expected, "filtered", sentence, record.id, record.uri)
    passages = await _passages(engine, asked, explained, held, within, view)
    verdict, sentence = _judge(passages, explained)
    return Expectation(expected, verdict, sentence, record.id, record.uri, passages)


async def _passages(
    engine: Engine,
    asked: Asked,
    explained: SearchExplanation,
    held: Held,
    within: Filter,
    view: frozenset[str] | None,
) -> tuple[Candidacy, ...]:
    """The document's best passages: candidates in their final order, then others by what they would have."""
    listed = [each for each in explained.candidacies if each.document_id == held.record.id]
    best = [each for each in listed if each.outcome not in ("filtered", "hidden")]
    best = sorted(best, key=lambda each: (each.outcome != "returned", -(each.score or 0.0)))[:BEST]
    if len(best) == BEST:
        return tuple(best)
    long = await engine.retriever.candidates(asked.names, asked.question, RANKED, where=asked.where, groups=view)
    mine = await engine.retriever.candidates(held.store.name, asked.question, RANKED, where=within, groups=view)
    known = {each.chunk_id for each in best}
    further = [each for each in fuse(mine, engine.settings.retrieval) if each.chunk_id not in known]
    return await in_thread(_further, engine, asked, held, best, long, further)


def _further(
    engine: Engine, asked: Asked, held: Held, best: Sequence[Candidacy], long: CandidateLists, further: Sequence[Any]
) -> tuple[Candidacy, ...]:
    places, words = Places(long, ()), terms_of(engine, asked.question)
    hits = engine.documents.join([held.store.id], further[: BEST - len(best)])
    told = (places.candidacy(engine, hit, words, "below_candidates") for hit in hits)
    return (*best, *(replace(each, fused=None) for each in told))


def _judge(passages: Sequence[Candidacy], explained: SearchExplanation) -> tuple[Verdict, str]:
    k = explained.k
    if not passages:
        return "below_candidates", "No list holds any of its passages: neither its words nor its meaning are near."
    best = passages[0]
    if best.outcome == "returned":
        return "returned", f"It was returned: its best passage is number {best.rank} of {k}.{_capped(best, explained)}"
    if best.outcome in ("duplicate", "diversified"):
        return _passed_over(best, explained)
    if best.rank:
        last = f", whose last has the score {explained.kth_score:.3f}" if explained.kth_score is not None else ""
        return "below_k", (
            f"It is not among the {k} passages that are returned{last}: its best one is number {best.rank}, with "
            f"{best.score or 0.0:.3f}. Ask for more passages, or more precisely."
        )
    if best.outcome == "replaced":
        return "replaced", "It was found, and dropped, since it is being read anew in this moment. Ask again."
    return "below_candidates", (
        f"Its best passage is number {best.dense_rank or f'beyond {RANKED:,}'} by meaning and "
        f"{best.sparse_rank or 'nowhere'} by words, and only the first {explained.candidates} of each are looked at. "
        "Ask with words that it holds, or raise QUOTH_RETRIEVAL__CANDIDATES."
    )


def _passed_over(best: Candidacy, explained: SearchExplanation) -> tuple[Verdict, str]:
    """Why others stand in the place of a document that was found."""
    if best.outcome == "duplicate":
        original = next(each for each in explained.candidacies if each.chunk_id == best.duplicate_of)
        return "duplicate", (
            f"Its best passage says the same, word for word, as one of {original.uri}, which stands for both and "
            f"{'was returned' if original.outcome == 'returned' else 'was not returned either'}."
        )
    return "diversified", (
        "It was found, and left out since its best passage is too much like those that are returned. Ask for more "
        "passages, or lower QUOTH_RETRIEVAL__DIVERSITY."
    )


def _capped(best: Candidacy, explained: SearchExplanation) -> str:
    """What to say where more of a document would have been returned, if it might have more places."""
    more = sum(each.document_id == best.document_id and each.outcome == "capped" for each in explained.candidacies)
    if not more:
        return ""
    return (
        f" It has all the places that a document may have; QUOTH_RETRIEVAL__PER_DOCUMENT, which is "
        f"{explained.per_document}, keeps out {more} more of its passages."
    )


def _look_up(engine: Engine, stores: Sequence[Store], expected: str, caller: Caller) -> tuple[Held | None, Expectation]:
    """The document that is meant; or why there is none."""
    unknown = Expectation(expected, "unknown", "No document of this name was ever found in the stores searched.")
    uris: list[str] = []
    for store in stores:
        try:
            held = engine.library.get(expected, caller)
        except NotFoundError:
            held = None
        if held and held.store.id == store.id:
            return held, unknown
        for uri in _uris(engine, store, expected, caller):
            record = engine.documents.at(store.id, [uri]).get(uri)
            if record is None:
                refused = _why_missing(engine, store, expected, uri, caller)
                unknown = refused or unknown
            elif may_read(record.groups, caller.groups):
                uris.append(uri)
                found = Held(record, store)
    if len(uris) > 1:
        raise InvalidInputError(
            f"{len(uris)} documents end like {expected!r}: {', '.join(uris[:_MOST_NAMED])}. Give more of the path."
        )
    return (found if uris else None), unknown


def _uris(engine: Engine, store: Store, expected: str, caller: Caller) -> list[str]:
    """What it may mean among what the ledger knows of a store."""
    if FILE_ID.fullmatch(expected):
        return _of_upload(engine, expected, caller)
    if "://" in expected:
        return [expected]
    name = expected.lstrip("/")
    return engine.documents.inspection(store.id).ending(f"/{quote(name, errors='replace')}", _ENDINGS) if name else []


def _of_upload(engine: Engine, file_id: str, caller: Caller) -> list[str]:
    try:
        file = engine.files.get(file_id, caller)
    except NotFoundError:
        return []
    return [upload_uri(file.id, file.filename)]


def _why_missing(engine: Engine, store: Store, expected: str, uri: str, caller: Caller) -> Expectation | None:
    """Why a URI is no document. Nobody knows which groups it would have had, so that readers of some are not told."""
    if caller.groups is not None:
        return None
    refusal = engine.refusals.at(store.id, [uri]).get(uri)
    if refusal:
        sentence = f"It was {refusal.outcome} ({refusal.reason}). {refusal.message}"
        return Expectation(expected, "refused", sentence, uri=uri)
    file_id = file_id_of(uri)
    if file_id is not None:
        return _of_attached(engine, store, expected, file_id)
    job = engine.documents.inspection(store.id).waiting(uri)
    if job:
        return Expectation(expected, "waiting", f"The job {job} has found it and not read it yet.", uri=uri)
    return None


def _of_attached(engine: Engine, store: Store, expected: str, file_id: str) -> Expectation | None:
    try:
        row = engine.store_files.get(store.id, file_id)
    except NotFoundError:
        return None
    if row.status == "in_progress":
        return Expectation(expected, "waiting", "The upload is attached and not read yet.")
    return Expectation(expected, "refused", f"The upload is {row.status}. {row.error_message}".strip())
