"""POST /v1/responses and what comes after it, spoken by the official client against a live server."""

import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseFileSearchToolCall, ResponseOutputMessage, ResponseOutputText
from sqlalchemy import select

from rag.access import Caller
from rag.backends.vectors.memory import MemoryChunkStore
from rag.documents import store_id
from rag.errors import NotFoundError, UpstreamRejectedError, UpstreamUnavailableError
from rag.ledger.served_tables import responses as table
from rag.protocols import CandidateLists, ChatModel, ModelDelta, Prompt, Sampling
from tests.fakes import DIMENSION, ScriptedChatModel
from tests.served import LEAVE, TRAVEL, Served, serving_stores

ASKED = "Which class are trains booked in?"
SAID = "Trains are booked in second class."
JSON = {"content-type": "application/json"}

Serve = Callable[..., AbstractContextManager[Served]]


class CurtailedChatModel(ScriptedChatModel):
    """Runs out of tokens."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        self.samplings.append(sampling)
        yield ModelDelta(text="Trains are")
        yield ModelDelta(finish_reason="length")


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @contextmanager
    def start(model: ChatModel | None = None) -> Iterator[Served]:
        with serving_stores(tmp_path, model or ScriptedChatModel(SAID)) as served:
            yield served

    return start


def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def searching(*stores: str, **fields: Any) -> dict[str, Any]:
    return {"type": "file_search", "vector_store_ids": list(stores), **fields}


def items_of(response: Response) -> tuple[ResponseFileSearchToolCall, ResponseOutputMessage, ResponseOutputText]:
    search, message = response.output
    assert isinstance(search, ResponseFileSearchToolCall)
    assert isinstance(message, ResponseOutputMessage)
    (part,) = message.content
    assert isinstance(part, ResponseOutputText)
    return search, message, part


def test_an_answer_quotes_its_source(serve: Serve) -> None:
    with serve() as served, client(served) as api:
        made = api.responses.create(model="quoth/default", input=ASKED, metadata={"case": "7"}, temperature=0.5)
    search, message, part = items_of(made)
    assert (made.status, made.output_text, made.error, made.incomplete_details) == ("completed", SAID, None, None)
    assert (search.status, search.queries, search.results) == ("completed", [ASKED], None)
    assert message.status == "completed"
    (citation,) = made.citations  # type: ignore[attr-defined]
    assert TRAVEL[citation["char_start"] : citation["char_end"]] == citation["quote"]
    (note,) = part.annotations
    assert note.type == "file_citation"
    assert (note.file_id, note.filename, note.index) == (citation["document_id"], "travel.txt", len(SAID))
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert min(made.usage.input_tokens, made.usage.output_tokens) > 0
    assert (made.metadata, made.temperature, made.model) == ({"case": "7"}, 0.5, "quoth/default")
    assert made.completed_at is not None
    assert made.completed_at >= made.created_at
    assert [sentence["text"] for sentence in made.sentences] == [SAID]  # type: ignore[attr-defined]
    assert made.refused is False  # type: ignore[attr-defined]
    assert made.history == {"kept": 0, "left_out": 0}  # type: ignore[attr-defined]
    assert hasattr(made, "answerable")


@pytest.mark.parametrize("name", ["people", f"vs_{store_id('people').replace('-', '')}"])
def test_the_stores_that_are_named_are_searched(serve: Serve, name: str) -> None:
    with serve() as served, client(served) as api:
        made = api.responses.create(
            model="quoth",
            input="How many days of leave are there?",
            tools=[searching(name, max_num_results=1)],  # type: ignore[list-item]
            tool_choice={"type": "file_search"},
            include=["file_search_call.results"],
        )
        both = api.responses.create(
            model="quoth/default", input=ASKED, tools=[searching(name)], include=["file_search_call.results"]  # type: ignore[list-item]
        )  # fmt: skip
        best = api.responses.create(
            model="quoth", input=ASKED, tools=[searching("default", name, max_num_results=1)],  # type: ignore[list-item]
            include=["file_search_call.results"],
        )  # fmt: skip
        again = api.responses.retrieve(made.id, include=["file_search_call.results"])
    (result,) = items_of(made)[0].results or []
    assert (result.filename, result.text) == ("leave.txt", LEAVE.strip())
    assert 0 <= (result.score or -1) <= 1
    assert {each.filename for each in items_of(both)[0].results or ()} == {"leave.txt", "travel.txt"}
    assert [each.filename for each in items_of(best)[0].results or ()] == ["travel.txt"]
    assert again.output == made.output
    assert made.tools[0].to_dict() == searching(name, max_num_results=1)


def test_ranking_options_choose_among_the_passages(serve: Serve) -> None:
    def found(served: Served, **ranking: object) -> list[tuple[str | None, float | None]]:
        with client(served) as api:
            made = api.responses.create(
                model="quoth", input=ASKED, tools=[searching("default", "people", ranking_options=ranking)],  # type: ignore[list-item]
                include=["file_search_call.results"],
            )  # fmt: skip
        return [(each.filename, each.score) for each in items_of(made)[0].results or ()]

    with serve() as served:
        every, best = found(served), found(served, score_threshold=1)
        by_words = found(served, hybrid_search={"embedding_weight": 0, "text_weight": 1})
    assert {name for name, _ in every} == {"leave.txt", "travel.txt"}
    assert best == every[:1]
    assert by_words[0][0] == "travel.txt"


def test_filters_choose_what_is_searched(serve: Serve) -> None:
    no_such = {"type": "eq", "key": "region", "value": "nowhere"}
    with serve() as served, client(served) as api:
        made = api.responses.create(
            model="quoth", input=ASKED, tools=[searching("default", filters=no_such)],  # type: ignore[list-item]
            include=["file_search_call.results"],
        )  # fmt: skip
        with pytest.raises(openai.BadRequestError):
            api.responses.create(
                model="quoth", input=ASKED, tools=[searching("default", filters={"type": "like", "key": "a"})]  # type: ignore[list-item]
            )  # fmt: skip
    assert items_of(made)[0].results == []
    assert (made.citations, made.refused) == ([], True)  # type: ignore[attr-defined]
    assert SAID not in made.output_text


@pytest.mark.parametrize(
    ("model", "stores"), [("quoth/nope", None), ("gpt-4o", None), ("quoth", ["nope"]), ("quoth/default", ["nope"])]
)
def test_a_store_that_is_not_there_is_said(serve: Serve, model: str, stores: list[str] | None) -> None:
    with serve() as served, client(served) as api, pytest.raises(openai.NotFoundError) as caught:
        api.responses.create(model=model, input=ASKED, tools=[searching(*stores)] if stores else [])  # type: ignore[list-item]
    assert caught.value.code in ("model_not_found", "not_found")


def test_a_response_goes_on_from_another(serve: Serve) -> None:
    model = ScriptedChatModel(SAID)
    with serve(model) as served, client(served) as api:
        first = api.responses.create(model="quoth", input=ASKED, instructions="Answer like a pirate.")
        second = api.responses.create(model="quoth", input="And flights?", previous_response_id=first.id)
        api.responses.create(
            model="quoth", input="Who says so?", previous_response_id=second.id, instructions="Answer like a clerk."
        )
        api.responses.delete(first.id)
        api.responses.create(model="quoth", input="And why?", previous_response_id=second.id)
        with pytest.raises(openai.NotFoundError):
            api.responses.create(model="quoth", input="And why?", previous_response_id=first.id)
    one, two, three, four = ([(m.role, m.content) for m in prompt.messages[1:]] for prompt in model.prompts)
    talk = [("user", ASKED), ("assistant", SAID), ("user", "And flights?"), ("assistant", SAID)]
    assert one == [("system", "Answer like a pirate."), ("user", ASKED)]
    assert two == [*talk[:2], ("user", "And flights?")]
    assert three == [*talk, ("system", "Answer like a clerk."), ("user", "Who says so?")]
    assert four == [*talk[2:], ("user", "And why?")]
    assert second.previous_response_id == first.id
    assert second.history == {"kept": 2, "left_out": 0}  # type: ignore[attr-defined]


def test_an_answer_can_be_sent_back_as_it_came(serve: Serve) -> None:
    model = ScriptedChatModel(SAID)
    with serve(model) as served, client(served) as api:
        first = api.responses.create(model="quoth", input=ASKED, include=["file_search_call.results"])
        talk: list[Any] = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": ASKED}]},
            *first.output,
            {"type": "message", "role": "user", "content": "And flights?"},
        ]
        second = api.responses.create(model="quoth", input=talk, store=False, instructions="Be kind.")
        with pytest.raises(openai.NotFoundError):
            api.responses.retrieve(second.id)
        with pytest.raises(openai.NotFoundError):
            api.responses.create(model="quoth", input="And?", previous_response_id=second.id)
    said = [(message.role, message.content) for message in model.prompts[1].messages[1:]]
    earlier = [("system", "Be brief."), ("user", ASKED), ("assistant", SAID)]
    assert said == [*earlier, ("system", "Be kind."), ("user", "And flights?")]


def test_a_response_is_kept_until_it_is_deleted(serve: Serve) -> None:
    with serve() as served, client(served) as api:
        made = api.responses.create(model="quoth", input=ASKED, user="u-1")
        assert api.responses.retrieve(made.id) == made
        with pytest.raises(openai.BadRequestError, match="was not kept"):
            api.responses.retrieve(made.id, include=["file_search_call.results"])
        with pytest.raises(openai.BadRequestError, match="without stream"):
            list(api.responses.retrieve(made.id, stream=True))
        api.responses.delete(made.id)
        for call in (api.responses.retrieve, api.responses.delete, api.responses.input_items.list):
            with pytest.raises(openai.NotFoundError) as caught:
                call(made.id)
            assert caught.value.code == "not_found"


def test_the_input_is_listed(serve: Serve) -> None:
    said = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello!", "annotations": []}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Well:"}, {"type": "input_text", "text": ASKED}]},
    ]
    with serve() as served, client(served) as api:
        made = api.responses.create(model="quoth", input=said, instructions="Be kind.")  # type: ignore[arg-type]
        newest = api.responses.input_items.list(made.id, limit=2)
        oldest = [item.to_dict() for item in api.responses.input_items.list(made.id, order="asc", limit=1)]
        paged = list(newest)
        with pytest.raises(openai.NotFoundError):
            api.responses.input_items.list(made.id, after="msg_nope")
    assert newest.has_more
    assert [item["role"] for item in oldest] == ["user", "assistant", "user"]  # the client turns the pages
    assert [item.to_dict() for item in paged] == oldest[::-1]
    assert oldest[2]["content"] == [{"type": "input_text", "text": f"Well:\n{ASKED}"}]
    assert oldest[1]["content"][0]["type"] == "output_text"  # type: ignore[index]


def test_an_answer_that_runs_out_of_tokens_is_incomplete(serve: Serve) -> None:
    model = CurtailedChatModel()
    with serve(model) as served, client(served) as api:
        made = api.responses.create(model="quoth", input=ASKED, max_output_tokens=2, top_p=0.9)
        assert api.responses.retrieve(made.id) == made
    assert (made.status, made.output_text) == ("incomplete", "Trains are")
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    assert items_of(made)[1].status == "incomplete"
    assert made.completed_at is None
    assert (model.samplings[0].max_tokens, model.samplings[0].top_p) == (2, 0.9)


def test_what_fails_before_its_first_word_is_a_status_and_not_kept(serve: Serve) -> None:
    with serve(ScriptedChatModel(UpstreamRejectedError("wrong key"))) as served, client(served) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            api.responses.create(model="quoth", input=ASKED)
        assert caught.value.status_code == 502
        assert rows(served) == []


def test_what_breaks_off_is_a_status_and_is_kept_as_failed(serve: Serve) -> None:
    model = ScriptedChatModel("Trains are", UpstreamUnavailableError("it fell silent"))
    with serve(model) as served, client(served) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            api.responses.create(model="quoth", input=ASKED)
        assert (caught.value.status_code, caught.value.code) == (503, "upstream_unavailable")
        ((status, body),) = rows(served)
        assert (status, body["status"], body["usage"], body["completed_at"]) == ("failed", "failed", None, None)
        assert body["error"] == {"code": "server_error", "message": "it fell silent", "type": "upstream_unavailable"}
        assert body["output"][1]["status"] == "incomplete"
        assert api.responses.retrieve(body["id"]).output_text == "Trains are"


def rows(served: Served) -> list[tuple[str, dict[str, Any]]]:
    with served.engine.responses._engine.connect() as connection:
        return [(row.status, row.body) for row in connection.execute(select(table.c.status, table.c.body))]


def test_what_does_not_fit_is_refused_where_it_may_not_be_left_out(serve: Serve) -> None:
    long = [{"role": "user", "content": "word " * 1500}, {"role": "assistant", "content": "Yes."}]
    question = {"role": "user", "content": ASKED}
    with serve() as served, client(served) as api:
        made = api.responses.create(model="quoth", input=[*long, question])  # type: ignore[list-item]
        assert made.history == {"kept": 1, "left_out": 1}  # type: ignore[attr-defined]
        assert made.truncation == "auto"
        with pytest.raises(openai.BadRequestError, match="1 of the earlier messages do not fit"):
            api.responses.create(model="quoth", input=[*long, question], truncation="disabled")  # type: ignore[list-item]
        fits = api.responses.create(model="quoth", input=ASKED, truncation="disabled", instructions="Be brief.")
        assert fits.history == {"kept": 0, "left_out": 0}  # type: ignore[attr-defined]
        with pytest.raises(openai.BadRequestError, match="instructions do not fit"):
            api.responses.create(model="quoth", input=ASKED, instructions="word " * 3000)


TOOL = {"type": "file_search", "vector_store_ids": ["default"]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": "  "}, None),
        ({"input": [{"role": "assistant", "content": "x"}]}, None),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input.0"),
        ({"input": [{"type": "function_call_output", "call_id": "a", "output": "b"}]}, "input.0"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
        ({"input": 7}, "input"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "name": "f", "parameters": {}}]}, "tools.0.type"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{**TOOL, "vector_store_ids": []}]}, "tools.0.vector_store_ids"),
        ({"tools": [{**TOOL, "max_num_results": 51}]}, "tools.0.max_num_results"),
        ({"tools": [{**TOOL, "max_num_results": 1e999}]}, None),
        ({"tools": [{**TOOL, "ranking_options": {"ranker": "best"}}]}, "tools.0.ranking_options.ranker"),
        ({"tool_choice": "none"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, None),
        ({"include": ["message.output_text.logprobs"]}, "include.0"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"temperature": 2.1}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(refusing: Served, change: dict[str, Any], param: str | None) -> None:
    content = json.dumps({"model": "quoth", "input": ASKED, **change})
    reply = httpx.post(f"{refusing.url}/v1/responses", content=content, headers=JSON)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["type"], bool(error["message"])) == ("invalid_request_error", True)
    if param:
        assert error["param"].startswith(param), error


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_stores(tmp_path_factory.mktemp("served"), ScriptedChatModel(SAID)) as served:
        yield served


@pytest.mark.parametrize("stream", [True, False])
def test_what_utf8_cannot_hold_breaks_nothing(refusing: Served, stream: bool) -> None:
    half = "a\ud800b\0"
    body = {
        "model": "quoth", "input": f"{ASKED} {half}", "instructions": half, "metadata": {"a": "\0"}, "stream": stream,
    }  # fmt: skip
    for refused in (
        {"metadata": {"a": half}}, {"metadata": {half: "a"}}, {"user": half}, {half: 1}, {"model": f"quoth/{half}"},
        {"tools": [searching(half)]}, {"previous_response_id": half},
    ):  # fmt: skip
        reply = httpx.post(f"{refusing.url}/v1/responses", content=json.dumps({**body, **refused}), headers=JSON)
        assert reply.status_code in (400, 404), reply.text
    reply = httpx.post(f"{refusing.url}/v1/responses", content=json.dumps(body), headers=JSON)
    assert reply.status_code == 200, reply.text
    text = reply.text.split("data: ")[-1] if stream else reply.text
    found = json.loads(text).get("response") if stream else json.loads(text)
    assert (found["metadata"], found["instructions"]) == ({"a": "\ufffd"}, "a\ufffdb\ufffd")
    again = httpx.get(f"{refusing.url}/v1/responses/{found['id']}").json()
    assert again == found


def test_fields_that_change_nothing_are_taken_and_null_is_nothing(refusing: Served) -> None:
    taken = {
        "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "service_tier": "auto", "truncation": "auto",
        "parallel_tool_calls": False, "text": {"format": {"type": "text"}}, "store": True, "tool_choice": "required",
        "max_tool_calls": 3, "top_logprobs": 0, "background": False, "stream_options": {"include_obfuscation": False},
        "conversation": None, "prompt": None, "reasoning": None, "tools": None, "include": None,
    }  # fmt: skip
    reply = httpx.post(f"{refusing.url}/v1/responses", json={"model": "quoth", "input": ASKED, **taken})
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["parallel_tool_calls"], found["tool_choice"], found["user"]) == (False, "required", "u")


@pytest.mark.parametrize("name", ["resp_nope", "%00", "x" * 64, "%ed%a0%80", "..%2f..%2fetc"])
def test_no_id_is_too_strange(refusing: Served, name: str) -> None:
    for path in (f"/v1/responses/{name}", f"/v1/responses/{name}/input_items"):
        reply = httpx.get(f"{refusing.url}{path}")
        assert reply.status_code == 404, reply.text
        assert reply.json()["error"]["code"] == "not_found"


class WatchedChunkStore(MemoryChunkStore):
    """Remembers for whom it was searched."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.groups: list[frozenset[str] | None] = []

    async def search(self, *args: Any, **kwargs: Any) -> CandidateLists:
        self.groups.append(inspect.signature(super().search).bind(*args, **kwargs).arguments["groups"])
        return await super().search(*args, **kwargs)


def test_a_caller_asks_its_own_stores_and_groups_alone(tmp_path: Path) -> None:
    bound = Caller("key_a", store_ids=frozenset({store_id("people")}), groups=frozenset({"staff"}))
    vectors = WatchedChunkStore()
    with serving_stores(tmp_path, ScriptedChatModel(SAID), vectors=vectors, caller=bound) as served:
        with client(served) as api:
            assert {model.id for model in api.models.list()} == {"quoth", "quoth/people", "bag-of-words"}
            for body in (
                {"model": "quoth"}, {"model": "quoth/default"}, {"model": "quoth", "tools": [searching("default")]},
                {"model": "quoth/people", "tools": [searching("people", "default")]},
            ):  # fmt: skip
                with pytest.raises(openai.NotFoundError):
                    api.responses.create(input=ASKED, **body)
            assert vectors.groups == []
            made = api.responses.create(model="quoth", input=ASKED, tools=[searching("people")])  # type: ignore[list-item]
        assert vectors.groups == [frozenset({"staff"})]
        assert served.engine.responses.get(made.id, bound).key_id == "key_a"
        with pytest.raises(NotFoundError):
            served.engine.responses.get(made.id, Caller("key_b", scope="write"))


def test_another_callers_response_is_not_there(refusing: Served) -> None:
    with client(refusing) as api:
        made = api.responses.create(model="quoth", input=ASKED)
        with refusing.engine.responses._engine.begin() as connection:
            connection.execute(table.update().where(table.c.id == made.id).values(tenant="other"))
        assert refusing.engine.responses.get(made.id, Caller(tenant="other")).id == made.id
        with pytest.raises(openai.NotFoundError):
            api.responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            api.responses.create(model="quoth", input=ASKED, previous_response_id=made.id)
