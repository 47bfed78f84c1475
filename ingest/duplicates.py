"""Near duplicates: documents that share most of their runs of words, found by MinHash sketches.

A sketch holds the least values of `HASHES` hash functions over a text's shingles; the share of equal values estimates
the Jaccard similarity of two texts (Broder, 1997), with a standard error of 0.06 at most for 64 of them. Texts that
agree in one band of a sketch at least are compared (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
import regex

HASHES = 64
SHINGLE_WORDS = 5
SIMILAR = 0.8
_BAND = 4  # values; 16 bands find a pair of similarity 0.8 with probability 0.9998
_PRIME = (1 << 31) - 1
_WORD = regex.compile(r"\p{L}+|\p{N}+")
_PIECE = 1 << 14  # shingles hashed at once: bounds the memory to some 8 MB

_random = np.random.default_rng(20260101)
_FACTORS = _random.integers(1, _PRIME, HASHES, dtype=np.uint64)
_SUMMANDS = _random.integers(0, _PRIME, HASHES, dtype=np.uint64)


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
    """Pairs of names whose sketches are at least `SIMILAR`, each pair once, in the order of the names."""
    known = dict(sketches)
    bands: defaultdict[tuple[int, bytes], list[str]] = defaultdict(list)
    width = _BAND * 4
    for name in sorted(known):
        for start in range(0, len(known[name]), width):
            bands[start, known[name][start : start + width]].append(name)
    # A band that very many share says that they are copies; each is compared with the first of them only.
    pairs = {
        (one, other)
        for names in bands.values()
        for at, one in enumerate(names[:1] if len(names) > _CROWD else names)
        for other in names[at + 1 :]
    }
    for one, other in sorted(pairs):
        share = similarity(known[one], known[other])
        if share >= SIMILAR:
            yield one, other, share


_CROWD = 100
