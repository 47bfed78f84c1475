"""Sentence encoders as ONNX graphs: onnxruntime and tokenizers, without torch."""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
from tokenizers import Tokenizer

from rag.concurrency import in_thread
from rag.errors import ConfigurationError, UpstreamError
from rag.models.recipe import Recipe, recipe_of
from rag.models.resolve import ModelFolder, resolve
from rag.protocols import Fingerprint
from rag.settings import EmbedderSettings
from rag.tokens import EmbedderTokenizer, replace_surrogates

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
GRAPHS = ("model.onnx", "onnx/model.onnx")
REMEMBERED_QUERIES = 256
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.RuntimeException,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
)


async def create(settings: EmbedderSettings, models_dir: Path) -> OnnxEmbedder:
    """Open the configured model.

    Raises:
        ModelNotFoundError: it is not on this machine, or it came without a graph.
        ConfigurationError: its files ask for what this backend cannot do, or are torn.
    """
    return await in_thread(open_onnx, settings, models_dir)


def open_onnx(settings: EmbedderSettings, models_dir: Path) -> OnnxEmbedder:
    """As `create`, in the calling thread."""
    folder = resolve(settings.model, models_dir)
    graph = folder.file(*GRAPHS)
    tokenizer = Tokenizer.from_file(str(folder.file("tokenizer.json")))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or cores()
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise ConfigurationError(f"{graph} cannot be loaded: {error}. Delete its folder and pull it again.") from error
    return OnnxEmbedder(folder, graph, Encoder(session, tokenizer, recipe_of(folder), is_dynamically_quantised(graph)),
                        settings.batch_tokens)  # fmt: skip


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_dynamically_quantised(graph: Path) -> bool:
    """Whether the graph scales its activations by what is in the batch."""
    with graph.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"DynamicQuantizeLinear") >= 0


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
    """A sentence encoder on this machine's cores. Made by `create`."""

    def __init__(self, folder: ModelFolder, graph: Path, encoder: Encoder, batch_tokens: int) -> None:
        self._encoder, self._batch_tokens = encoder, batch_tokens
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
        vectors = np.zeros((len(texts), self._fingerprint.dimension), np.float32)
        prefix = self._encoder.recipe.passage_prefix
        encoded = await in_thread(self._encoder.tokenise, [prefix + text for text in texts]) if texts else []
        for batch in batches(encoded, self._batch_tokens):
            vectors[[item.index for item in batch]] = await in_thread(self._encoder.embed, batch)
        return vectors

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
