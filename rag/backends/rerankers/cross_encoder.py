"""Cross-encoders as ONNX graphs: question and passage go through the model together, as many pairs as time allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rag.backends.onnx_sessions import GRAPHS, INPUTS, RUNTIME_ERRORS, cores, open_session
from rag.concurrency import in_thread
from rag.errors import ConfigurationError, UpstreamError
from rag.models.resolve import resolve
from rag.settings import RetrievalSettings
from rag.tokens import replace_surrogates

LONGEST_PAIR = 512
# A question takes at most this part of a pair: a passage that is not seen cannot be judged.
QUESTION_SHARE = 3


async def create(settings: RetrievalSettings, models_dir: Path) -> CrossEncoder:
    """Open the configured reranker.

    Raises:
        ModelNotFoundError: it is not on this machine, or it came without a graph.
        ConfigurationError: its graph is torn, or is none of a cross-encoder with one output.
    """
    return await in_thread(_open, settings, models_dir)


def _open(settings: RetrievalSettings, models_dir: Path) -> CrossEncoder:
    folder = resolve(settings.reranker, models_dir)
    graph = folder.file(*GRAPHS)
    tokenizer = Tokenizer.from_file(str(folder.file("tokenizer.json")))
    return CrossEncoder(folder.name, open_session(graph), tokenizer)


class CrossEncoder:
    """Judges as many pairs at once as there are cores. Made by `create`.

    Each pair runs alone: in a graph that is quantised dynamically a score would depend on the other pairs of its
    batch, and padding would buy no speed. So the clock can be asked before every pair.
    """

    def __init__(self, name: str, session: onnxruntime.InferenceSession, tokenizer: Tokenizer) -> None:
        self._name = name
        self._session = session
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._workers = ThreadPoolExecutor(cores(), thread_name_prefix="quoth-rerank")
        self._inputs = {node.name for node in session.get_inputs()}
        if not self._inputs <= INPUTS or session.get_outputs()[0].shape[-1:] != [1]:
            raise ConfigurationError(
                f"{name} is no cross-encoder with one score. Set QUOTH_RETRIEVAL__RERANKER to one that is."
            )

    async def score(self, question: str, passages: Sequence[str], budget_ms: float | None = None) -> list[float]:
        """Relevance of the first passages, 0 to 1. See Reranker."""
        deadline = None if budget_ms is None else time.perf_counter() + budget_ms / 1000
        stop = threading.Event()
        try:
            return await in_thread(self._score, question, passages, deadline, stop)
        finally:
            stop.set()  # whoever no longer waits for the scores no longer needs them

    async def close(self) -> None:
        """Nothing is open but memory and threads that wait."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _score(
        self, question: str, passages: Sequence[str], deadline: float | None, stop: threading.Event
    ) -> list[float]:
        asked = self._tokenizer.encode(replace_surrogates(question), add_special_tokens=False).ids
        asked = asked[: LONGEST_PAIR // QUESTION_SHARE]

        def judge(passage: str) -> float | None:
            if stop.is_set() or (deadline is not None and time.perf_counter() >= deadline):
                return None
            return self._judge(asked, passage)

        found = self._workers.map(judge, passages)
        return [score for score in takewhile(lambda score: score is not None, found) if score is not None]

    def _judge(self, asked: list[int], passage: str) -> float:
        ids, kinds = self._pair(asked, passage)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": kinds}
        try:
            output = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        except RUNTIME_ERRORS as error:
            raise UpstreamError(f"The reranker {self._name} failed: {error}") from error
        score = float(1 / (1 + np.exp(-float(output[0, 0]))))
        if not np.isfinite(score):
            raise UpstreamError(f"The reranker {self._name} made no finite score. Pull the model again.")
        return score

    def _pair(self, asked: list[int], passage: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and segment numbers of `[CLS] question [SEP] passage [SEP]`, the passage cut to what fits."""
        begin, end = self._tokenizer.token_to_id("[CLS]"), self._tokenizer.token_to_id("[SEP]")
        read = self._tokenizer.encode(replace_surrogates(passage), add_special_tokens=False).ids
        read = read[: LONGEST_PAIR - len(asked) - 3]
        ids = np.array([[begin, *asked, end, *read, end]], np.int64)
        kinds = np.array([[0] * (len(asked) + 2) + [1] * (len(read) + 1)], np.int64)
        return ids, kinds
