"""What a provider's error says, and what of it is passed on; how long it asks to wait; what a chunk breaks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from rag.backends.chat.event_streams import MAX_EVENT_BYTES, BoundedStream, stated_error
from rag.backends.chat.langchain import LangChainChatModel, make_client
from rag.backends.chat.llama_cpp import LlamaCppChatModel
from rag.backends.chat.upstream import retry_after_seconds, said_of, translate
from rag.conversation import Message
from rag.errors import InvalidInputError, QuothError, UpstreamRejectedError, UpstreamUnavailableError
from rag.protocols import Prompt, Sampling
from rag.settings import ChatSettings
from tests.stub_openai import StubServer, stub_server

PROMPT = Prompt((Message("user", "One?"),), "One?", ())
SECRETS = [
    "Incorrect API key provided: sk-proj-Abc123Def456.",
    "Authorization: Bearer abc.DEF-ghi_123456 was refused",
    '{"api_key": "q1w2e3r4t5y6"} is unknown',
    "GET https://who:hush-hush@host.example/v1 failed",
    "token=q1w2e3r4t5y6&model=m",
    "organization org-AbCdEf123456 has no credit",
    "no entry for hf_AbCdEfGhIjKl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl is no token",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_not_passed_on(text: str) -> None:
    said = said_of(text, None)
    assert "***" in said
    for secret in ("Abc123", "DEF-ghi", "q1w2e3r4t5y6", "hush", "AbCdEf", "eyJ", "c2lnbmF0dXJl"):
        assert secret not in said


def test_the_configured_key_is_not_passed_on_whatever_it_looks_like() -> None:
    assert said_of("plain-words is no key", "plain-words") == " It said: *** is no key"


def test_what_is_no_secret_stays() -> None:
    text = "The tokens of a message: 40, the maximum is 30. See https://host.example/keys"
    assert said_of(text, None) == f" It said: {text}"


def test_what_was_said_is_one_short_line_without_hidden_characters() -> None:
    said = said_of("a\r\n\x1b[31mb\u202e" + "c" * 5000, None)
    assert said.startswith(" It said: a bccc")
    assert len(said) < 350


def failed(**headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://host.example")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(429, headers=headers, request=request))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "3", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(failed(**headers)) == seconds


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("overloaded", UpstreamUnavailableError),
        ({"message": "overloaded", "code": 503}, UpstreamUnavailableError),
        ({"message": "wrong key", "code": "401"}, UpstreamRejectedError),
        ({"message": "none left", "code": "insufficient_quota"}, UpstreamRejectedError),
        ({"message": "maximum context length is 10"}, InvalidInputError),
    ],
)
def test_an_error_object_is_told_by_its_code_and_words(error: object, kind: type[QuothError]) -> None:
    assert type(stated_error(error, "m", None)) is kind


def test_an_error_of_ours_goes_through_whatever_a_package_wraps_it_in() -> None:
    ours = UpstreamRejectedError("elsewhere")
    wrapped = RuntimeError("Connection error.")
    wrapped.__cause__ = ours
    assert translate(wrapped, "m", None) is ours


@dataclass
class Listening:
    """Where a model of llama.cpp is served."""

    listening_address: str


@pytest.mark.parametrize("mode", ["cut", "no-finish", "garbage", "not-utf-8", "error-event", "500", "stall", "never"])
def test_llama_cpp_fails_in_our_terms(mode: str) -> None:
    with stub_server(mode) as server, pytest.raises(UpstreamUnavailableError):
        asyncio.run(ask_llama(server))


@pytest.mark.parametrize(("mode", "said"), [("split", ""), ("line-separator", "\u2028")])
def test_llama_cpp_reads_what_is_whole(mode: str, said: str) -> None:
    with stub_server(mode) as server:
        assert asyncio.run(ask_llama(server)) == f"The term{said} is 30 days."


async def ask_llama(server: StubServer) -> str:
    settings = ChatSettings(model="local:m", timeout_seconds=0.3 if server.mode in ("stall", "never") else 20)
    model = await asyncio.to_thread(LlamaCppChatModel, settings, Listening(server.url), "key")
    try:
        return "".join([delta.text async for delta in model.stream(PROMPT, Sampling())])
    finally:
        await model.close()


class Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        for piece in self._pieces:
            yield piece


async def read(*pieces: bytes, by_line: bool) -> int:
    return sum([len(piece) async for piece in BoundedStream(Pieces(*pieces), "m", by_line=by_line)])


def test_a_stream_may_be_long_and_its_lines_may_not() -> None:
    half = b"a" * (MAX_EVENT_BYTES // 2)
    assert asyncio.run(read(*[half, b"\n"] * 10, by_line=True)) == 10 * (len(half) + 1)
    assert asyncio.run(read(half + b"\n", half, half, by_line=True)) == 3 * len(half) + 1
    for pieces, by_line in (((half, half, b"a"), True), ((half, b"\n", half), False)):
        with pytest.raises(UpstreamUnavailableError, match="1,048,576"):
            asyncio.run(read(*pieces, by_line=by_line))


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port that takes no more connections, and says nothing about it."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        try:
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


def test_a_host_that_takes_no_connection_is_given_up() -> None:
    async def run(port: int) -> None:
        settings = ChatSettings(model="openai:m", base_url=f"http://127.0.0.1:{port}/v1", timeout_seconds=0.3,
                                max_retries=0)  # fmt: skip
        model = LangChainChatModel(settings, make_client(settings), len)
        try:
            await anext(model.stream(PROMPT, Sampling()))
        finally:
            await model.close()

    with full_backlog() as port, pytest.raises(UpstreamUnavailableError):
        asyncio.run(run(port))
