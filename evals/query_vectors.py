"""The vectors of a dataset's questions, kept in a file between runs."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.concurrency import in_thread
from rag.documents import text_key
from rag.errors import StorageError
from rag.protocols import Embedder, Fingerprint, Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RememberingEmbedder:
    """An embedder that embeds a question once; for one fingerprint a file."""

    def __init__(self, embedder: Embedder, path: Path) -> None:
        """Read what is there. Raises StorageError when the file is damaged."""
        self._embedder = embedder
        self._path = path
        self._vectors = _read(path, embedder.fingerprint.dimension)
        self._is_changed = False

    @property
    def fingerprint(self) -> Fingerprint:
        """The embedder's."""
        return self._embedder.fingerprint

    @property
    def max_tokens(self) -> int:
        """The embedder's."""
        return self._embedder.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """The embedder's."""
        return self._embedder.tokenizer

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the embedder; passages are not kept here."""
        return await self._embedder.embed_passages(texts)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of a question, embedded when it is not known. Raises UpstreamError."""
        key = text_key(text)
        if key not in self._vectors:
            self._vectors[key] = await self._embedder.embed_query(text)
            self._is_changed = True
        return self._vectors[key]

    async def close(self) -> None:
        """Nothing is held; the embedder stays open."""

    async def save(self) -> None:
        """Write the file, if there is anything new."""
        if self._is_changed:
            await in_thread(_write, self._path, self._vectors)
            self._is_changed = False


def _read(path: Path, dimension: int) -> dict[str, NDArray[np.float32]]:
    if not path.is_file():
        return {}
    try:
        with np.load(path) as stored:
            keys, vectors = stored["keys"], stored["vectors"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StorageError(f"The stored vectors {path} cannot be read ({error}). Delete the file.") from error
    if vectors.shape != (len(keys), dimension):
        raise StorageError(f"The stored vectors {path} have the shape {vectors.shape}. Delete the file.")
    return dict(zip(keys.tolist(), vectors, strict=True))


def _write(path: Path, vectors: dict[str, NDArray[np.float32]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.npz")
    np.savez(draft, keys=np.array(list(vectors)), vectors=np.stack(list(vectors.values())))
    draft.replace(path)
