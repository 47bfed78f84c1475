"""Idempotency-Key: whatever is repeated, and however often at once, one request has one effect."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from api.app import create_app
from api.dependencies import Live
from api.idempotency import idempotency_key, owner_of
from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.backends.vectors.memory import MemoryChunkStore
from rag.errors import UpstreamRejectedError, UpstreamUnavailableError
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import Settings, load_settings
from tests.api.uploading import FILE, PURPOSE, form, part, post
from tests.fakes import DIMENSION, ScriptedChatModel, fake_engine
from tests.live import serving

BODY: dict[str, Any] = {
    "model": "quoth", "messages": [{"role": "user", "content": "Which class are trains booked in?"}],
    "conversation": "new",
}  # fmt: skip
CHAT = "/v1/chat/completions"
KEY = "idempotency-key"
REPLAYED = "idempotent-replayed"

Serve = Callable[..., AbstractContextManager[str]]


class SlowChatModel(ScriptedChatModel):
    """Begins to speak when it is told to."""

    def __init__(self, *script: str) -> None:
        super().__init__(*script)
        self.begun, self.may_speak = asyncio.Event(), asyncio.Event()

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        self.begun.set()
        await self.may_speak.wait()
        async for delta in super().stream(prompt, sampling):
            yield delta


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serve one small store; every start is another process's, as far as the ledger can tell."""

    vectors = MemoryChunkStore(DIMENSION)

    @contextmanager
    def start(*script: str | Exception, effects: list[str] | None = None) -> Iterator[str]:
        docs = tmp_path / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "travel.txt").write_text("Trains are booked in second class.\n")

        @asynccontextmanager
        async def opening(settings: Settings) -> AsyncIterator[Live]:
            with fake_engine(tmp_path / "data", vectors=vectors) as engine:
                await Ingestor(engine).run([docs], "default")
                model = ScriptedChatModel(*(script or ("Trains are booked in second class.",)))
                yield Live(engine, Answerer(engine.retriever, model, settings.chat))

        app = create_app(load_settings(), opening)

        @app.post("/v1/feedback/failing")
        async def failing(body: dict[str, str]) -> None:
            (effects if effects is not None else []).append(body["name"])
            raise RuntimeError("a bug")

        with serving(app) as url:
            yield url

    return start


def ask(url: str, key: str, path: str = CHAT, **change: Any) -> httpx.Response:
    return httpx.post(f"{url}{path}", json={**BODY, **change}, headers={KEY: key}, timeout=30)


def conversations(url: str) -> int:
    return len(httpx.get(f"{url}/v1/conversations?limit=100").json()["data"])


def files(url: str) -> list[str]:
    return [file["id"] for file in httpx.get(f"{url}/v1/files").json()["data"]]


def test_a_repeated_request_gets_the_first_answer(serve: Serve) -> None:
    with serve() as url:
        first, second, other = ask(url, "a"), ask(url, "a"), ask(url, "b")
        assert (first.status_code, REPLAYED in first.headers) == (200, False)
        assert (second.status_code, second.content, second.headers[REPLAYED]) == (200, first.content, "true")
        assert second.headers["content-type"] == first.headers["content-type"]
        assert other.json()["id"] != first.json()["id"]
        assert conversations(url) == 2
    with serve() as url:
        again = ask(url, "a")
        assert (again.content, again.headers[REPLAYED], conversations(url)) == (first.content, "true", 2)


@pytest.mark.parametrize("change", [{"temperature": 1}, {"path": f"{CHAT}?x=1"}, {"path": "/v1/feedback"}])
def test_a_key_belongs_to_one_request(serve: Serve, change: dict[str, Any]) -> None:
    with serve() as url:
        ask(url, "a")
        refused = ask(url, "a", **change)
        assert refused.status_code == 400
        assert (refused.json()["error"]["type"], refused.json()["error"]["code"]) == (
            "idempotency_error", "idempotency_mismatch",
        )  # fmt: skip
        assert conversations(url) == 1


def test_fifty_at_once_are_one(serve: Serve) -> None:
    body = form(PURPOSE, FILE)
    with serve() as url, ThreadPoolExecutor(50) as pool:
        chats = list(pool.map(lambda _: ask(url, "chat"), range(50)))
        uploads = list(pool.map(lambda _: post(url, body, **{KEY: "upload"}), range(50)))
        assert conversations(url) == 1
        (kept,) = files(url)
        for replies in (chats, uploads):
            statuses = [reply.status_code for reply in replies]
            assert set(statuses) <= {200, 409}
            assert len({reply.content for reply in replies if reply.status_code == 200}) == 1
            assert sum(reply.status_code == 200 and REPLAYED not in reply.headers for reply in replies) == 1
        assert post(url, body, **{KEY: "upload"}).json()["id"] == kept


def test_a_request_that_is_still_at_work_says_so(tmp_path: Path) -> None:
    async def overlapping(live: Live, model: SlowChatModel) -> list[httpx.Response]:
        app = create_app(load_settings())
        app.state.live = live
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            sent = {**BODY, "conversation": None}
            first = asyncio.create_task(client.post(CHAT, json=sent, headers={KEY: "a"}))
            await model.begun.wait()
            second = await client.post(CHAT, json=sent, headers={KEY: "a"})
            model.may_speak.set()
            return [await first, second, await client.post(CHAT, json=sent, headers={KEY: "a"})]

    async def told(data: Path, docs: Path) -> list[httpx.Response]:
        with fake_engine(data) as engine:
            await Ingestor(engine).run([docs], "default")
            model = SlowChatModel("Trains are booked in second class.")
            answerer = Answerer(engine.retriever, model, engine.settings.chat)
            return await overlapping(Live(engine, answerer), model)

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "travel.txt").write_text("Trains are booked in second class.\n")
    first, second, third = asyncio.run(told(tmp_path / "data", docs))
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert (third.content, third.headers[REPLAYED]) == (first.content, "true")


@pytest.mark.parametrize(
    ("failure", "status", "is_kept"),
    [(UpstreamRejectedError("wrong key"), 502, True), (UpstreamUnavailableError("gone"), 503, False)],
)
def test_failures_are_kept_unless_they_ask_to_be_tried_again(
    serve: Serve, failure: Exception, status: int, is_kept: bool
) -> None:
    with serve(failure) as url:
        first, second = ask(url, "a"), ask(url, "a")
    assert (first.status_code, second.status_code) == (status, status)
    assert (REPLAYED in second.headers) == is_kept
    with serve() as url:
        assert ask(url, "a").status_code == (status if is_kept else 200)


def test_what_nobody_expected_is_kept_as_well(serve: Serve) -> None:
    effects: list[str] = []
    with serve(effects=effects) as url:
        replies = [httpx.post(f"{url}/v1/feedback/failing", json={"name": "x"}, headers={KEY: "a"}) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [500, 500]
    assert (replies[0].content, effects) == (replies[1].content, ["x"])
    assert replies[1].headers[REPLAYED] == "true"


def test_what_was_refused_can_be_sent_again_as_it_should_have_been(serve: Serve) -> None:
    with serve() as url:
        assert ask(url, "a", temperature=9).status_code == 400
        assert ask(url, "a", model="quoth/nope").status_code == 404
        assert httpx.post(f"{url}{CHAT}", content=b"{", headers={KEY: "a"}).status_code == 400
        assert ask(url, "a").status_code == 200
        assert post(url, form(PURPOSE), **{KEY: "b"}).status_code == 400
        assert post(url, form(PURPOSE, FILE), **{KEY: "b"}).status_code == 200


def test_streams_are_refused(serve: Serve) -> None:
    with serve() as url:
        refused = ask(url, "a", stream=True)
        assert (refused.status_code, "stream" in refused.json()["error"]["message"]) == (400, True)
        assert conversations(url) == 0
        assert ask(url, "a", stream=False).status_code == 200


def test_keys_that_are_none(serve: Serve) -> None:
    form_type = (b"content-type", b"multipart/form-data; boundary=b")
    with serve() as url:
        for key in ("", "x" * 256, "x" * 5000, "a\tb", "caf\xe9", "a\x7fb"):
            sent = [(KEY.encode(), key.encode("latin-1"))]
            asked = httpx.post(f"{url}{CHAT}", json=BODY, headers=sent)
            uploaded = httpx.post(f"{url}/v1/files", content=form(PURPOSE, FILE), headers=[*sent, form_type])
            assert (asked.status_code, uploaded.status_code) == (400, 400), key
        assert (conversations(url), files(url)) == (0, [])


def test_two_keys_are_refused_and_the_longest_is_not(serve: Serve) -> None:
    with serve() as url:
        assert httpx.post(f"{url}{CHAT}", json=BODY, headers=[(KEY, "a"), (KEY, "b")]).status_code == 400
        assert ask(url, "x" * 255).status_code == 200
    assert idempotency_key(Headers({})) is None


def test_reading_has_no_effect_to_repeat(serve: Serve) -> None:
    with serve() as url:
        replies = [httpx.get(f"{url}/v1/files", headers={KEY: "a"}) for _ in range(2)]
    assert [REPLAYED in reply.headers for reply in replies] == [False, False]


@pytest.mark.parametrize(
    "change",
    [
        form(PURPOSE, part(b'name="file"; filename="b.txt"', b"Trains.")),
        form(PURPOSE, part(b'name="file"; filename="a.txt"', b"Trains!")),
        form(part(b'name="purpose"', b"user_data"), part(b'name="file"; filename="a.txt"', b"Trains.")),
    ],
    ids=["name", "content", "purpose"],
)
def test_uploads_are_compared_by_what_is_in_the_form(serve: Serve, change: bytes) -> None:
    file = part(b'name="file"; filename="a.txt"', b"Trains.")
    with serve() as url:
        first = post(url, form(PURPOSE, file), **{KEY: "a"})
        same = post(url, form(file, PURPOSE, boundary=b"another"), "another", **{KEY: "a"})
        assert (same.content, same.headers[REPLAYED]) == (first.content, "true")
        other = post(url, change, **{KEY: "a"})
        assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_mismatch")
        assert len(files(url)) == 1


def test_the_keys_of_two_owners_never_meet() -> None:
    owners = {owner_of(tenant, key) for tenant in ("acme", "a:b", ":") for key in ("", "key_1", "key_2")}
    assert len(owners) == 9
