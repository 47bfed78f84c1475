"""Near duplicates: documents that share most of their runs of words, found by MinHash sketches.

A sketch holds the least values of `HASHES` hash functions over a text's shingles; the share of equal values estimates
the Jaccard similarity of two texts (Broder, 1997), with a standard error of 0.06 at most for 64 of them. Texts that
agree in one band of a sketch at least are compared (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import regex

if TYPE_CHECKING:
    from numpy.typing import NDArray

HASHES = 64
SHINGLE_WORDS = 5
SIMILAR = 0.8
_BAND = 4  # values; 16 bands find a pair of similarity 0.8 with probability 0.9998
_CROWD = 100  # texts that agree in a band
_PRIME = (1 << 31) - 1
_WORD = regex.compile(r"\p{L}+|\p{N}+")
_PIECE = 1 << 14  # shingles hashed at once: bounds the memory to some 8 MB

_random = np.random.default_rng(20260101)
_FACTORS = _random.integers(1, _PRIME, HASHES, dtype=np.uint64)
_SUMMANDS = _random.integers(0, _PRIME, HASHES, dtype=np.uint64)
_MIXERS = _random.integers(0, 1 << 63, _BAND, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def sketch_of(text: str) -> bytes | None:
    """The sketch of a text, 32-bit integers; None when it is shorter than a shingle."""
    words = [zlib.crc32(word.encode()) for word in _WORD.findall(text.casefold())]
    if len(words) < SHINGLE_WORDS:
        return None
    rows = np.lib.stride_tricks.sliding_window_view(np.array(words, np.uint64), SHINGLE_WORDS)
    shingles = np.zeros(len(rows), np.uint64)
    for column in range(SHINGLE_WORDS):
        shingles = (shingles * np.uint64(1_000_003) + rows[:, column]) % np.uint64(_PRIME)
    least = np.full(HASHES, _PRIME, np.uint64)
    for start in range(0, len(shingles), _PIECE):
        some = np.unique(shingles[start : start + _PIECE])
        # below 2**31 each, so that a product and a sum fit into 64 bits
        least = np.minimum(least, ((some[:, None] * _FACTORS + _SUMMANDS) % np.uint64(_PRIME)).min(axis=0))
    return least.astype(np.uint32).tobytes()


def similarity(one: bytes, other: bytes) -> float:
    """The estimated share of shingles that two texts have in common, 0 to 1."""
    return float(np.mean(np.frombuffer(one, np.uint32) == np.frombuffer(other, np.uint32)))


def near_duplicates(sketches: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str, float]]:
    """Pairs of names whose sketches are at least `SIMILAR`, each pair once, in the order of the names.

    Holds each sketch once, 256 bytes, and the pairs that agree in a band. Where more than `_CROWD` texts agree in one,
    they are taken for copies, and each is compared with the first of them only: the cost grows with their number, not
    with its square.

    Args:
        sketches: (name, sketch), each name once.
    """
    known = dict(sketches)
    if not known:
        return
    names = sorted(known)
    matrix = np.frombuffer(b"".join(known[name] for name in names), np.uint32).reshape(len(names), HASHES)
    known.clear()
    pairs: set[tuple[int, int]] = set()
    for start in range(0, HASHES, _BAND):
        for alike in _agreeing(matrix[:, start : start + _BAND]):
            firsts = alike[:1] if len(alike) > _CROWD else alike
            pairs.update((one, other) for at, one in enumerate(firsts) for other in alike[at + 1 :])
    for one, other in sorted(pairs):
        share = float(np.mean(matrix[one] == matrix[other]))
        if share >= SIMILAR:
            yield names[one], names[other], share


def _agreeing(band: NDArray[np.uint32]) -> Iterator[list[int]]:
    """Groups of rows that are equal, of two at least, each in ascending order."""
    # Products wrap around; rows that differ and mix to the same number cost a comparison, no more.
    mixed = (band.astype(np.uint64) * _MIXERS).sum(axis=1, dtype=np.uint64)
    order = np.argsort(mixed, kind="stable")
    edges = np.flatnonzero(np.diff(mixed[order])) + 1
    for group in np.split(order, edges):
        if len(group) > 1:
            yield group.tolist()
