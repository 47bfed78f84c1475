"""Any LangChain `Embeddings` object as an Embedder."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from rag.backends.embedders.vectors import unit_vectors
from rag.concurrency import in_thread
from rag.errors import QuothError, UpstreamError
from rag.protocols import Fingerprint, Tokenizer
from rag.tokens import load_prompt_tokenizer

T = TypeVar("T")


async def create(embeddings: Embeddings, models_dir: Path, *, name: str, max_tokens: int = 384) -> LangChainEmbedder:
    """Wrap an Embeddings object; one probe finds its dimension.

    Args:
        embeddings: of any LangChain package; its async methods are used.
        models_dir: holds the tiktoken encoding that estimates lengths.
        name: stands for the model in the store's fingerprint, so it must change when the model does.
        max_tokens: the longest passage, by o200k_base; the model's own limit less a margin.

    Raises:
        ModelNotFoundError: the encoding is not in the models folder.
        UpstreamError: the probe failed.
    """
    tokenizer = await in_thread(load_prompt_tokenizer, models_dir)
    probe = await _answer(embeddings.aembed_query("dimension"), name)
    dimension = unit_vectors([probe], 1, None, name).shape[1]
    return LangChainEmbedder(embeddings, Fingerprint(name, "", "", "", "", "", True, dimension), tokenizer, max_tokens)


class LangChainEmbedder:
    """A LangChain Embeddings object behind the Embedder protocol. Made by `create`."""

    def __init__(self, embeddings: Embeddings, fingerprint: Fingerprint, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._embeddings = embeddings
        self.fingerprint = fingerprint
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of shape (len(texts), dimension), in the order of the texts. Raises UpstreamError."""
        rows = await _answer(self._embeddings.aembed_documents(list(texts)), self.fingerprint.model) if texts else []
        return unit_vectors(rows, len(texts), self.fingerprint.dimension, self.fingerprint.model)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """A unit vector of shape (dimension,). Raises UpstreamError."""
        row = await _answer(self._embeddings.aembed_query(text), self.fingerprint.model)
        vector: NDArray[np.float32] = unit_vectors([row], 1, self.fingerprint.dimension, self.fingerprint.model)[0]
        return vector

    async def close(self) -> None:
        """The object belongs to whoever made it."""


async def _answer(call: Awaitable[T], name: str) -> T:
    try:
        return await call
    except QuothError:
        raise
    except Exception as error:  # any vendor may be behind it, each with errors of its own
        raise UpstreamError(f"The LangChain embeddings {name} failed: {error}") from error
