"""A test set from a store's own documents, brought in step with them: only changed ones are asked about anew."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from evals import wording
from evals.absence import AbsentDraft, draft_absent, is_absent
from evals.cases import OwnCase, Source, case_id
from evals.question_rules import Draft, draft_questions
from evals.question_writing import QuestionWriter
from evals.stored import StoredDocument, read_documents, store_outline
from rag.assembly import Engine
from rag.concurrency import in_thread

ABSENT_SHARE: Final = 0.2
LEAST_DOCUMENTS: Final = 50
TRIES: Final = 3  # chunks asked about for each question that the model is to write of a document
LEAST_COPY: Final = 20  # characters of a quote that are looked for in other documents


@dataclass(frozen=True)
class Synthesis:
    """The cases, those of before first and in their order, and what happened to them.

    Attributes:
        counts: `kept`, `new`, and by reason the cases of before that were removed and the drafts that were not used.
        overlap: mean share of copied words over the answerable cases that were not dropped; `copied` how many of them
            take nearly all of their words from their passage.
    """

    cases: tuple[OwnCase, ...]
    counts: Mapping[str, int]
    overlap: float
    copied: int


async def synthesize(
    engine: Engine,
    store: str,
    known: Sequence[OwnCase] = (),
    *,
    count: int = 50,
    seed: int = 0,
    writer: QuestionWriter | None = None,
    on_case: Callable[[OwnCase], None] = lambda _: None,
) -> Synthesis:
    """Write a test set, or bring an older one in step with the store.

    A case stays while its document does. When the document changes, a case marked `keep` stays if its passage still
    stands there; others go, and new ones are written. A dropped case is remembered and its question not asked again.

    Args:
        store: the store's name.
        known: the cases of before.
        count: cases that there shall be, dropped ones aside; a fifth of them cannot be answered.
        seed: of the choice of documents and questions.
        writer: a language model; without one the rules of `evals.question_rules`.
        on_case: called for each new case.

    Raises:
        StoreNotFoundError: there is no such store.
        StorageError, UpstreamError: a part of the engine or the model failed.
    """
    outline = await store_outline(engine, store)
    owner = await in_thread(engine.stores.get, store)
    work = _Work(engine, store, owner.id, outline, seed, writer, on_case)
    await work.keep(known)
    absent = round(count * ABSENT_SHARE)
    live = [case for case in work.cases if case.review != "drop"]
    room = count - absent - sum(case.answerable for case in live)
    absent_room = absent - sum(not case.answerable for case in live)
    if room > 0 or absent_room > 0:
        documents = await read_documents(engine, store, set(work.order(max(LEAST_DOCUMENTS, 2 * count))))
        await work.fill({document.uri: document for document in documents}, room, absent_room)
    shares = [case.overlap for case in work.cases if case.answerable and case.review != "drop" and case.kind]
    return Synthesis(
        tuple(work.cases), dict(work.counts + (writer.rejected if writer else Counter())),
        wording.mean_overlap(shares), wording.copied(shares),
    )  # fmt: skip


@dataclass
class _Work:
    """The set as it grows."""

    engine: Engine
    store: str
    store_id: str
    outline: Mapping[str, str]
    seed: int
    writer: QuestionWriter | None
    on_case: Callable[[OwnCase], None]
    cases: list[OwnCase] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)

    async def keep(self, known: Sequence[OwnCase]) -> None:
        """Take over those of before that still hold."""
        self.changed = {
            case.source.uri
            for case in known
            if case.source and self.outline.get(case.source.uri) not in (None, case.source.generation)
        }
        changed = {each.uri: each for each in await read_documents(self.engine, self.store, self.changed)}
        for case in known:
            kept = (
                case if case.source is None or case.review == "drop" else await self._kept(case, case.source, changed)
            )
            if kept:
                self.cases.append(kept)
                self.counts["kept"] += 1

    async def _kept(self, case: OwnCase, source: Source, changed: Mapping[str, StoredDocument]) -> OwnCase | None:
        if source.uri not in self.outline:
            self.counts["removed, document gone"] += 1
            return None
        if case.absent:
            if not await is_absent(self.engine, self.store_id, case.absent):
                self.counts["removed, no longer absent"] += 1
                return None
            return replace(case, source=replace(source, generation=self.outline[source.uri]))
        if source.uri not in changed:
            return case
        at = changed[source.uri].text.find(case.passages[0]) if case.passages else -1
        if case.review != "keep" or at < 0:
            self.counts["removed, document changed"] += 1
            return None
        moved = Source(source.uri, self.outline[source.uri], at, at + len(case.passages[0]))
        return replace(case, source=moved)

    def order(self, limit: int) -> list[str]:
        """Documents to ask about: changed ones, those without a case, the others; each group in an order of its own."""
        asked = Counter(case.source.uri for case in self.cases if case.source)
        return sorted(self.outline, key=lambda uri: (uri not in self.changed, asked[uri], self._draw(uri)))[:limit]

    async def fill(self, documents: Mapping[str, StoredDocument], room: int, absent_room: int) -> None:
        """Add cases, one document after the other, until there are enough or no more questions."""
        drafts = {uri: draft_questions(document) for uri, document in documents.items()}
        unclear = self._asked_by_several(drafts)
        order = [uri for uri in self.order(len(self.outline)) if uri in documents]
        streams = [
            self._answerable(documents[uri], [d for d in drafts[uri] if d.question.casefold() not in unclear])
            for uri in order
        ]
        await self._take(streams, room, documents)
        await self._take([self._absent(documents[uri], drafts[uri]) for uri in order], absent_room, documents)

    def _asked_by_several(self, drafts: Mapping[str, Sequence[Draft]]) -> set[str]:
        """Questions that several documents would answer, each in its way."""
        asked = Counter(draft.question.casefold() for found in drafts.values() for draft in found)
        unclear = {question for question, times in asked.items() if times > 1}
        if unclear and self.writer is None:
            self.counts["not used, several documents answer it"] += len(unclear)
        return unclear

    async def _take(
        self, streams: list[AsyncIterator[OwnCase]], room: int, documents: Mapping[str, StoredDocument]
    ) -> None:
        """Take turns, so that every document comes before any has its second question."""
        ids = {case.id for case in self.cases}
        said = {case.question.casefold() for case in self.cases}
        while streams and room > 0:
            for stream in list(streams):
                case = await anext(stream, None)
                while case and (case.id in ids or case.question.casefold() in said):
                    case = await anext(stream, None)
                if case is None:
                    streams.remove(stream)
                    continue
                case = replace(case, files=self._files(case, documents))
                ids.add(case.id)
                said.add(case.question.casefold())
                self.cases.append(case)
                self.counts["new"] += 1
                self.on_case(case)
                room -= 1
                if room == 0:
                    return

    async def _answerable(self, document: StoredDocument, drafts: Sequence[Draft]) -> AsyncIterator[OwnCase]:
        if self.writer is None:
            for draft in self._by_turns(document.uri, drafts):
                yield _case(document, draft)
            return
        for chunk in sorted(document.chunks, key=lambda chunk: self._draw(chunk.id))[: self._most_asked(document)]:
            written = await self.writer.write(document.title, chunk)
            if written:
                yield _case(document, written)

    async def _absent(self, document: StoredDocument, drafts: Sequence[Draft]) -> AsyncIterator[OwnCase]:
        if self.writer is None:
            questions = [draft.question for draft in self._by_turns(document.uri, drafts)]
            terms: set[str] = set()
            for draft in draft_absent(document.title, questions, f"{self.seed}\0{document.uri}"):
                if draft.term not in terms and await is_absent(self.engine, self.store_id, draft.term):
                    terms.add(draft.term)
                    yield _absent_case(document, draft)
            return
        for chunk in sorted(document.chunks, key=lambda chunk: self._draw(chunk.id))[: self._most_asked(document)]:
            written = await self.writer.write_absent(document.title, chunk)
            if written and await is_absent(self.engine, self.store_id, written.term):
                yield _absent_case(document, written)
            elif written:
                self.writer.rejected["term not absent"] += 1

    def _most_asked(self, document: StoredDocument) -> int:
        return max(TRIES, len(document.chunks))

    def _by_turns(self, uri: str, drafts: Sequence[Draft]) -> list[Draft]:
        """One of each kind, then the second of each; within a kind in an order that depends on the question alone."""
        kinds: defaultdict[str, list[Draft]] = defaultdict(list)
        for draft in sorted(drafts, key=lambda draft: self._draw(f"{uri}\0{draft.question}")):
            kinds[draft.kind].append(draft)
        turns = sorted((turn, kind) for kind, found in kinds.items() for turn in range(len(found)))
        return [kinds[kind][turn] for turn, kind in turns]

    def _files(self, case: OwnCase, documents: Mapping[str, StoredDocument]) -> tuple[str, ...]:
        """The source, and others that say the same word for word."""
        if not (case.answerable and case.source):
            return ()
        quote, own = case.passages[0], case.source.uri
        same = [uri for uri, document in documents.items() if uri != own and quote in document.text]
        return tuple(self._name(uri) for uri in (own, *(same if len(quote) >= LEAST_COPY else ())))

    def _name(self, uri: str) -> str:
        """A file's path below the folder that holds all of them, if that alone says which it is; its URI otherwise."""
        paths = {other: unquote(urlsplit(other).path) for other in self.outline}
        if not all(other.startswith("file:") for other in paths):
            return uri
        folder = Path(os.path.commonpath([str(Path(path).parent) for path in paths.values()]))
        name = Path(paths[uri]).relative_to(folder).as_posix()
        return name if sum(path.endswith(f"/{name}") for path in paths.values()) == 1 else uri

    def _draw(self, what: str) -> str:
        return hashlib.sha256(f"{self.seed}\0{what}".encode()).hexdigest()


def _case(document: StoredDocument, draft: Draft) -> OwnCase:
    quote = document.text[draft.start : draft.end]
    return OwnCase(
        id=case_id(document.uri, draft.start, draft.end, draft.question), question=draft.question,
        answers=draft.answers, passages=(quote,), kind=draft.kind, overlap=wording.overlap(draft.question, quote),
        source=Source(document.uri, document.generation, draft.start, draft.end),
    )  # fmt: skip


def _absent_case(document: StoredDocument, draft: AbsentDraft) -> OwnCase:
    return OwnCase(
        id=case_id(document.uri, 0, 0, draft.question), question=draft.question, answerable=False, kind="absent",
        absent=draft.term, source=Source(document.uri, document.generation, 0, 0),
    )  # fmt: skip
