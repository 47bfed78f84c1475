"""What another program returned as embeddings: checked, and scaled to length 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag.errors import UpstreamError


def unit_vectors(rows: Sequence[Sequence[float]], count: int, dimension: int | None, who: str) -> NDArray[np.float32]:
    """Rows as unit vectors.

    Args:
        rows: one for each text, in their order.
        count: how many texts there were.
        dimension: the expected one; None accepts any, the same for all rows.
        who: names the upstream in errors.

    Returns:
        Shape (count, dimension), each row finite and of length 1.

    Raises:
        UpstreamError: rows are missing, not numbers, of another dimension, not finite, or zero.
    """
    if len(rows) != count:
        raise UpstreamError(f"{who} returned {len(rows)} vectors for {count} texts.")
    try:
        found = np.asarray(rows, dtype=np.float64).reshape(count, -1) if count else np.zeros((0, dimension or 0))
    except (ValueError, TypeError) as error:
        raise UpstreamError(f"{who} returned vectors that are no lists of numbers of one length: {error}") from error
    if dimension is not None and found.shape[1] != dimension:
        raise UpstreamError(f"{who} returned vectors of dimension {found.shape[1]} instead of {dimension}.")
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    sound = np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)
    if not sound.all():
        raise UpstreamError(f"{who} returned no finite vector for text {int(np.argmin(sound))}.")
    unit: NDArray[np.float32] = (found / lengths).astype(np.float32)
    return unit
