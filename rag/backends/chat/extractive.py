"""The floor under every model: answers with the passages' own sentences, word for word.

Needs no weights, never invents, and is the baseline that a language model has to beat.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from rag.backends.chat.quotable import Quotable, is_line, quotables
from rag.backends.chat.relevance import Scored, score_by_words
from rag.concurrency import in_thread
from rag.events import FinishReason, Usage
from rag.protocols import Embedder, ModelDelta, Prompt, Reranker, Sampling
from rag.refusal import NO_ANSWER
from rag.sentences import split_sentences
from rag.settings import ChatSettings

MOST_SENTENCES: Final = 3
CONTEXT_TOKENS: Final = 32_768
LEAST_COVERAGE: Final = 0.2
CANDIDATES: Final = 12
# By words and likeness, without a reranker.
CLOSE_TO_BEST: Final = 0.7
SIMILARITY_WEIGHT: Final = 0.5
# By a reranker, whose sure scores are too sure to be compared: 0.99 and 0.9 are both good sentences.
CLOSE_TO_BEST_JUDGED: Final = 0.8
TEMPERATURE: Final = 3.0
JUDGING_MS: Final = 400.0

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")


async def create(settings: ChatSettings, models_dir: Path) -> ExtractiveChatModel:  # noqa: ARG001
    """The extractive model without an embedder; it has no settings and no files."""
    return ExtractiveChatModel()


class ExtractiveChatModel:
    """A ChatModel that quotes: 1 to 3 sentences of the hits, in the order of the document.

    Args:
        embedder: adds the likeness of question and sentence to the likeness of their words.
        reranker: judges question and sentence together, in place of that; closed with this model.
    """

    def __init__(self, embedder: Embedder | None = None, reranker: Reranker | None = None) -> None:
        self._embedder = embedder
        self._reranker = reranker

    @property
    def name(self) -> str:
        """`extractive`."""
        return "extractive"

    @property
    def context_tokens(self) -> int:
        """A bound on work, not on ability."""
        return CONTEXT_TOKENS

    def count_tokens(self, text: str) -> int:
        """Words, marks and ideographs: what this model reads."""
        return len(_TOKEN.findall(text))

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[ModelDelta]:
        """Yield sentence by sentence. Raises UpstreamError when the embedder or the reranker does."""
        chosen = await self._choose(prompt)
        pieces = _joined([quotable.text for quotable in chosen]) if chosen else [NO_ANSWER]
        pieces, reason = self._cut(_before_stop(pieces, sampling.stop), sampling.max_tokens)
        for piece in pieces:
            yield ModelDelta(text=piece)
        read = sum(self.count_tokens(hit.chunk.text) for hit in prompt.hits) + self.count_tokens(prompt.question)
        written = self.count_tokens("".join(pieces))
        yield ModelDelta(finish_reason=reason, usage=Usage(prompt_tokens=read, completion_tokens=written))

    async def close(self) -> None:
        """Release the reranker; the embedder belongs to whoever gave it."""
        if self._reranker is not None:
            await self._reranker.close()

    async def _choose(self, prompt: Prompt) -> list[Quotable]:
        candidates = await in_thread(quotables, prompt.hits)
        scored = await in_thread(score_by_words, prompt.question, candidates)
        ranked = sorted(scored, key=lambda found: (-found.score, found.quotable.hit_index, found.quotable.start))
        ranked = [found for found in ranked if found.coverage > 0]
        if not ranked or max(found.coverage for found in ranked) < LEAST_COVERAGE:
            return []
        if self._reranker is not None:
            ranked = await _by_judgement(self._reranker, prompt.question, ranked[:CANDIDATES])
            return _in_document_order(_select(ranked, CLOSE_TO_BEST_JUDGED))
        if self._embedder is not None:
            ranked = await _by_likeness(self._embedder, prompt.question, ranked[:CANDIDATES])
        return _in_document_order(_select(ranked, CLOSE_TO_BEST))

    def _cut(self, pieces: Sequence[str], max_tokens: int | None) -> tuple[list[str], FinishReason]:
        """Keep the pieces, and of the last one the words, that fit."""
        kept: list[str] = []
        left = max_tokens
        for piece in pieces:
            if left is not None and self.count_tokens(piece) > left:
                fitting = list(_TOKEN.finditer(piece))[:left]
                return [*kept, piece[: fitting[-1].end()]] if fitting else kept, "length"
            kept.append(piece)
            left = None if left is None else left - self.count_tokens(piece)
        return kept, "stop"


async def _by_likeness(embedder: Embedder, question: str, ranked: Sequence[Scored]) -> list[Scored]:
    """Order by the words' score plus the cosine, scaled so that the candidates span 0 to 1."""
    asked = await embedder.embed_query(question)
    passages = await embedder.embed_passages([found.quotable.text for found in ranked])
    cosines = passages @ asked
    spread = float(cosines.max() - cosines.min()) or 1.0
    scored = [
        Scored(found.quotable, found.terms, found.coverage,
               found.score + SIMILARITY_WEIGHT * float(cosine - cosines.min()) / spread)
        for found, cosine in zip(ranked, cosines, strict=True)
    ]  # fmt: skip
    return sorted(scored, key=lambda found: (-found.score, found.quotable.hit_index, found.quotable.start))


async def _by_judgement(reranker: Reranker, question: str, ranked: Sequence[Scored]) -> list[Scored]:
    """Order by what a reranker makes of each sentence below its heading; what it had no time for comes last."""
    texts = [f"{found.quotable.heading}\n{found.quotable.text}".strip() for found in ranked]
    judged = await reranker.score(question, texts, JUDGING_MS)
    softened = [_softened(score) for score in judged] + [0.0] * (len(ranked) - len(judged))
    scored = [
        Scored(each.quotable, each.terms, each.coverage, score) for each, score in zip(ranked, softened, strict=True)
    ]
    return sorted(scored, key=lambda found: -found.score)  # of equal scores, the better one by words


def _softened(probability: float) -> float:
    sure = min(max(probability, 1e-6), 1 - 1e-6)
    return float(1 / (1 + ((1 - sure) / sure) ** (1 / TEMPERATURE)))


def _select(ranked: Sequence[Scored], close: float) -> list[Quotable]:
    """The best sentence, and those near it that cover a part of the question which it leaves open."""
    best = ranked[0]
    chosen, covered = [best.quotable], set(best.terms)
    for found in ranked[1:]:
        if len(chosen) == MOST_SENTENCES or found.score < close * best.score:
            break
        if found.terms - covered and found.quotable.text not in {quotable.text for quotable in chosen}:
            chosen.append(found.quotable)
            covered |= found.terms
    return chosen


def _in_document_order(chosen: Sequence[Quotable]) -> list[Quotable]:
    """Documents by their best sentence, sentences by their place."""
    rank: dict[str, int] = {}
    for quotable in chosen:
        rank.setdefault(quotable.place[0], len(rank))
    return sorted(chosen, key=lambda quotable: (rank[quotable.place[0]], quotable.place[1]))


def _joined(sentences: Sequence[str]) -> list[str]:
    """The sentences, each after the first with the white space before it that keeps the two apart for any reader."""
    pieces = [sentences[0]]
    for last, sentence in pairwise(sentences):
        joiners = ("\n", "\n\n") if is_line(last) or is_line(sentence) else (" ", "\n\n")
        first = next((joiner for joiner in joiners if _stay_apart(last, joiner, sentence)), "\n\n")
        pieces.append(first + sentence)
    return pieces


def _stay_apart(last: str, joiner: str, sentence: str) -> bool:
    return any(end == len(last) for _, end in split_sentences(last + joiner + sentence))


def _before_stop(pieces: Sequence[str], stop: Sequence[str]) -> list[str]:
    """The pieces up to the first of the stop strings."""
    text = "".join(pieces)
    end = min((at for word in stop if word and (at := text.find(word)) >= 0), default=len(text))
    kept: list[str] = []
    for piece in pieces:
        if end > 0:
            kept.append(piece[:end])
        end -= len(piece)
    return kept
