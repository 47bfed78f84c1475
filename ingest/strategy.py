"""The static chunking strategy of the API: how long the chunks of one upload are, and how much neighbours share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rag.assembly import Engine
from rag.errors import InvalidInputError

LEAST_TOKENS: Final = 100
MOST_TOKENS: Final = 4096
SIZE: Final = "max_chunk_size_tokens"
OVERLAP: Final = "chunk_overlap_tokens"


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a document is cut, in tokens of the embedder."""

    max_tokens: int
    overlap_tokens: int = 0


def in_force(engine: Engine, asked: Mapping[str, int]) -> dict[str, int]:
    """The strategy that an upload is cut by when this one is asked for; {} stays {}, the engine's own settings.

    No chunk is longer than the embedder reads, so a longer one is cut down to that, and the overlap to half of it. To
    refuse it would serve nobody: OpenAI's own default of 800 and 400 tokens, which clients send without thought, is
    more than most embedders read. What is in force is what the file's object shows.

    Raises:
        InvalidInputError: a number lies outside of what OpenAI allows.
    """
    if not asked:
        return {}
    size, overlap = asked.get(SIZE), asked.get(OVERLAP)
    if size is None or overlap is None or len(asked) != 2:
        raise InvalidInputError(f"A static chunking strategy has {SIZE} and {OVERLAP}, and nothing else.")
    if not LEAST_TOKENS <= size <= MOST_TOKENS:
        raise InvalidInputError(f"{SIZE} is {size}: use {LEAST_TOKENS} to {MOST_TOKENS}.")
    if not 0 <= overlap <= size // 2:
        raise InvalidInputError(f"{OVERLAP} is {overlap}: use 0 to half of {SIZE}.")
    size = min(size, engine.embedder.max_tokens)
    return {SIZE: size, OVERLAP: min(overlap, size // 2)}


def shown(engine: Engine, stored: Mapping[str, int]) -> dict[str, int]:
    """The strategy of a stored file in numbers, also where it is the engine's own."""
    return dict(stored) if stored else {SIZE: engine.chunk_tokens, OVERLAP: 0}


def chunking_of(stored: Mapping[str, int]) -> Chunking | None:
    """A stored strategy as ingest uses it; None for the engine's own."""
    return Chunking(stored[SIZE], stored[OVERLAP]) if stored else None
