"""Sentence encoders as ONNX graphs: onnxruntime and tokenizers, without torch."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rag.backends.onnx_sessions import GRAPHS, INPUTS, RUNTIME_ERRORS, cores, is_dynamically_quantised, open_session
from rag.concurrency import in_thread
from rag.errors import ConfigurationError, UpstreamError
from rag.models.manifest import read_manifest
from rag.models.quantise import INT8_GRAPH, quantise_int8
from rag.models.recipe import Recipe, recipe_of
from rag.models.resolve import ModelFolder, resolve
from rag.protocols import Fingerprint
from rag.settings import EmbedderSettings, Precision
from rag.tokens import EmbedderTokenizer, replace_surrogates

logger = logging.getLogger(__name__)
REMEMBERED_QUERIES = 256
# Padded tokens of one run, where a setting does not say: beyond, a run leaves the caches (8 texts of 210 tokens took
# 10 % longer together than one by one); below, short texts do not fill the matrix products.
BATCH_TOKENS = 512


async def create(settings: EmbedderSettings, models_dir: Path) -> OnnxEmbedder:
    """Open the configured model.

    Raises:
        ModelNotFoundError: it is not on this machine, or it came without a graph.
        MissingPackageError: it is to be quantised, and the package onnx is not installed.
        ConfigurationError: its files ask for what this backend cannot do, or are torn.
    """
    return await in_thread(open_onnx, settings, models_dir)


def open_onnx(settings: EmbedderSettings, models_dir: Path) -> OnnxEmbedder:
    """As `create`, in the calling thread."""
    folder = resolve(settings.model, models_dir)
    folder, graph = graph_of(folder, settings.precision)
    tokenizer = Tokenizer.from_file(str(folder.file("tokenizer.json")))
    encoder = Encoder(open_session(graph), tokenizer, recipe_of(folder), is_dynamically_quantised(graph))
    return OnnxEmbedder(folder, graph, encoder, settings.batch_tokens or BATCH_TOKENS, settings.threads or cores())


def graph_of(folder: ModelFolder, precision: Precision) -> tuple[ModelFolder, Path]:
    """The graph of this precision, made where it can be made; and the folder as it is then. Raises as `create`."""
    graph = folder.file(*GRAPHS)
    if precision == "auto" or (precision == "int8") == is_dynamically_quantised(graph):
        return folder, graph
    if precision == "float32":
        raise ConfigurationError(f"{folder.name} came in int8. Set QUOTH_EMBEDDER__PRECISION=auto for this model.")
    made = folder.find(INT8_GRAPH)
    if made is None:
        logger.info("quantising %s to int8, once", folder.name)
        made = quantise_int8(folder)
        folder = replace(folder, manifest=read_manifest(folder.path))
    return folder, made


@dataclass(frozen=True, slots=True)
class Encoded:
    """The token ids of one text, special tokens included, and its place in the call."""

    index: int
    ids: list[int]


class Encoder:
    """Token ids through the graph to unit vectors; blocking, and safe to call from several threads.

    A dynamically quantised graph takes one scale for a whole batch: a text's vector would depend on its neighbours
    (measured on bge-small int8: cosine .993 to .997 between batches), and padding would buy no speed. So each text
    runs alone there, and the same text has the same vector always.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, tokenizer: Tokenizer, recipe: Recipe, alone: bool
    ) -> None:
        self._session, self._alone = session, alone
        self.recipe = recipe
        self.special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)
        tokenizer.no_padding()
        tokenizer.enable_truncation(recipe.max_tokens)
        self._truncating = tokenizer
        self._inputs = {node.name for node in session.get_inputs()}
        if not self._inputs <= INPUTS:
            raise ConfigurationError(
                f"The graph asks for {', '.join(sorted(self._inputs - INPUTS))}, which a sentence encoder has not. "
                "Set QUOTH_EMBEDDER__BACKEND=sentence-transformers for this model."
            )
        self.dimension = len(self.embed([Encoded(0, self.tokenise([""])[0])])[0])

    @cached_property
    def tokenizer(self) -> EmbedderTokenizer:
        """A copy that does not truncate; made when it is first asked for, as questions alone never need it."""
        return EmbedderTokenizer(Tokenizer.from_str(self._truncating.to_str()))

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens, cut at the model's limit."""
        return [item.ids for item in self._truncating.encode_batch_fast([replace_surrogates(text) for text in texts])]

    def embed(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Unit vectors of shape (len(batch), dimension). Raises UpstreamError."""
        groups = [[item] for item in batch] if self._alone else [batch]
        return np.concatenate([self._run(group) for group in groups])

    def _run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        longest = max(len(item.ids) for item in batch)
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, item in enumerate(batch):
            ids[row, : len(item.ids)] = item.ids
            mask[row, : len(item.ids)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            output = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        except RUNTIME_ERRORS as error:
            raise UpstreamError(f"The embedding model failed on text {batch[0].index}: {error}") from error
        return _unit_rows(_pool(output, mask, self.recipe.pooling), batch)


def _pool(hidden: NDArray[np.float32], mask: NDArray[np.int64], pooling: str) -> NDArray[np.float32]:
    """Hidden states (rows, tokens, dimension) to (rows, dimension); a graph that pools by itself is left alone."""
    if hidden.ndim == 2:
        return hidden
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask[:, :, None].astype(np.float32)
    pooled: NDArray[np.float32] = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return pooled


def _unit_rows(rows: NDArray[np.float32], batch: Sequence[Encoded]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    sound = np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)
    if not sound.all():
        index = batch[int(np.argmin(sound))].index
        raise UpstreamError(f"The embedding model made no finite vector of text {index}. Pull the model again.")
    unit: NDArray[np.float32] = (rows / lengths).astype(np.float32, copy=False)
    return unit


class OnnxEmbedder:
    """A sentence encoder on this machine's cores. Made by `create`.

    Passages go through the graph in `threads` runs at once, of all calls together; a question starts at once, beside
    them.
    """

    def __init__(self, folder: ModelFolder, graph: Path, encoder: Encoder, batch_tokens: int, threads: int) -> None:
        self._encoder, self._batch_tokens = encoder, batch_tokens
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="quoth-embed")
        self._queries: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        recipe = encoder.recipe
        self._fingerprint = Fingerprint(
            model=folder.manifest.name if folder.manifest else folder.name,
            revision=folder.revision,
            weights_sha256=folder.weights_sha256(graph),
            query_prefix=recipe.query_prefix,
            passage_prefix=recipe.passage_prefix,
            pooling=recipe.pooling,
            normalised=True,
            dimension=encoder.dimension,
        )
        prefix_tokens = encoder.tokenizer.count(recipe.passage_prefix) if recipe.passage_prefix else 0
        self._max_tokens = recipe.max_tokens - encoder.special_tokens - prefix_tokens

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
        return self._encoder.tokenizer

    async def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of shape (len(texts), dimension), in the order of the texts. Raises UpstreamError."""
        prefixed = [self._encoder.recipe.passage_prefix + text for text in texts]
        stop = threading.Event()
        try:
            return await in_thread(self._embed_passages, prefixed, stop)
        finally:
            stop.set()  # whoever no longer waits for the vectors no longer needs them

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """A unit vector of shape (dimension,), read-only; queries seen lately are remembered. Raises UpstreamError."""
        if text in self._queries:
            self._queries.move_to_end(text)
            return self._queries[text]
        vector = await in_thread(self._embed_query, text)
        self._queries[text] = vector
        while len(self._queries) > REMEMBERED_QUERIES:
            self._queries.popitem(last=False)
        return vector

    async def close(self) -> None:
        """Nothing is open but memory."""
        self._queries.clear()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _embed_passages(self, texts: Sequence[str], stop: threading.Event) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self._fingerprint.dimension), np.float32)

        def embed(batch: list[Encoded]) -> None:
            if not stop.is_set():
                vectors[[item.index for item in batch]] = self._encoder.embed(batch)

        encoded = self._encoder.tokenise(texts) if texts else []
        for _ in self._workers.map(embed, batches(encoded, self._batch_tokens)):
            pass  # waits, and raises what a run raised; those that have not begun are then dropped
        return vectors

    def _embed_query(self, text: str) -> NDArray[np.float32]:
        ids = self._encoder.tokenise([self._encoder.recipe.query_prefix + text])[0]
        vector: NDArray[np.float32] = self._encoder.embed([Encoded(0, ids)])[0]
        vector.flags.writeable = False
        return vector


def batches(encoded: Sequence[list[int]], batch_tokens: int) -> Iterator[list[Encoded]]:
    """Texts in batches of at most `batch_tokens` padded tokens, the longest first, so that padding is rare."""
    batch: list[Encoded] = []
    for index in sorted(range(len(encoded)), key=lambda index: -len(encoded[index])):
        if batch and (len(batch) + 1) * len(batch[0].ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(Encoded(index, encoded[index]))
    if batch:
        yield batch
