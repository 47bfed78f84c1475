"""How likely it is that what was found answers the question: a logistic model of signs that retrieval gives anyway."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from rag.bm25 import BM25Encoder
from rag.concurrency import in_thread
from rag.documents import SearchHit
from rag.events import Answerable
from rag.searching import SearchResult
from rag.sentences import split_sentences

REMEMBERED: Final = 512  # passages, whose terms are found once

_encoder = BM25Encoder()

SIGNALS: Final = ("dense", "lead", "words", "agreement", "passage", "sentence", "rare")


def signals(question: str, hits: Sequence[SearchHit]) -> dict[str, float]:
    """What speaks for an answer, each about 0 to 1, by the names of `SIGNALS`.

    Args:
        question: as it was searched for.
        hits: best first; without any, every sign is 0.

    Returns:
        `dense`, the best cosine; `lead`, how far it is ahead of the last hit's; `words`, the best BM25 score for each
        term of the question, divided by 10; `agreement`, 1 where cosine and BM25 choose the same hit; `passage` and
        `sentence`, the share of the question's terms that the best passage and the best sentence hold; `rare`, 1 where
        no passage lacks the longest of them.
    """
    asked = frozenset(_encoder.terms(question))
    if not hits or not asked:
        return dict.fromkeys(SIGNALS, 0.0)
    cosines = [hit.scores.dense or 0.0 for hit in hits]
    words = [hit.scores.sparse or 0.0 for hit in hits]
    passages = [_terms(hit.chunk.embedded_text) for hit in hits]
    sentences = (found for hit in hits for found in _sentences(hit.chunk.text))
    longest = max(asked, key=lambda term: (len(term), term))
    return {
        "dense": max(cosines),
        "lead": max(cosines) - min(cosines),
        "words": max(words) / len(asked) / 10,
        "agreement": float(cosines.index(max(cosines)) == words.index(max(words))),
        "passage": max(len(asked & found) / len(asked) for found in passages),
        "sentence": max((len(asked & found) / len(asked) for found in sentences), default=0.0),
        "rare": float(any(longest in found for found in passages)),
    }


@lru_cache(maxsize=REMEMBERED)
def _terms(text: str) -> frozenset[str]:
    return frozenset(_encoder.terms(text))


@lru_cache(maxsize=REMEMBERED)
def _sentences(text: str) -> list[frozenset[str]]:
    return [frozenset(_encoder.terms(text[start:end])) for start, end in split_sentences(text)]


@dataclass(frozen=True)
class Calibration:
    """Weights of the signs, and the probability from which an answer is tried.

    Attributes:
        embedder: the model whose cosines it was fitted to; those of others mean something else.
        fitted_on: what, in words.
        cases: how many.
    """

    embedder: str
    weights: Mapping[str, float]
    bias: float
    threshold: float
    fitted_on: str = ""
    cases: int = 0

    def probability(self, found: Mapping[str, float]) -> float:
        """The probability, 0 to 1, that these signs are of a question which the documents answer."""
        score = self.bias + math.fsum(weight * found[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "weights": dict(self.weights)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Calibration:
        """The inverse of `as_dict`."""
        return cls(**fields)


def packaged(embedder: str) -> Calibration | None:
    """The calibration that comes with Quoth for an embedder; None where there is none."""
    text = files("rag").joinpath("answerable.toml").read_text(encoding="utf-8")
    found = (Calibration.from_dict(each) for each in tomllib.loads(text)["calibration"])
    return next((calibration for calibration in found if calibration.embedder == embedder), None)


class AnswerabilityJudge:
    """Judges what was found by the calibration of its store, or else by the one that comes with Quoth.

    Args:
        embedder: the configured model's name.
        own: the calibration of a store by its id; None where it has none.
        threshold: in place of the calibration's; 0 lets every question be tried.
    """

    def __init__(
        self, embedder: str, own: Callable[[str], Awaitable[Calibration | None]], threshold: float | None = None
    ) -> None:
        self._default = packaged(embedder)
        self._own = own
        self._threshold = threshold

    async def judge(self, found: SearchResult) -> Answerable | None:
        """The probability of an answer and the threshold; None where nothing is known of this embedder's cosines."""
        own = await self._own(found.hits[0].store_id) if found.hits else None
        calibration = own or self._default
        if calibration is None:
            return None
        # Passages that were not found lately take some milliseconds, in which the event loop has better to do.
        signs = await in_thread(signals, found.question, found.hits) if found.hits else {}
        probability = calibration.probability(signs) if signs else 0.0
        threshold = calibration.threshold if self._threshold is None else self._threshold
        return Answerable(round(probability, 4), threshold)
