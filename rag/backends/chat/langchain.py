"""Any LangChain chat model, hosted or behind an OpenAI-compatible server, as `init_chat_model` names it.

The provider's own retries are off: only here is it known whether a character of the answer has been passed on.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import httpx

from rag.backends.chat.event_streams import event_client, timeouts
from rag.backends.chat.silence import heard_within
from rag.backends.chat.upstream import retry_after_seconds, status_of, translate
from rag.concurrency import in_thread
from rag.conversation import Message
from rag.errors import (
    ConfigurationError,
    MissingPackageError,
    QuothError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)
from rag.events import FinishReason, Usage
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import ChatSettings
from rag.tokens import prompt_token_counter

try:
    from langchain.chat_models import init_chat_model
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
except ImportError as error:
    raise MissingPackageError(error.name or "langchain", "A chat model of a provider") from None

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS: Final = 0.5
NO_KEY_NEEDED: Final = "none"

LONGEST_TOKEN: Final = 100  # characters; an answer that is longer than its tokens can be never ends by itself

_PACKAGE = re.compile(r"langchain-[a-z0-9-]+")
_REASON_KEYS: Final = ("finish_reason", "stop_reason", "done_reason")
_LENGTH: Final = frozenset({"length", "max_tokens", "model_context_window_exceeded"})
_BLOCKED: Final = frozenset(
    {"content_filter", "content_filtered", "refusal", "safety", "prohibited_content", "blocklist", "spii", "recitation"}
)
_TOOLS: Final = frozenset({"tool_calls", "tool_call", "tool_use", "function_call"})
# Of endings that are none; the rest, whatever a provider calls it, is a whole answer.
_BROKEN = re.compile(
    r"error|abort|cancel|interrupt|incomplete|not_finished|insufficient|fail|pause|timeout|malformed|^other$"
)
_OPTIONS: Final = {
    "stream_options": "stream_usage", "temperature": "temperature", "top_p": "top_p", "seed": "seed",
    "extra_body": "extra_body",
}  # fmt: skip
_ROLES: Final[dict[str, type[BaseMessage]]] = {
    "system": SystemMessage, "user": HumanMessage, "assistant": AIMessage,
}  # fmt: skip


async def create(settings: ChatSettings, models_dir: Path) -> LangChainChatModel:
    """Make the client that `settings.model`, PROVIDER:MODEL, names; asks nothing of the network.

    Raises:
        MissingPackageError: the provider's package is not installed.
        ConfigurationError: there is no such provider, or it needs a key that is not set.
    """
    count = await in_thread(prompt_token_counter, models_dir)
    return LangChainChatModel(settings, await in_thread(make_client, settings), count)


def make_client(settings: ChatSettings) -> BaseChatModel:
    """The LangChain model that the settings name, its retries off. Raises as `create`."""
    options: dict[str, Any] = {
        "temperature": settings.temperature, "timeout": settings.timeout_seconds, "max_retries": 0,
    }  # fmt: skip
    if settings.base_url:
        # A key found in the environment belongs to the provider and must not be sent to another server.
        options |= {"base_url": settings.base_url, "api_key": NO_KEY_NEEDED}
    if settings.api_key:
        options["api_key"] = settings.api_key.get_secret_value()
    provider, _, model = settings.model.partition(":")
    if provider == "openai":
        options["timeout"] = timeouts(settings.timeout_seconds)
        options["http_async_client"] = event_client(settings.model, _secret(settings))
    try:
        client: BaseChatModel = init_chat_model(model, model_provider=provider, **options)
    except ImportError as error:
        found = _PACKAGE.search(str(error))
        raise MissingPackageError(found.group() if found else f"langchain-{provider}", settings.model) from error
    except Exception as error:  # a provider's own, for a key or an option that it misses; they share no base
        detail = str(translate(error, settings.model, _secret(settings)))
        if re.search(r"api[_ ]key|credential", detail, re.IGNORECASE):
            raise ConfigurationError(f"The model {settings.model} needs a key: set QUOTH_CHAT__API_KEY.") from error
        raise ConfigurationError(f"QUOTH_CHAT__MODEL is {settings.model!r}, which cannot be made: {error}") from error
    if "stream_chunk_timeout" in type(client).model_fields:
        setattr(client, "stream_chunk_timeout", None)  # noqa: B010  # silence is measured here, for all providers
    return client


def _secret(settings: ChatSettings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None


class LangChainChatModel:
    """A ChatModel over any LangChain chat model.

    Args:
        client: the model; its own retries are off.
        count: tokens of a text.
        first_backoff_seconds: wait before the first retry; each further one waits twice as long.
    """

    def __init__(
        self,
        settings: ChatSettings,
        client: BaseChatModel,
        count: Callable[[str], int],
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
    ) -> None:
        self._settings = settings
        self._client = client
        self._count = count
        self._first_backoff_seconds = first_backoff_seconds
        self._refused_options: set[str] = set()

    @property
    def name(self) -> str:
        """As it is configured."""
        return self._settings.model

    @property
    def context_tokens(self) -> int:
        """As it is configured: providers do not tell."""
        return self._settings.context_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` by tiktoken's o200k_base, which is near enough for a budget."""
        return self._count(text)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[ModelDelta]:
        """Yield the answer as it is written; closing the iterator closes the connection.

        Failures that may pass are retried until the first character has come, never after it.

        Raises:
            InvalidInputError: the prompt is longer than the model takes.
            UpstreamUnavailableError: unreachable, overloaded, silent for too long, or cut off.
            UpstreamRejectedError: refused: key, quota, model name, request, content.
        """
        retries = 0
        while True:
            has_begun = False
            try:
                async with aclosing(self._attempt(prompt, sampling)) as deltas:
                    async for delta in deltas:
                        has_begun = True
                        yield delta
                return
            except QuothError as error:
                if has_begun or not error.retryable or retries == self._settings.max_retries:
                    raise
                wait = self._wait_seconds(error, retries)
                if wait > self._settings.timeout_seconds:
                    raise
                retries += 1
                logger.warning("attempt %d of %s failed, next in %.1f s: %s", retries, self.name, wait, error)
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the connections, where they are ours: the providers' packages share theirs between models."""
        http = getattr(self._client, "http_async_client", None)
        if isinstance(http, httpx.AsyncClient):
            await http.aclose()

    def _wait_seconds(self, error: QuothError, retries: int) -> float:
        asked = retry_after_seconds(error.__cause__) if isinstance(error.__cause__, Exception) else None
        return self._first_backoff_seconds * 2**retries if asked is None else asked

    async def _attempt(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[ModelDelta]:
        """One request; text as it comes, then the ending."""
        reason: FinishReason | None = None
        usage: Usage | None = None
        length, most = 0, LONGEST_TOKEN * self._most_tokens(sampling)
        chunks = heard_within(self._chunks(prompt, sampling), self._settings.timeout_seconds, self.name)
        async with aclosing(chunks):
            async for chunk in chunks:
                if text := str(chunk.text):
                    length += len(text)
                    if length > most:
                        raise UpstreamUnavailableError(
                            f"The model {self.name} did not end where it was asked to, so it was given up. Check that "
                            "its server honours max_tokens."
                        )
                    yield ModelDelta(text=text)
                found = self._finish_reason(chunk.response_metadata)
                reason = "length" if "length" in (reason, found) else found or reason
                usage = _more_usage(usage, getattr(chunk, "usage_metadata", None))
        if reason is None:
            raise UpstreamUnavailableError(f"The model {self.name} was cut off before its answer was whole. Try again.")
        if reason == "stop" and not length:
            raise UpstreamUnavailableError(f"The model {self.name} ended without a word. Try again.")
        yield ModelDelta(finish_reason=reason, usage=usage)

    async def _chunks(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[BaseMessage]:
        """The provider's chunks that hold anything, and its exceptions in our terms.

        An option that the server refuses by name is left out from then on: none changes what the answer says.
        """
        messages = [_ROLES[message.role](content=message.content) for message in _merged(prompt.messages)]
        while True:
            try:
                async with aclosing(self._open(messages, sampling)) as chunks:
                    async for chunk in chunks:
                        if _is_heard(chunk):
                            yield chunk
                return
            except QuothError:
                raise
            except Exception as error:  # a provider's own; they share no base
                refused = self._refused_option(error)
                if refused is None:
                    raise translate(error, self.name, _secret(self._settings)) from error
                logger.warning("%s does not take %s; it is left out", self.name, refused)
                self._refused_options.add(refused)

    def _open(self, messages: list[BaseMessage], sampling: Sampling) -> Any:
        options = {name: value for name, value in self._options(sampling).items() if name not in self._refused_options}
        return self._client.astream(messages, stop=list(sampling.stop) or None, **options)

    def _options(self, sampling: Sampling) -> dict[str, Any]:
        known = type(self._client).model_fields
        most = self._most_tokens(sampling)
        options: dict[str, Any] = {"max_tokens": most}
        if "stream_usage" in known:
            options["stream_usage"] = True
        if self._settings.base_url and "extra_body" in known:
            # langchain-openai says max_completion_tokens, which older compatible servers ignore.
            options["extra_body"] = {"max_tokens": most}
        for name in ("temperature", "top_p", "seed"):
            value = getattr(sampling, name)
            if value is not None and name in known:
                options[name] = value
        return options

    def _most_tokens(self, sampling: Sampling) -> int:
        return sampling.max_tokens or self._settings.max_answer_tokens

    def _refused_option(self, error: Exception) -> str | None:
        if status_of(error) not in (400, 422):
            return None
        text = str(error)
        options = {**_OPTIONS, "max_tokens": "extra_body"}
        return next(
            (ours for theirs, ours in options.items() if theirs in text and ours not in self._refused_options), None
        )

    def _finish_reason(self, metadata: dict[str, Any]) -> FinishReason | None:
        found = next((metadata[key] for key in _REASON_KEYS if metadata.get(key)), None)
        if found is None:
            return None
        reason = str(found).casefold()
        if reason in _BLOCKED:
            raise UpstreamRejectedError(
                f"The provider's content filter stopped the model {self.name} ({reason}). Ask in other words."
            )
        if reason in _TOOLS:
            raise UpstreamRejectedError(
                f"The model {self.name} called a tool instead of answering, and Quoth gives it none. Set "
                "QUOTH_CHAT__MODEL to a model that answers in words."
            )
        if _BROKEN.search(reason):
            raise UpstreamUnavailableError(f"The model {self.name} broke its answer off ({reason}). Try again.")
        return "length" if reason in _LENGTH else "stop"


def _is_heard(chunk: BaseMessage) -> bool:
    """Whether a chunk breaks the silence: one that holds nothing only keeps the connection alive."""
    ending = any(chunk.response_metadata.get(key) for key in _REASON_KEYS)
    return bool(chunk.content or chunk.additional_kwargs or ending or getattr(chunk, "usage_metadata", None))


def _merged(messages: tuple[Message, ...]) -> list[Message]:
    """Turns of one role in a row as one, because some providers insist on taking turns."""
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1].role == message.role:
            message = Message(message.role, f"{merged.pop().content}\n\n{message.content}")  # noqa: PLW2901
        merged.append(message)
    return merged


def _more_usage(usage: Usage | None, reported: dict[str, int] | None) -> Usage | None:
    """Add what a chunk reports: some providers report the prompt first and the answer last."""
    if not reported:
        return usage
    so_far = usage or Usage()
    return Usage(
        so_far.prompt_tokens + reported.get("input_tokens", 0),
        so_far.completion_tokens + reported.get("output_tokens", 0),
    )
