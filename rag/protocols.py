"""What can be swapped. Each protocol has a contract suite under tests/contract/ that every backend passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rag.conversation import Message
from rag.documents import Candidate, Point, SearchHit, SparseVector
from rag.events import FinishReason, Usage
from rag.filters import Filter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What makes two embedders' vectors comparable: all of it must be equal."""

    model: str
    revision: str
    weights_sha256: str
    query_prefix: str
    passage_prefix: str
    pooling: str
    normalised: bool
    dimension: int


class Tokenizer(Protocol):
    """The embedder's own tokenizer, for exact chunk limits."""

    def count(self, text: str) -> int:
        """Tokens of `text`, without the special tokens that the model adds."""
        ...

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The span of characters of each token, in order; tokens that stand for no character are left out."""
        ...


class Embedder(Protocol):
    """Text to unit vectors."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What the vectors depend on."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest passage that is embedded whole, prefixes and special tokens taken off."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages in their order.

        Returns:
            Shape (len(texts), dimension), each row of length 1 and finite.

        Raises:
            UpstreamError: the model failed.
        """
        ...

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed one query: shape (dimension,), of length 1. Raises UpstreamError."""
        ...

    async def close(self) -> None:
        """Release the model; no call may follow."""
        ...


class SparseEncoder(Protocol):
    """Text to term weights, so that the dot product of a query and a passage is BM25 once the store adds IDF."""

    @property
    def fingerprint(self) -> str:
        """Names the tokens and constants that stored weights depend on."""
        ...

    def encode_passage(self, text: str) -> SparseVector:
        """Saturated, length-normalised term frequencies."""
        ...

    def encode_query(self, text: str) -> SparseVector:
        """How often each term stands in the question."""
        ...


@dataclass(frozen=True, slots=True)
class CandidateLists:
    """The nearest points by cosine and by words, each best first, ties by chunk id."""

    dense: tuple[Candidate, ...]
    sparse: tuple[Candidate, ...]


class ChunkStore(Protocol):
    """One Qdrant collection of points, shared by stores that it keeps apart with a filter of its own.

    Every method takes the id of the store it works in, and none sees another's points. Equal scores are ordered by
    chunk id. All raise StorageError, and StorageUnavailableError when the engine cannot be reached.
    """

    async def upsert(self, store_id: str, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same id; visible to queries on return, durable after `flush`.

        Raises:
            InvalidInputError: a vector is of the wrong length or not finite; nothing of the call was written.
        """
        ...

    async def flush(self) -> None:
        """Return once everything acknowledged before is on disk."""
        ...

    async def search(
        self,
        store_id: str,
        dense: NDArray[np.float32] | None,
        sparse: SparseVector | None,
        limit: int,
        where: Filter | None = None,
        groups: frozenset[str] | None = None,
        together: Sequence[str] = (),
    ) -> CandidateLists:
        """The `limit` nearest points by each vector that is given, in one round trip.

        Args:
            groups: of the caller: points that name groups are found when one of these is among them. None is for
                whoever may read everything.
            together: ids of the other stores that the same question is asked of: how rare a word is, is counted over
                the points of all of them that have words, so that their scores compare. No other store has a share in
                it, and no point that was deleted.
        """
        ...

    async def count(self, store_id: str, where: Filter | None = None) -> int:
        """How many points there are, exactly."""
        ...

    async def delete(self, store_id: str, where: Filter | None = None) -> None:
        """Delete the points that match; all of the store without a filter. Gone from queries on return."""
        ...

    async def identities(self, store_id: str, after: str | None, limit: int) -> list[tuple[str, str, str]]:
        """(chunk id, document id, generation) of points in ascending order of chunk id, those behind `after`."""
        ...

    async def dense_vectors(self, store_id: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors, of length 1, of those of these points that there are, by chunk id."""
        ...

    async def close(self) -> None:
        """Let go of the engine; what was flushed stays."""
        ...


class Reranker(Protocol):
    """Judges question and passage together."""

    async def score(self, question: str, passages: Sequence[str], budget_ms: float | None = None) -> list[float]:
        """Relevance of the first passages, 0 to 1, in their order: of as many as can be judged in the time.

        Args:
            passages: the most promising first.
            budget_ms: None judges all of them.

        Raises:
            UpstreamError: the model failed.
        """
        ...

    async def close(self) -> None:
        """Release the model; no call may follow."""
        ...


@dataclass(frozen=True, slots=True)
class PromptBudget:
    """Where the tokens of a prompt went. `available` is what the model takes, its answer taken off."""

    available: int
    instructions: int
    history: int
    question: int
    passages: int
    left: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a chat model may use: messages for one that reads text, question and hits for one that quotes them."""

    messages: tuple[Message, ...]
    question: str
    hits: tuple[SearchHit, ...]
    budget: PromptBudget | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the model picks its words. None leaves it to the configured default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ModelDelta:
    """The model's next characters; the last one says why it ended and what it used."""

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class ChatModel(Protocol):
    """Writes an answer from a prompt."""

    @property
    def name(self) -> str:
        """As it is configured, for logs and responses."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`: the model's own tokenizer where it is at hand, otherwise tiktoken's o200k_base."""
        ...

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        """Yield the answer as it is written; the last delta, and only it, has a `finish_reason`.

        Closing the iterator stops the work and closes the connection. A stream that ends without a `finish_reason`
        raises.

        Raises:
            UpstreamUnavailableError: unreachable, overloaded, too slow, or cut off.
            UpstreamRejectedError: refused.
        """
        ...

    async def close(self) -> None:
        """Release the model or the connections."""
        ...
