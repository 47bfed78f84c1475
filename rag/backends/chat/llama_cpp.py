"""GGUF models through llama.cpp's own server, run in this process and reached on a loopback port with a drawn key.

The HTTP form is used rather than direct calls because closing a connection also stops a prompt that is being read,
which a callback for each token cannot.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import httpx

from rag.backends.chat.silence import heard_within
from rag.concurrency import in_thread
from rag.errors import (
    ConfigurationError,
    InvalidInputError,
    MissingPackageError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)
from rag.events import FinishReason, Usage
from rag.models.resolve import resolve
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import ChatSettings

try:
    import xllamacpp
except ImportError:
    raise MissingPackageError("xllamacpp", "A GGUF model") from None

PARALLEL: Final = 2
PROMPT_CACHE_MIB: Final = 256
LOOPBACK: Final = "127.0.0.1"


async def create(settings: ChatSettings, models_dir: Path) -> LlamaCppChatModel:
    """Load the GGUF file that `settings.model`, `local:` and a name or a path, leads to.

    Raises:
        ModelNotFoundError: there is none.
        ConfigurationError: llama.cpp cannot load it.
    """
    found = await in_thread(resolve, settings.model.removeprefix("local:"), models_dir)
    weights = found.file("*.gguf")
    key = secrets.token_urlsafe(24)
    server = await in_thread(_load, weights, settings.context_tokens, key)
    try:
        return await in_thread(LlamaCppChatModel, settings, server, key)
    except httpx.HTTPError as error:
        raise ConfigurationError(f"llama.cpp loaded {weights} but does not answer: {error}.") from error


def _load(weights: Path, context_tokens: int, key: str) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.hostnames = [LOOPBACK]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.n_parallel = PARALLEL
    parameters.n_ctx = context_tokens * PARALLEL
    parameters.cache_ram_mib = PROMPT_CACHE_MIB
    parameters.endpoint_slots = False
    parameters.ui = False
    parameters.warmup = False
    parameters.verbosity = 0
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ConfigurationError(
            f"llama.cpp cannot load {weights}: {error}. The file is damaged or of a kind that this version does not "
            "know; pull the model again or set QUOTH_CHAT__MODEL to another."
        ) from error


class LlamaCppChatModel:
    """A ChatModel over one in-process llama.cpp server, which it owns."""

    def __init__(self, settings: ChatSettings, server: Any, key: str) -> None:
        self._settings = settings
        self._server = server
        headers = {"Authorization": f"Bearer {key}"}
        # One connection a request: the server ends a kept one after some requests, at times just as the next is sent.
        unkept = httpx.Limits(max_keepalive_connections=0)
        # trust_env=False: a proxy of the environment must not see what goes over the loopback.
        url, silence, endless = server.listening_address, settings.timeout_seconds, httpx.Timeout(None)
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=endless, limits=unkept, trust_env=False)
        self._blocking = httpx.Client(base_url=url, headers=headers, timeout=silence, limits=unkept, trust_env=False)
        meta = self._blocking.get("/v1/models").raise_for_status().json()["data"][0]["meta"]
        self._context_tokens: int = min(settings.context_tokens, meta["n_ctx_train"], meta["n_ctx"])

    @property
    def name(self) -> str:
        """As it is configured."""
        return self._settings.model

    @property
    def context_tokens(self) -> int:
        """The configured context, capped by the one that the model was trained with."""
        return self._context_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` by the model's own tokenizer. Raises UpstreamUnavailableError."""
        try:
            answer = self._blocking.post("/tokenize", json={"content": text}).raise_for_status()
        except httpx.HTTPError as error:
            raise UpstreamUnavailableError(f"The model {self.name} cannot count tokens: {error}.") from error
        tokens: list[int] = answer.json()["tokens"]
        return len(tokens)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[ModelDelta]:
        """Yield the answer as it is written; closing the iterator ends the generation.

        Raises:
            InvalidInputError: the prompt is longer than the context.
            UpstreamUnavailableError: the server failed, was silent for too long, or broke off.
            UpstreamRejectedError: the server refused the request for another reason.
        """
        reason: FinishReason | None = None
        usage: Usage | None = None
        events = heard_within(self._events(self._request(prompt, sampling)), self._settings.timeout_seconds, self.name)
        async with aclosing(events):
            async for event in events:
                if counted := event.get("usage"):
                    usage = Usage(counted["prompt_tokens"], counted["completion_tokens"])
                for choice in event["choices"]:
                    if text := choice["delta"].get("content"):
                        yield ModelDelta(text=text)
                    if choice["finish_reason"]:
                        reason = "length" if choice["finish_reason"] == "length" else "stop"
        if reason is None:
            raise UpstreamUnavailableError(f"The model {self.name} was cut off before its answer was whole. Try again.")
        yield ModelDelta(finish_reason=reason, usage=usage)

    async def close(self) -> None:
        """Close the connections, end the server and free the weights."""
        await self._http.aclose()
        self._blocking.close()
        server, self._server = self._server, None
        if server is not None:
            held = [server]
            del server
            await in_thread(held.clear)  # the last reference ends the server, which waits for its threads

    def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        chosen = self._settings.temperature if sampling.temperature is None else sampling.temperature
        optional = {"top_p": sampling.top_p, "seed": sampling.seed, "stop": list(sampling.stop) or None}
        return {
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "max_tokens": sampling.max_tokens or self._settings.max_answer_tokens,
            "temperature": chosen,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in optional.items() if value is not None},
        }

    async def _events(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The server's events, as it sends them."""
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=request) as response:
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(await response.aread(), response.status_code)
                async for line in _lines(response):
                    if line.startswith(b"error:"):
                        raise self._refusal(line.removeprefix(b"error:"), 500)
                    if line.startswith(b"data:") and line != b"data: [DONE]":
                        event = json.loads(line.removeprefix(b"data:"))
                        if "error" in event:
                            raise self._refusal(line.removeprefix(b"data:"), 500)
                        yield event
        except (httpx.HTTPError, ValueError) as error:
            raise UpstreamUnavailableError(f"The model {self.name} broke off: {error!r}. Try again.") from error

    def _refusal(
        self, body: bytes, status: int
    ) -> InvalidInputError | UpstreamRejectedError | UpstreamUnavailableError:
        try:
            content = json.loads(body)
            error: dict[str, Any] = content.get("error", content)
        except ValueError:
            error = {"message": body[:200].decode(errors="replace")}
        if error.get("type") == "exceed_context_size_error":
            return InvalidInputError(
                f"The prompt has {error['n_prompt_tokens']} tokens and the model {self.name} takes "
                f"{self.context_tokens}. Ask with fewer passages or less history."
            )
        kind = UpstreamRejectedError if status < 500 else UpstreamUnavailableError
        return kind(f"The model {self.name} refused: {error.get('message', status)}")


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes]:
    """Lines of a response. httpx's own would also end one at U+2028 and others, which stand in what models write."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")
    if rest:
        yield rest
