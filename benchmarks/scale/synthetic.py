"""As many points as wanted, drawn between real texts: the same ones at every run.

A synthetic vector lies between a real passage and one of its nearest neighbours, moved along the difference of two
others, so that it stays where real passages lie. Its terms are a part of those two passages', with their weights, and
a few rare ones of its own, since a vocabulary grows with its texts.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.documents import Point, SparseVector

BLOCK = 1000
NEIGHBOURS = 24
RARE_TERMS = 4
PARTS = 50  # a filter on one part, and the store TENANT, let 2 % through
EVERYBODY, TENANT = "all", "tenant"

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Base:
    """Real passages: vectors (n, dimension) of length 1, the terms and weights of each, nearest neighbours (n, k)."""

    vectors: Vectors
    sparse: list[SparseVector]
    neighbours: NDArray[np.int64]


def make_base(vectors: Vectors, sparse: list[SparseVector]) -> Base:
    """Look up each passage's neighbours."""
    neighbours = np.empty((len(vectors), NEIGHBOURS), np.int64)
    for begin in range(0, len(vectors), BLOCK):
        likeness = vectors[begin : begin + BLOCK] @ vectors.T
        neighbours[begin : begin + BLOCK] = np.argsort(-likeness, axis=1)[:, 1 : NEIGHBOURS + 1]
    return Base(vectors, sparse, neighbours)


def block_vectors(base: Base, number: int) -> tuple[Vectors, NDArray[np.int64], NDArray[np.int64], np.random.Generator]:
    """The vectors of a block, shape (BLOCK, dimension), the two passages each lies between, and what draws the rest."""
    draw = np.random.default_rng([7, number])
    first = draw.integers(len(base.vectors), size=BLOCK)
    around = base.neighbours[first[:, None], draw.integers(NEIGHBOURS, size=(BLOCK, 3))]
    second = around[:, 0]
    share = draw.uniform(0.05, 0.5, (BLOCK, 1))
    drift = draw.uniform(-0.5, 0.5, (BLOCK, 1)) * (base.vectors[around[:, 1]] - base.vectors[around[:, 2]])
    vectors = base.vectors[first] * (1 - share) + base.vectors[second] * share + drift
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), first, second, draw


def chunk_id(number: int) -> str:
    """Ids in no order, as those of real chunks are."""
    return str(uuid.UUID(bytes=hashlib.blake2b(str(number).encode(), digest_size=16).digest()))


def store_of(number: int) -> str:
    """One point of `PARTS` belongs to the small store."""
    return TENANT if number % PARTS == PARTS - 1 else EVERYBODY


def part_of(number: int) -> int:
    """What the filter asks for; spread over both stores."""
    return number // PARTS % PARTS


def block_points(base: Base, number: int) -> Iterator[tuple[str, Point]]:
    """Points of a block with the stores that they go to."""
    vectors, first, second, draw = block_vectors(base, number)
    for row in range(BLOCK):
        at = number * BLOCK + row
        document = hashlib.blake2b(str(at // 20).encode(), digest_size=12).hexdigest()
        sparse = _mixed(base.sparse[first[row]], base.sparse[second[row]], draw)
        yield (
            store_of(at),
            Point(chunk_id(at), document, document[:16], vectors[row], sparse, {"part": part_of(at), "page": row % 30}),
        )


def _mixed(first: SparseVector, second: SparseVector, draw: np.random.Generator) -> SparseVector:
    found: dict[int, float] = {}
    for vector, share in ((second, 0.4), (first, 0.6)):
        kept = draw.random(len(vector.indices)) < share
        found |= {term: vector.values[at] for at, term in enumerate(vector.indices) if kept[at]}
    found |= {int(term): 2.0 for term in 2**31 + draw.zipf(1.15, RARE_TERMS) % 3_000_000}
    return SparseVector(tuple(found), tuple(found.values()))
