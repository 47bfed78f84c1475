"""Requests and tokens a minute, how much is worked on at once, and who gets it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException

from api.admission import Admission
from api.rate_limits import Budget, Limits, Quota, RateLimitedError, duration, metered
from ingest.pipeline import Ingestor
from rag.conversation import Message
from rag.events import AnswerCompleted, Event, TextDelta, Usage
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import ServerSettings
from tests.api.keyed_app import KeyedApp, keyed_app
from tests.fakes import ScriptedChatModel

CHAT = {"model": "quoth", "messages": [{"role": "user", "content": "Which class are trains booked in?"}]}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class HeldChatModel(ScriptedChatModel):
    """Says nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__("Trains run.")
        self.go = asyncio.Event()
        self.started = 0

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        self.started += 1
        await self.go.wait()
        async for delta in super().stream(prompt, sampling):
            yield delta


async def filled(served: KeyedApp, folder: Path) -> None:
    docs = folder / "docs"
    docs.mkdir()
    (docs / "travel.txt").write_text("Trains are booked in second class.\n")
    await Ingestor(served.engine).run([docs], "default")


def test_a_quota_refills_evenly_and_one_name_is_not_another() -> None:
    clock = Clock()
    quota = Quota(60, clock)
    for _ in range(60):
        assert quota.left("a") >= 1
        quota.spend("a", 1)
    assert (quota.left("a"), quota.left("b")) == (0, 60)
    assert quota.seconds_until("a", 1) == 1
    clock.now += 30
    assert quota.left("a") == 30
    clock.now += 3600
    assert quota.left("a") == 60, "no more than a minute's worth is saved up"


def test_counting_takes_a_bounded_memory() -> None:
    clock = Clock()
    quota = Quota(10, clock)
    for number in range(30_000):
        clock.now += 0.001
        quota.spend(str(number), 1)
    assert len(quota._levels) <= 10_000
    assert quota.left("29999") < 10, "the latest are remembered"


def test_tokens_overshoot_by_one_request_at_most() -> None:
    """However many come at the same moment: what may be spent is set aside before."""
    limits = Limits.of(ServerSettings(tokens_per_minute=1000), Clock())
    budget = Budget(limits, "key")
    with budget.reserved(400), budget.reserved(400), budget.reserved(400):
        with pytest.raises(RateLimitedError) as caught, budget.reserved(400):
            pass
        assert caught.value.what == "tokens"
        for _ in range(3):
            budget.charge(400)
    assert limits.tokens.left("key") == -200
    with pytest.raises(RateLimitedError):
        budget.admit()
    assert limits.reserved == {}
    Budget(limits, "other").admit()


def test_an_answer_that_breaks_off_is_charged_as_well() -> None:
    async def events(*told: Event) -> AsyncIterator[Event]:
        for event in told:
            yield event

    async def spent(*told: Event, taken: int = 10) -> float:
        limits = Limits.of(ServerSettings(tokens_per_minute=1000), Clock())
        flow = metered(events(*told), (Message("user", "x" * 400),), Budget(limits, "key"))
        async for _ in flow:
            taken -= 1
            if not taken:
                break
        await flow.aclose()  # type: ignore[attr-defined]
        return 1000 - limits.tokens.left("key")

    whole = AnswerCompleted("x", (), Usage(30, 12), "stop")
    assert asyncio.run(spent(TextDelta("y" * 80), whole)) == 42
    assert asyncio.run(spent(TextDelta("y" * 80))) == 120
    assert asyncio.run(spent(TextDelta("y" * 80), whole, taken=1)) == 120


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0ms"), (0.0301, "31ms"), (1, "1s"), (1.5, "1.5s"), (59.999, "60s"), (360, "6m0s"), (61.2, "1m2s")],
)  # fmt: skip
def test_times_are_written_as_openai_writes_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_requests_of_a_key_are_limited_and_the_headers_say_how_much_is_left(tmp_path: Path) -> None:
    async def go() -> list[httpx.Response]:
        async with keyed_app(tmp_path, requests_per_minute=2) as served:
            for name in ("one", "two"):
                served.make_key(name)
            return [await served.call(name, "GET", "/v1/models") for name in ("one", "one", "one", "two")]

    first, second, third, other = asyncio.run(go())
    assert [reply.status_code for reply in (first, second, third, other)] == [200, 200, 429, 200]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in (first, second, third)] == ["1", "0", "0"]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    assert "x-ratelimit-limit-tokens" not in first.headers
    error = third.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert third.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/responses", {"model": "quoth", "input": "Which class?"}),
                       ("/v1/embeddings", {"model": "bag-of-words", "input": "word " * 30})],
)  # fmt: skip
def test_tokens_of_a_key_are_limited(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    async def go() -> list[httpx.Response]:
        async with keyed_app(tmp_path, tokens_per_minute=20) as served:
            await filled(served, tmp_path)
            for name in ("one", "two"):
                served.make_key(name)
            return [await served.call(name, "POST", path, json=body) for name in ("one", "one", "two")]

    first, second, other = asyncio.run(go())
    assert [reply.status_code for reply in (first, second, other)] == [200, 429, 200], second.text
    usage = first.json()["usage"]
    assert usage["total_tokens"] >= 20, "the first request spends it all"
    assert second.json()["error"]["type"] == "tokens"
    assert second.headers["x-ratelimit-remaining-tokens"] == "0"
    assert int(second.headers["retry-after"]) >= 1


def test_without_limits_nothing_is_counted(tmp_path: Path) -> None:
    async def go() -> httpx.Response:
        async with keyed_app(tmp_path) as served:
            for _ in range(100):
                reply = await served.call(None, "GET", "/v1/models")
            return reply

    reply = asyncio.run(go())
    assert reply.status_code == 200
    assert not [name for name in reply.headers if name.startswith("x-ratelimit")]


def test_wrong_keys_are_answered_ten_times_a_minute_from_one_address(tmp_path: Path) -> None:
    async def go() -> tuple[list[int], int, int, int]:
        async with keyed_app(tmp_path) as served:
            served.make_key("good")
            async with served.client("wrong") as client:
                seen = [(await client.get("/v1/models")).status_code for _ in range(14)]
                good = {"authorization": f"Bearer {served.secrets['good']}"}
                same = await client.get("/v1/models", headers=good)
                open_still = (await client.get("/health/live")).status_code
            return seen, same.status_code, open_still, (await served.call("good", "GET", "/v1/models")).status_code

    seen, same, open_still, other = asyncio.run(go())
    assert seen == [401] * 10 + [429] * 4
    assert (same, open_still, other) == (429, 200, 200), "a right key from there is not told from a wrong one"


def test_whoever_sends_no_key_is_not_counted_as_wrong(tmp_path: Path) -> None:
    async def go() -> set[int]:
        async with keyed_app(tmp_path) as served:
            served.make_key("good")
            async with served.client() as client:
                return {(await client.get("/v1/models")).status_code for _ in range(20)}

    assert asyncio.run(go()) == {401}


def test_beyond_the_slots_a_few_wait_and_the_others_are_refused_before_any_work(tmp_path: Path) -> None:
    async def go() -> tuple[list[httpx.Response], int, list[httpx.Response]]:
        model = HeldChatModel()
        async with keyed_app(tmp_path, model, max_concurrent_answers=2, max_waiting_answers=1) as served:
            await filled(served, tmp_path)
            at_work = [
                asyncio.create_task(served.call(None, "POST", "/v1/chat/completions", json=CHAT)) for _ in range(3)
            ]
            for _ in range(1000):
                await asyncio.sleep(0.01)
                if (model.started, served.app.state.answers.queued) == (2, 1):
                    break
            refused = [await served.call(None, "POST", "/v1/chat/completions", json=CHAT) for _ in range(5)]
            refused.append(await served.call(None, "POST", "/v1/responses", json={"model": "quoth", "input": "x"}))
            started = model.started
            model.go.set()
            done = [await task for task in at_work]
            assert (served.app.state.answers.held, served.app.state.answers.queued) == (0, 0)
            return refused, started, done

    refused, started, done = asyncio.run(go())
    assert started == 2
    assert [reply.status_code for reply in done] == [200] * 3
    for reply in refused:
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")
        assert reply.headers["retry-after"] == "1"
        assert reply.headers["x-request-id"]


def test_what_is_refused_for_want_of_room_is_refused_before_its_body_is_read(tmp_path: Path) -> None:
    async def go() -> tuple[int, list[int]]:
        read, statuses = 0, []

        async def body() -> AsyncIterator[bytes]:
            nonlocal read
            read += 1
            yield b"{"  # which no route would take

        async with (
            keyed_app(tmp_path, max_concurrent_answers=1, max_waiting_answers=0) as served,
            served.app.state.answers.slot(""),
        ):
            for path in ("/v1/chat/completions", "/v1/responses", "/v1/embeddings"):
                sent = {"content": body(), "headers": {"content-type": "application/json"}}
                statuses.append((await served.call(None, "POST", path, **sent)).status_code)
        return read, statuses

    assert asyncio.run(go()) == (1, [503, 503, 400])


def test_one_key_cannot_take_every_slot() -> None:
    async def go() -> tuple[int, int, bool]:
        admission = Admission(8, 0)
        held = [admission.slot("greedy") for _ in range(8)]
        entered = refused = 0
        for slot in held:
            try:
                await slot.__aenter__()
                entered += 1
            except HTTPException:
                refused += 1
        async with admission.slot("modest"):
            return entered, refused, admission.held == 8

    assert asyncio.run(go()) == (7, 1, True)


def test_a_slot_that_comes_free_goes_to_the_key_that_holds_the_fewest() -> None:
    async def go() -> list[str]:
        admission, order, leave = Admission(4, 8), [], asyncio.Event()

        async def work(key: str) -> None:
            async with admission.slot(key):
                order.append(key)
                await leave.wait()

        tasks = [asyncio.create_task(work("a")) for _ in range(3)] + [asyncio.create_task(work("b"))]
        await asyncio.sleep(0)
        for key in ("a", "a", "c"):
            tasks.append(asyncio.create_task(work(key)))
            await asyncio.sleep(0)
        assert admission.queued == 3
        tasks[3].cancel()
        await asyncio.gather(tasks[3], return_exceptions=True)
        await asyncio.sleep(0)
        seen = list(order)
        leave.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (admission.held, admission.queued) == (0, 0)
        return seen

    assert asyncio.run(go()) == ["a", "a", "a", "b", "c"]


def test_whoever_leaves_the_queue_leaves_no_slot_behind() -> None:
    async def go() -> tuple[int, int]:
        admission, leave = Admission(1, 8), asyncio.Event()

        async def work() -> None:
            async with admission.slot("key"):
                await leave.wait()

        tasks = [asyncio.create_task(work()) for _ in range(5)]
        await asyncio.sleep(0)
        # One in the queue, and, in the same turn of the loop, the one that works and the one whose turn it becomes.
        for task in (tasks[3], tasks[0], tasks[1]):
            task.cancel()
            if task is tasks[0]:
                await asyncio.sleep(0)
        await asyncio.gather(tasks[0], tasks[1], tasks[3], return_exceptions=True)
        held = admission.held
        leave.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return held, admission.held + admission.queued

    assert asyncio.run(go()) == (1, 0)
