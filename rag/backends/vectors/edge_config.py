"""How the Edge engine is configured: searched exactly while a collection is small, through a graph once it is large.

An index is built by the engine's optimizer only, which stops all else while it runs, so the worker opens every shard
with `exact_config`: segments that have an index keep it and use it, and nothing builds one. The builder's process opens
its copy with `index_config`. An optimizer run under `exact_config` drops the index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge

# With this threshold (in KB) the optimizer only drops deleted points, at tens of thousands of kept ones a second.
NO_INDEX = 1_000_000_000
SMALLEST_SHARE = 4  # segments of less than a quarter of `from_points` stay exact beside the indexed one

LINKS = 16
BUILD_BREADTH = 128
SEARCH_BREADTH = 128
FULL_SCAN_KB = 10_000  # a filter that leaves fewer vectors than this is searched exactly
QUANTILE = 0.99
OVERSAMPLING = 2.0


@dataclass(frozen=True, slots=True)
class Indexing:
    """When and how a collection is indexed.

    Attributes:
        from_points: how many points that no index covers are worth building one; 0 never builds any.
        quantised: search one byte a dimension in memory, then weigh the best by the vectors on disk.
    """

    from_points: int = 0
    quantised: bool = True


def exact_config(dimension: int) -> Any:
    """The worker's: builds no index."""
    return edge.EdgeConfig(
        vectors={"dense": edge.EdgeVectorParams(dimension, edge.Distance.Cosine)},
        sparse_vectors={"sparse": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        optimizers=_optimizers(NO_INDEX),
    )


def index_config(dimension: int, indexing: Indexing) -> Any:
    """The builder's: whatever is not small gets an index. Quantised, the vectors themselves need no memory."""
    if not indexing.from_points:
        return exact_config(dimension)
    int8 = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=QUANTILE, always_ram=True)
    memory = edge.Memory.Cold if indexing.quantised else edge.Memory.Cached
    return edge.EdgeConfig(
        vectors={"dense": edge.EdgeVectorParams(dimension, edge.Distance.Cosine, memory=memory)},
        sparse_vectors={"sparse": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        hnsw_config=edge.HnswIndexConfig(LINKS, BUILD_BREADTH, FULL_SCAN_KB),
        quantization_config=int8 if indexing.quantised else None,
        optimizers=_optimizers(max(1, indexing.from_points * dimension * 4 // 1024 // SMALLEST_SHARE)),
    )


def dense_params() -> Any:
    """How the dense vectors are searched; exact segments take no notice of it."""
    rescored = edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    return edge.SearchParams(hnsw_ef=SEARCH_BREADTH, quantization=rescored)


def _optimizers(indexing_threshold: int) -> Any:
    return edge.EdgeOptimizersConfig(
        indexing_threshold=indexing_threshold,
        max_segment_size=NO_INDEX,
        default_segment_number=1,
        deleted_threshold=0,
        vacuum_min_vector_number=0,
    )
