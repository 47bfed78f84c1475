"""sentence-transformers on torch: every model it can load, at the price of its start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from rag.concurrency import in_thread
from rag.errors import ConfigurationError, UpstreamError
from rag.models.recipe import Recipe, recipe_of
from rag.models.resolve import ModelFolder, resolve
from rag.protocols import Fingerprint
from rag.settings import EmbedderSettings
from rag.tokens import EmbedderTokenizer, replace_surrogates

WEIGHTS = ("model.safetensors", "model-00001-of-*.safetensors", "pytorch_model.bin")
TYPICAL_TOKENS = 256
BATCH_TOKENS = 4096


async def create(settings: EmbedderSettings, models_dir: Path) -> SentenceTransformerEmbedder:
    """Open the configured model; on a GPU where torch finds one.

    Raises:
        ModelNotFoundError: it is not on this machine, or it came without torch weights.
        ConfigurationError: its files cannot be loaded.
    """
    return await in_thread(_open, settings, models_dir)


def _open(settings: EmbedderSettings, models_dir: Path) -> SentenceTransformerEmbedder:
    folder = resolve(settings.model, models_dir)
    weights = folder.file(*WEIGHTS)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        model = SentenceTransformer(str(folder.path), local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"sentence-transformers cannot load {folder.path}: {error}") from error
    recipe = recipe_of(folder)
    model.max_seq_length = recipe.max_tokens
    tokenizer = Tokenizer.from_file(str(folder.file("tokenizer.json")))
    return SentenceTransformerEmbedder(folder, weights, model, recipe, tokenizer, settings.batch_tokens or BATCH_TOKENS)


class SentenceTransformerEmbedder:
    """A SentenceTransformer as an Embedder. Made by `create`."""

    def __init__(
        self,
        folder: ModelFolder,
        weights: Path,
        model: SentenceTransformer,
        recipe: Recipe,
        tokenizer: Tokenizer,
        batch_tokens: int,
    ) -> None:
        self._model, self._recipe = model, recipe
        self._batch_size = max(1, batch_tokens // min(recipe.max_tokens, TYPICAL_TOKENS))
        special = tokenizer.num_special_tokens_to_add(is_pair=False)
        self._tokenizer = EmbedderTokenizer(tokenizer)
        self._max_tokens = recipe.max_tokens - special - self._tokenizer.count(recipe.passage_prefix)
        self._fingerprint = Fingerprint(
            model=folder.manifest.name if folder.manifest else folder.name,
            revision=folder.revision,
            weights_sha256=folder.weights_sha256(weights),
            query_prefix=recipe.query_prefix,
            passage_prefix=recipe.passage_prefix,
            pooling=recipe.pooling,
            normalised=True,
            dimension=len(self._encode([""])[0]),
        )

    @property
    def fingerprint(self) -> Fingerprint:
        """What the vectors depend on."""
        return self._fingerprint

    @property
    def max_tokens(self) -> int:
        """The longest passage that is embedded whole; a longer one is cut there."""
        return self._max_tokens

    @property
    def tokenizer(self) -> EmbedderTokenizer:
        """The model's tokenizer."""
        return self._tokenizer

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of shape (len(texts), dimension), in the order of the texts. Raises UpstreamError."""
        if not texts:
            return np.zeros((0, self._fingerprint.dimension), np.float32)
        return await in_thread(self._encode, [self._recipe.passage_prefix + text for text in texts])

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """A unit vector of shape (dimension,). Raises UpstreamError."""
        vector: NDArray[np.float32] = (await in_thread(self._encode, [self._recipe.query_prefix + text]))[0]
        return vector

    async def close(self) -> None:
        """Nothing is open but memory."""

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        try:
            # prompt="" overrides a default prompt of the model's own: the prefix is in the text already
            vectors = self._model.encode(
                [replace_surrogates(text) for text in texts],
                prompt="",
                batch_size=self._batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        except RuntimeError as error:
            raise UpstreamError(f"sentence-transformers failed on {len(texts)} texts: {error}") from error
        found = np.asarray(vectors, dtype=np.float32)
        unsound = ~np.isfinite(found).all(axis=1)
        if unsound.any():
            raise UpstreamError(f"The embedding model made no finite vector of text {int(np.argmax(unsound))}.")
        return found
