"""First-class fakes: they implement the protocols, so that no test patches anything."""

import re
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag.assembly import Engine, make_engine
from rag.backends.vectors.memory import MemoryChunkStore
from rag.ledger.connection import connect
from rag.protocols import ChunkStore, Embedder, Fingerprint, ModelDelta, Prompt, Sampling
from rag.settings import load_settings

DIMENSION = 64


class WordTokenizer:
    """A token is a word or a sign."""

    def count(self, text: str) -> int:
        return len(self.offsets(text))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


class BagOfWordsEmbedder:
    """Counts words by hash; near are texts that share words. `failing` texts make it fail as an upstream would."""

    def __init__(self, model: str = "bag-of-words") -> None:
        self.fingerprint = Fingerprint(model, "1", "none", "", "", "sum", True, DIMENSION)
        self.max_tokens = 256
        self.tokenizer = WordTokenizer()
        self.embedded = 0

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += len(texts)
        return np.stack([self._embed(text) for text in texts]) if texts else np.zeros((0, DIMENSION), np.float32)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        return self._embed(text)

    async def close(self) -> None:
        """Nothing is held."""

    def _embed(self, text: str) -> NDArray[np.float32]:
        vector = np.full(DIMENSION, 0.01, np.float32)
        for word in re.findall(r"\w+", text.casefold()):
            vector[zlib.crc32(word.encode()) % DIMENSION] += 1
        return vector / np.linalg.norm(vector)


class ScriptedChatModel:
    """Says what it was told to say, and raises where it was told to."""

    name = "scripted"
    context_tokens = 4096

    def __init__(self, *script: str | Exception, finish: bool = True) -> None:
        self._script = script
        self._finish = finish
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []
        self.closed = 0

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        self.prompts.append(prompt)
        self.samplings.append(sampling)
        try:
            for step in self._script:
                if isinstance(step, Exception):
                    raise step
                yield ModelDelta(text=step)
            if self._finish:
                yield ModelDelta(finish_reason="stop")
        finally:
            self.closed += 1

    async def close(self) -> None:
        """Nothing is held."""


@contextmanager
def fake_engine(
    data_dir: Path, embedder: Embedder | None = None, vectors: ChunkStore | None = None, ledger_url: str | None = None
) -> Iterator[Engine]:
    """An engine over a real ledger, a store in memory and an embedder that counts words."""
    settings = load_settings({"data_dir": data_dir})
    ledger = connect(data_dir, ledger_url)
    embedder = embedder or BagOfWordsEmbedder()
    vectors = vectors or MemoryChunkStore(DIMENSION)
    yield make_engine(settings, ledger, vectors, embedder, "fake")
    ledger.dispose()
