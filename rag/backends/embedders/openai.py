"""Embeddings of an OpenAI-compatible server, over HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from rag.backends.embedders.vectors import unit_vectors
from rag.concurrency import in_thread
from rag.errors import UpstreamError, UpstreamRejectedError, UpstreamUnavailableError
from rag.models.catalogue import CATALOGUE
from rag.protocols import Fingerprint
from rag.settings import EmbedderSettings
from rag.tokens import PROMPT_ENCODING, PromptTokenizer, load_prompt_tokenizer, replace_surrogates

OPENAI_URL = "https://api.openai.com/v1"
ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 30.0
TEXTS_PER_REQUEST = 64
TOKENS_PER_REQUEST = 100_000
OPENAI_MAX_TOKENS = 8191
# most open models read 512 tokens of their own, of which tiktoken counts fewer
OTHER_MAX_TOKENS = 384

Sleep = Callable[[float], Awaitable[object]]


async def create(settings: EmbedderSettings, models_dir: Path) -> OpenAIEmbedder:
    """Connect to the configured server; one probe finds the dimension.

    Raises:
        ModelNotFoundError: the tiktoken encoding is not in the models folder.
        UpstreamRejectedError: the server refused the key or the model.
        UpstreamUnavailableError: the server cannot be reached.
    """
    return await open_openai(settings, models_dir)


async def open_openai(settings: EmbedderSettings, models_dir: Path, sleep: Sleep = asyncio.sleep) -> OpenAIEmbedder:
    """As `create`; `sleep` waits between two attempts."""
    is_openai = settings.model.startswith("text-embedding-")
    encoding = "cl100k_base" if is_openai else PROMPT_ENCODING
    max_tokens = OPENAI_MAX_TOKENS if is_openai else OTHER_MAX_TOKENS
    tokenizer = await in_thread(load_prompt_tokenizer, models_dir, encoding)
    server = Server(settings, sleep)
    try:
        dimension = (await server.embed(["dimension"], None)).shape[1]
    except BaseException:
        await server.close()
        raise
    return OpenAIEmbedder(settings.model, server, tokenizer, dimension, max_tokens)


class Server:
    """`POST /embeddings`, with patience for a server that is overloaded and none for one that refuses."""

    def __init__(self, settings: EmbedderSettings, sleep: Sleep) -> None:
        url = (settings.base_url or OPENAI_URL).rstrip("/")
        key = settings.api_key.get_secret_value() if settings.api_key else None
        self._client = httpx.AsyncClient(
            timeout=settings.timeout_seconds, headers={"Authorization": f"Bearer {key}"} if key else {}
        )
        self._model, self._address, self._sleep = settings.model, f"{url}/embeddings", sleep

    async def embed(self, texts: Sequence[str], dimension: int | None) -> NDArray[np.float32]:
        """One request: unit vectors of shape (len(texts), dimension). Raises UpstreamError."""
        reply = await self._post({"model": self._model, "input": list(texts), "encoding_format": "float"})
        try:
            items = sorted(reply.json()["data"], key=lambda item: int(item["index"]))
            rows = [item["embedding"] for item in items]
        except (ValueError, KeyError, TypeError) as error:
            raise UpstreamError(f"{self._address} answered with something else than embeddings: {error!r}") from error
        return unit_vectors(rows, len(texts), dimension, self._address)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, body: dict[str, Any]) -> httpx.Response:
        failure = ""
        for attempt in range(ATTEMPTS):
            wait = min(LONGEST_WAIT_SECONDS, 0.5 * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311 - spreads clients
            try:
                reply = await self._client.post(self._address, json=body)
            except httpx.TransportError as error:
                failure = f"{type(error).__name__} {error}".strip()
            else:
                if reply.is_success:
                    return reply
                failure = f"{reply.status_code} {_reason(reply)}"
                if not _may_pass(reply):
                    raise UpstreamRejectedError(
                        f"{self._address} refused to embed with {self._model}: {failure}. "
                        "Check QUOTH_EMBEDDER__MODEL, __API_KEY and __BASE_URL."
                    )
                wait = max(wait, retry_after(reply.headers.get("Retry-After")))
            if wait > LONGEST_WAIT_SECONDS:
                break
            if attempt + 1 < ATTEMPTS:
                await self._sleep(wait)
        raise UpstreamUnavailableError(f"{self._address} does not embed at present: {failure}. Try again later.")


def _may_pass(reply: httpx.Response) -> bool:
    """Whether waiting can help. An exhausted quota is answered with 429 as well, and does not pass."""
    return reply.status_code >= 500 or (reply.status_code in {408, 409, 429} and "insufficient_quota" not in reply.text)


def _reason(reply: httpx.Response) -> str:
    """The server's own words, in one short line."""
    try:
        said = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = reply.text
    return " ".join(str(said).split())[:300]


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; 0 when there is none or it is malformed."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError):
        return 0.0


class OpenAIEmbedder:
    """A model behind an OpenAI-compatible server. Made by `create`."""

    def __init__(self, model: str, server: Server, tokenizer: PromptTokenizer, dimension: int, max_tokens: int) -> None:
        known = CATALOGUE.get(model)  # an open model behind a server wants its prefixes as well
        self._query_prefix = known.query_prefix if known else ""
        self._passage_prefix = known.passage_prefix if known else ""
        self._server, self._tokenizer = server, tokenizer
        self._max_tokens = max_tokens - tokenizer.count(self._passage_prefix)
        self._fingerprint = Fingerprint(
            model, "", "", self._query_prefix, self._passage_prefix, known.pooling if known else "", True, dimension
        )

    @property
    def fingerprint(self) -> Fingerprint:
        """What the vectors depend on; the server does not tell its weights."""
        return self._fingerprint

    @property
    def max_tokens(self) -> int:
        """The longest passage that is embedded whole; a longer one is cut there."""
        return self._max_tokens

    @property
    def tokenizer(self) -> PromptTokenizer:
        """tiktoken's: the model's own for OpenAI's models, an estimate for others."""
        return self._tokenizer

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of shape (len(texts), dimension), in the order of the texts. Raises UpstreamError."""
        vectors = np.zeros((len(texts), self._fingerprint.dimension), np.float32)
        start = 0
        for request in self._requests(texts):
            vectors[start : start + len(request)] = await self._server.embed(request, self._fingerprint.dimension)
            start += len(request)
        return vectors

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """A unit vector of shape (dimension,). Raises UpstreamError."""
        prefixed = self._query_prefix + self._cut(text)[0]
        vector: NDArray[np.float32] = (await self._server.embed([prefixed], self._fingerprint.dimension))[0]
        return vector

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _requests(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Prefixed texts in order, as many in a request as its limits allow."""
        request: list[str] = []
        left = TOKENS_PER_REQUEST
        for text in texts:
            cut, tokens = self._cut(text)
            if request and (len(request) == TEXTS_PER_REQUEST or tokens > left):
                yield request
                request, left = [], TOKENS_PER_REQUEST
            request.append(self._passage_prefix + cut)
            left -= tokens
        if request:
            yield request

    def _cut(self, text: str) -> tuple[str, int]:
        """The text up to the limit, and its tokens. Servers refuse an empty text: a space stands for it."""
        if not text:
            return " ", 1
        text = replace_surrogates(text)
        spans = self._tokenizer.offsets(text)
        if len(spans) <= self._max_tokens:
            return text, len(spans)
        return text[: spans[self._max_tokens - 1][1]], self._max_tokens
