"""What the tools do, with no word of the protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from api.mcp.rendering import (
    NOTICE,
    problems,
    render_answer,
    render_documents,
    render_search,
    render_stores,
    render_text,
)
from api.mcp.schemas import (
    MAX_TEXT_CHARACTERS,
    Answered,
    Arguments,
    AskArguments,
    Cited,
    DocumentList,
    DocumentText,
    FoundPassage,
    GetArguments,
    ListArguments,
    ListedDocument,
    ListedStore,
    NoArguments,
    SearchArguments,
    SearchFound,
    StoreList,
)
from api.mcp.session import Session
from api.rate_limits import metered
from rag.attributes import of_user
from rag.citations import Citation
from rag.concurrency import in_thread
from rag.documents import SearchHit
from rag.errors import InvalidInputError
from rag.events import AnswerCompleted, AnswerFailed
from rag.ledger.stores import Store

Result = tuple[BaseModel, str]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, as clients see it, and what it does."""

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    result: type[BaseModel]
    work: Callable[[Session, Any], Awaitable[Result]]

    async def call(self, session: Session, given: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The structured result, and the same as text.

        Raises:
            InvalidInputError: the arguments do not fit.
            QuothError, HTTPException: as the engine, and as `Session` refuses.
        """
        try:
            arguments = self.arguments.model_validate(given)
        except ValidationError as error:
            found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
            raise InvalidInputError(f"These arguments do not fit {self.name}. {problems(found)}") from None
        result, text = await self.work(session, arguments)
        return result.model_dump(mode="json"), text


async def _search(session: Session, wanted: SearchArguments) -> Result:
    store = await _store(session, wanted.store)
    async with session.searching():
        found = await session.live.engine.retriever.search(
            store.name, wanted.query, k=wanted.k, where=wanted.filters, groups=session.caller.groups
        )
    passages = [_passage(number, hit) for number, hit in enumerate(found.hits, 1)]
    result = SearchFound(store=_name(store), query=wanted.query, notice=NOTICE, passages=passages)
    return result, render_search(result)


async def _ask(session: Session, wanted: AskArguments) -> Result:
    store = await _store(session, wanted.store)
    async with session.answering():
        done = await _answer(session, store, wanted.question)
    result = Answered(
        store=_name(store), question=wanted.question, answer=done.text, is_refusal=done.is_refusal,
        finish_reason=done.finish_reason, notice=NOTICE, citations=[_cited(each) for each in done.citations],
    )  # fmt: skip
    return result, render_answer(result)


async def _answer(session: Session, store: Store, question: str) -> AnswerCompleted:
    answerer = session.live.answerer
    prepared = await answerer.prepare(store.name, question, groups=session.caller.groups)
    events = metered(answerer.stream(prepared), prepared.prompt.messages, session.budget)
    try:
        async with aclosing(events) as told:  # type: ignore[type-var]
            async for event in told:
                if isinstance(event, AnswerFailed):
                    raise event.error
                if isinstance(event, AnswerCompleted):
                    return event
    finally:
        await prepared.close()
    raise AssertionError("an answer ended without a terminal event")


async def _list_documents(session: Session, wanted: ListArguments) -> Result:
    store = await _store(session, wanted.store)
    found, has_more = await in_thread(
        session.live.engine.library.page, store, session.caller, limit=wanted.limit, after=wanted.after
    )
    documents = [
        ListedDocument(
            document_id=each.id, title=each.title, uri=each.uri, media_type=each.media_type,
            size_bytes=each.size_bytes, attributes=of_user(each.attributes),
        )
        for each in found
    ]  # fmt: skip
    result = DocumentList(store=_name(store), documents=documents, next=found[-1].id if has_more else None)
    return result, render_documents(result)


async def _get_document(session: Session, wanted: GetArguments) -> Result:
    library = session.live.engine.library
    held = await in_thread(library.get, wanted.document_id, session.caller)
    most = wanted.start + MAX_TEXT_CHARACTERS
    if wanted.end is not None and wanted.end <= wanted.start:
        raise InvalidInputError(f"end must be greater than start, which is {wanted.start}.")
    passage = await in_thread(library.text, held.record, wanted.start, min(wanted.end or most, most))
    result = DocumentText(
        document_id=held.record.id, store=_name(held.store), title=held.record.title, uri=held.record.uri,
        notice=NOTICE, text=passage.text, char_start=passage.char_start, char_end=passage.char_end,
        char_count=passage.char_count,
        next_start=passage.char_end if passage.char_end < passage.char_count else None,
    )  # fmt: skip
    return result, render_text(result)


async def _list_stores(session: Session, _: NoArguments) -> Result:
    default = session.live.engine.settings.store
    stores = [
        ListedStore(id=store.public_id, name=_name(store), is_default=store.name == default)
        for store in await in_thread(session.live.engine.stores.visible, session.caller)
    ]
    result = StoreList(stores=stores)
    return result, render_stores(result)


async def _store(session: Session, named: str | None) -> Store:
    """The store that is meant; where none is named, the default one, or the only one there is for the caller."""
    engine, caller = session.live.engine, session.caller
    if named is None:
        seen = await in_thread(engine.stores.visible, caller)
        if len(seen) == 1:
            return seen[0]
        named = engine.settings.store
    return await in_thread(engine.stores.resolve, named, caller)


def _name(store: Store) -> str:
    return store.title or store.name


def _passage(number: int, hit: SearchHit) -> FoundPassage:
    chunk = hit.chunk
    return FoundPassage(
        number=number, document_id=chunk.document_id, title=hit.title, uri=hit.uri, page_start=chunk.locator.page,
        page_end=chunk.locator.page_end or chunk.locator.page, headings=list(chunk.headings),
        locator=chunk.locator.as_dict(), char_start=chunk.char_start, char_end=chunk.char_end, score=hit.score,
        attributes=dict(hit.attributes), quote=chunk.text,
    )  # fmt: skip


def _cited(citation: Citation) -> Cited:
    return Cited.model_validate({name: citation.as_dict()[name] for name in Cited.model_fields})


TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool(
            "search_documents", "Search documents",
            "Find the passages of the user's own documents that answer a query best, with the place of each.",
            SearchArguments, SearchFound, _search,
        ),
        Tool(
            "ask", "Ask the documents",
            "Answer a question from the user's own documents. Every sentence of the answer cites the words that "
            "support it; where the documents hold no answer, it says so.",
            AskArguments, Answered, _ask,
        ),
        Tool(
            "list_documents", "List documents", "List a store's documents, a page at a time.",
            ListArguments, DocumentList, _list_documents,
        ),
        Tool(
            "get_document", "Read a document",
            "The text of a document, whole or from `start` to `end`; offsets are those of passages and citations.",
            GetArguments, DocumentText, _get_document,
        ),
        Tool(
            "list_stores", "List stores", "List the stores that can be searched.", NoArguments, StoreList, _list_stores
        ),
    )
}  # fmt: skip
