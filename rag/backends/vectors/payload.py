"""What is stored of a point, and the checks that stand before every write and every search.

A point's id is the chunk's. It carries the vectors `dense` (cosine) and, unless it has no terms, `sparse` (dot product,
each query term weighted by its IDF over the collection), and this payload:

    store, document, generation     ids; indexed as keywords
    groups                          who may read it, as a list; absent where everyone may who may read the store
    attributes                      what filters may ask besides: key -> string, integer, float or list of strings

Engines are not trusted with bad vectors: Edge applies a batch up to the bad point, and replays one of an unknown name
as a point without any vector.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.backends.vectors.conditions import (
    ATTRIBUTES,
    DOCUMENT,
    GENERATION,
    GROUPS,
    STORE,
    check_key,
    encode_text,
    encode_value,
)
from rag.backends.vectors.ranking import Row
from rag.documents import AskedValue, Candidate, Point, Scores, SparseVector
from rag.errors import InvalidInputError
from rag.protocols import CandidateLists

if TYPE_CHECKING:
    from numpy.typing import NDArray

DENSE = "dense"
SPARSE = "sparse"
MAX_LIMIT = 10_000  # engines reserve memory for as many hits as they are asked for
MAX_TERM = 2**32


def payload_of(store_id: str, point: Point) -> dict[str, Any]:
    """The payload of a point.

    Raises:
        InvalidInputError: an id or attribute cannot be stored.
    """
    readers = {GROUPS: [encode_text(group, "A group") for group in point.groups]} if point.groups else {}
    return {
        **readers,
        STORE: encode_text(store_id, "The store's id"),
        DOCUMENT: encode_text(point.document_id, "The document's id"),
        GENERATION: encode_text(point.generation, "The generation"),
        ATTRIBUTES: {check_key(key): _encoded(key, value) for key, value in point.attributes.items()},
    }


def _encoded(key: str, value: AskedValue) -> str | int | float | list[str]:
    if isinstance(value, tuple):
        return [encode_text(each, f"A value of attribute {key!r}") for each in value]
    return encode_value(key, value)


def candidate_lists(by_dense: Sequence[Row], by_sparse: Sequence[Row]) -> CandidateLists:
    """Rows of the engine, best first, as the protocol returns them."""
    return CandidateLists(
        tuple(Candidate(row[0], row[1], row[2], Scores(dense=row[3])) for row in by_dense),
        tuple(Candidate(row[0], row[1], row[2], Scores(sparse=row[3])) for row in by_sparse),
    )


def check_points(points: Sequence[Point], dimension: int) -> list[Point]:
    """The points, the last of each id, when all of them can be stored.

    Raises:
        InvalidInputError: names the first point that cannot, and why.
    """
    for point in points:
        what = f"The vector of chunk {point.chunk_id}"
        check_chunk_id(point.chunk_id)
        check_dense(point.dense, dimension, what)
        check_sparse(point.sparse, what)
    return list({point.chunk_id: point for point in points}.values())


def check_chunk_id(chunk_id: str) -> str:
    """The id itself, when it is a UUID in the form whose order is the engines' order.

    Raises:
        InvalidInputError: it is not.
    """
    try:
        canonical = str(uuid.UUID(chunk_id))
    except ValueError:
        canonical = ""
    if canonical != chunk_id:
        raise InvalidInputError(
            f"The chunk id {chunk_id!r} is no lower-case UUID: make it with rag.documents.chunk_id."
        )
    return chunk_id


def check_dense(vector: NDArray[np.float32], dimension: int, what: str) -> NDArray[np.float32]:
    """The vector itself, shape (dimension,), when its length is finite in 32-bit floats.

    Raises:
        InvalidInputError: it is not.
    """
    if vector.shape != (dimension,):
        raise InvalidInputError(
            f"{what} has shape {vector.shape}, not ({dimension},): embed it with the store's model."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        values = vector.astype(np.float32, copy=False)
        finite = bool(np.isfinite(values @ values))
    if not finite:
        raise InvalidInputError(f"{what} is not finite: the embedder failed on this text; leave it out.")
    return values


def check_sparse(vector: SparseVector, what: str) -> SparseVector:
    """The vector itself, when its terms are distinct, unsigned 32-bit and finitely weighted.

    Raises:
        InvalidInputError: they are not.
    """
    if len(vector.indices) != len(vector.values):
        raise InvalidInputError(f"{what} has {len(vector.indices)} terms but {len(vector.values)} weights.")
    if len(set(vector.indices)) != len(vector.indices):
        raise InvalidInputError(f"{what} names a term twice: add the weights up.")
    if vector.indices and not (min(vector.indices) >= 0 and max(vector.indices) < MAX_TERM):
        raise InvalidInputError(f"{what} has a term outside 0 to {MAX_TERM - 1}.")
    with np.errstate(over="ignore"):
        finite = bool(np.isfinite(np.asarray(vector.values, dtype=np.float32)).all())
    if not finite:
        raise InvalidInputError(f"{what} has a weight that is not finite.")
    return vector


def check_limit(limit: int) -> int:
    """The limit itself, when it lies in 0 to `MAX_LIMIT`.

    Raises:
        InvalidInputError: it does not.
    """
    if not 0 <= limit <= MAX_LIMIT:
        raise InvalidInputError(f"The limit is {limit}: ask for 0 to {MAX_LIMIT} points.")
    return limit


def check_collection(name: str) -> str:
    """The name itself, when it is a plain file name.

    Raises:
        InvalidInputError: it is not.
    """
    plain = name.replace("-", "").replace("_", "").isalnum() and name.isascii() and len(name) <= 100
    if not plain or not name[0].isalnum():
        raise InvalidInputError(
            f"The collection name {name!r} is not made of letters, digits, hyphens and underscores."
        )
    return name
