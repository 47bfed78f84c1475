"""POST /v1/responses, and what was made there: read again, deleted, its input."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from api.dependencies import AnswerSlotDep, BudgetDep, CallerDep, Live, LiveDep
from api.openapi import shows
from api.rate_limits import Budget, metered
from api.response_recording import ResponseRecorder
from api.response_stream import TERMINAL, ResponseDraft, response_events
from api.routes.models import OWNER, resolve_model
from api.schemas.conversations import page
from api.schemas.response_objects import envelope, input_item, response_object
from api.schemas.response_shapes import InputItemList, ResponseDeleted, ResponseObject
from api.schemas.responses import RESULTS, ResponseRequest
from api.streaming import ClientLeftError, EventStream, Terminal, frame, while_connected
from rag.access import Caller
from rag.concurrency import in_thread
from rag.conversation import HistoryShare, Message
from rag.errors import InvalidInputError, NotFoundError
from rag.ledger.responses import Asked, EarlierResponses, StoredResponse
from rag.ledger.stores import Store
from rag.searching import SearchOptions

router = APIRouter(tags=["Answers"])

CLIENT_CLOSED_REQUEST = 499
MAX_ID_CHARACTERS = 64

IdPath = Annotated[str, Path(min_length=1, max_length=MAX_ID_CHARACTERS)]


@router.post(
    "/v1/responses",
    **shows(ResponseObject, streams="events as OpenAI's clients know them; the last says how the response ended"),
)
async def create_response(
    body: ResponseRequest,
    request: Request,
    live: LiveDep,
    caller: CallerDep,
    budget: BudgetDep,
    cleanup: AnswerSlotDep,
) -> Response:
    """Answer a question from stores, with citations."""
    try:
        events, draft = await while_connected(request, _begin(live, caller, budget, body, cleanup))
        if body.stream:
            return EventStream(_frames(events), lambda error: _framed(draft.numbered(draft.fail(error)[0])))
        await while_connected(request, _exhaust(events))
    except ClientLeftError:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    if draft.failure:
        raise draft.failure
    return JSONResponse(draft.body())


@router.get("/v1/responses/{response_id}", **shows(ResponseObject))
async def retrieve_response(
    response_id: IdPath,
    live: LiveDep,
    caller: CallerDep,
    include: Annotated[list[Literal["file_search_call.results"]] | None, Query(alias="include[]")] = None,
    stream: bool = False,
) -> dict[str, Any]:
    """A response as it was returned; one that is being written, as it was a few seconds ago."""
    if stream:
        raise InvalidInputError("A response is streamed while it is made; read it again without stream.")
    found = response_object(await in_thread(live.engine.responses.get, response_id, caller))
    if include and any(item.get("results", ()) is None for item in found["output"]):
        raise InvalidInputError(f"What was found was not kept with this response: make it with include=[{RESULTS!r}].")
    return found


@router.delete("/v1/responses/{response_id}", **shows(ResponseDeleted))
async def delete_response(response_id: IdPath, live: LiveDep, caller: CallerDep) -> dict[str, Any]:
    """Delete a response for good. Those that went on from it stay, and lose what was said before it."""
    await in_thread(live.engine.responses.delete, response_id, caller)
    return {"id": response_id, "object": "response", "deleted": True}


@router.get("/v1/responses/{response_id}/input_items", **shows(InputItemList))
async def list_input_items(
    response_id: IdPath,
    live: LiveDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=MAX_ID_CHARACTERS)] = None,
) -> dict[str, Any]:
    """The messages of a response's own request; `after` is the `last_id` of the page before."""
    stored = await in_thread(live.engine.responses.get, response_id, caller)
    items = [input_item(asked) for asked in stored.asked]
    if order == "desc":
        items.reverse()
    start = 0
    if after is not None:
        known = [item["id"] for item in items]
        if after not in known:
            raise NotFoundError(f"There is no item {after!r} in the input of {response_id}.")
        start = known.index(after) + 1
    return page(items[start : start + limit], len(items) > start + limit)


async def _begin(
    live: Live, caller: Caller, budget: Budget, body: ResponseRequest, cleanup: AsyncExitStack
) -> tuple[AsyncIterator[dict[str, Any]], ResponseDraft]:
    """Everything up to the first word: what fails here is a status."""
    stores = await _stores(live, caller, body)
    earlier = EarlierResponses()
    if body.previous_response_id is not None:
        earlier = await in_thread(live.engine.responses.history, body.previous_response_id, caller)
    *said, question = body.messages
    history = [*earlier.messages, *said, *body.guidance]
    options: SearchOptions = body.tool.search_options if body.tool else {}
    options["groups"] = caller.groups
    names = [store.name for store in stores]
    prepared = await live.answerer.prepare(names, question.content, history, sampling=body.sampling, **options)
    cleanup.push_async_callback(prepared.close)
    share = _share(body, history, prepared.prompt.messages, earlier.is_cut)
    temperature = live.engine.settings.chat.temperature if body.temperature is None else body.temperature
    head = envelope(body, f"resp_{secrets.token_hex(24)}", int(time.time()), temperature)
    draft = ResponseDraft({**head, "history": share.as_dict()}, shows_results=body.shows_results)
    recorder = None
    if body.store is not False:
        recorder = ResponseRecorder(live.engine.responses, _row(draft, body, caller, stores))
        cleanup.push_async_callback(recorder.close, draft)
        await recorder.begin()
    events = metered(live.answerer.stream(prepared), prepared.prompt.messages, budget)
    return response_events(events, draft, recorder), draft


async def _stores(live: Live, caller: Caller, body: ResponseRequest) -> list[Store]:
    """Those that the tool names, and the one that the model names; with neither, the default one."""
    found: dict[str, Store] = {}
    if body.tool is None or body.model != OWNER:
        named = await resolve_model(live, caller, body.model)
        found[named.id] = named
    for wanted in body.tool.vector_store_ids if body.tool else ():
        store = await in_thread(live.engine.stores.resolve, wanted, caller)
        found[store.id] = store
    return list(found.values())


def _share(body: ResponseRequest, history: Sequence[Message], prompt: Sequence[Message], is_cut: bool) -> HistoryShare:
    """How many of the earlier messages the answer sees.

    Raises:
        InvalidInputError: there is no room for the instructions, or, with truncation disabled, for all messages.
    """
    guides = len(body.guidance)
    seen = HistoryShare.of(len(history), prompt)
    share = HistoryShare(max(0, seen.kept - guides), seen.left_out + min(0, seen.kept - guides))
    if seen.kept < guides:
        raise InvalidInputError("The instructions do not fit into the model's context. Shorten them.")
    if body.truncation == "disabled" and (share.left_out or is_cut):
        raise InvalidInputError(
            f"{share.left_out} of the earlier messages do not fit into the model's context. Send less, or "
            'truncation="auto", which leaves out the oldest.'
        )
    return share


def _row(draft: ResponseDraft, body: ResponseRequest, caller: Caller, stores: Sequence[Store]) -> StoredResponse:
    shown = draft.body()
    asked = tuple(Asked(f"msg_{secrets.token_hex(24)}", each.role, each.content) for each in body.messages)
    return StoredResponse(
        id=shown["id"], tenant=caller.tenant, key_id=caller.key_id, previous_id=body.previous_response_id,
        status=draft.status, body=shown, asked=asked, answered="", store_ids=tuple(store.id for store in stores),
    )  # fmt: skip


async def _frames(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield _framed(event)
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def _framed(event: Mapping[str, Any]) -> bytes:
    piece = b"event: " + event["type"].encode() + b"\n" + frame(event)
    return Terminal(piece) if event["type"] in TERMINAL else piece


async def _exhaust(events: AsyncIterator[dict[str, Any]]) -> None:
    try:
        async for _ in events:
            pass
    finally:
        await events.aclose()  # type: ignore[attr-defined]
