"""One collection in the Edge engine. Runs in the worker process only: the engine holds the interpreter's lock."""

from __future__ import annotations

import shutil
import time
from array import array
from pathlib import Path
from typing import Any, cast

import qdrant_edge as edge

from rag.backends.vectors.attribute_keys import kinds_of
from rag.backends.vectors.conditions import DOCUMENT, GENERATION, GROUPS, STORE
from rag.backends.vectors.edge_attributes import AT_ONCE_POINTS, AttributeIndexes, field_params
from rag.backends.vectors.edge_config import Indexing, dense_params, exact_config, index_config
from rag.backends.vectors.edge_filters import compile_filter
from rag.backends.vectors.ranking import cut, first_ask, next_ask

# A log file of the engine is dropped once a later one is full and applied, so two files' worth pushes out what was.
LOG_FILE_BYTES = 32 << 20
FILLER_BYTES = 4 << 20
COVERED = "indexed-points"  # a file beside the shard's own, once it has an index
KEPT_CORPORA = 1000  # of which it is known whether they are all points
DELETED = "deleted-points"  # a file beside the shard's own, while what was deleted may still be read from its files

Identity = tuple[str, str, str]
Row = tuple[str, str, str, float]


class Shard:
    """A folder of points with the vectors `dense` and `sparse`. Every method raises what the engine raises: Exception.

    Conditions are those of rag.backends.vectors.conditions, as they come off the wire.
    """

    def __init__(self, path: Path, dimension: int, build: Indexing | None = None) -> None:
        """Open the folder, or create it: in a folder beside it first, so that a crash leaves none half made.

        Args:
            path: of the folder.
            dimension: of the dense vectors.
            build: what `optimise` makes of it; None for a shard that is served.
        """
        config = index_config(dimension, build) if build else exact_config(dimension)
        if not path.exists():
            draft = path.with_name(f".{path.name}.new")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            created = edge.EdgeShard.create(str(draft), config)
            for name in (STORE, DOCUMENT, GENERATION, GROUPS):
                created.update(edge.UpdateOperation.create_field_index(name, field_params(name)))
            created.flush()
            created.close()
            draft.rename(path)
        self._shard = edge.EdgeShard.load(str(path), config)
        self.path = path
        self._builds_index = build is not None and build.from_points > 0
        self.dimension = dimension
        self._sizes: tuple[int, int] | None = None  # until something is written
        self.dirty_since: float | None = None
        self._everything: dict[frozenset[str], bool] = {}  # by the corpus' stores
        self.attributes = AttributeIndexes(self._shard)
        self._deleted = path / DELETED
        self.deleted_since = time.monotonic() if self._deleted.exists() else None

    def upsert(
        self,
        ids: list[str],
        payloads: list[dict[str, Any]],
        dense: bytes,
        lengths: bytes,
        indices: bytes,
        values: bytes,
    ) -> None:
        """Write points.

        Args:
            ids: of the points, distinct.
            payloads: of each.
            dense: float32, the vectors one behind the other.
            lengths: uint32, how many terms each sparse vector has.
            indices: uint32, the terms of all sparse vectors one behind the other.
            values: float32, their weights.
        """
        rows, counts = _floats(dense), memoryview(lengths).cast("I")
        terms, weights = memoryview(indices).cast("I"), _floats(values)
        if not len(ids) == len(payloads) == len(counts) or len(rows) != len(ids) * self.dimension:
            raise ValueError(f"{len(ids)} points with {len(rows)} floats do not fit dimension {self.dimension}")
        points, start = [], 0
        for row, (point_id, payload, count) in enumerate(zip(ids, payloads, counts, strict=True)):
            vectors: dict[str, Any] = {"dense": rows[row * self.dimension : (row + 1) * self.dimension]}
            if count:
                span = slice(start, start + count)
                vectors["sparse"] = edge.SparseVector(terms[span].tolist(), weights[span])
                start += count
            points.append(edge.Point(point_id, vectors, payload))
        self._soil()
        self.attributes.want(kinds_of(payloads))
        if not self.attributes.is_complete and self.sizes()[0] < AT_ONCE_POINTS:
            self.attributes.make_all()
        self._shard.update(edge.UpdateOperation.upsert_points(points))
        self._sizes = None
        written = {payload[STORE] for payload in payloads}
        for stores in self._everything:
            self._everything[stores] &= written <= stores

    def search(
        self, condition: list[Any], corpus: list[Any], dense: bytes | None, indices: bytes, values: bytes, limit: int
    ) -> tuple[list[Row], list[Row]]:
        """The nearest points by each vector: by `dense` unless it is None, by the sparse one unless it is empty.

        Args:
            corpus: condition of the points whose words are counted, to weigh them by their rarity.
        """
        where = compile_filter(condition)
        queries: dict[str, Any] = {}
        params: dict[str, Any] = {"dense": dense_params(), "sparse": None}
        if dense is not None:
            queries["dense"] = edge.Query.Nearest(_floats(dense), using="dense")
        if indices:
            terms, weights = memoryview(indices).cast("I").tolist(), _floats(values)
            queries["sparse"] = edge.Query.Nearest(edge.SparseVector(terms, weights), using="sparse")
            if not self._is_everything(corpus):
                params["sparse"] = edge.SearchParams(idf=edge.IdfParams(corpus=compile_filter(corpus)))
        found: dict[str, list[Row]] = {"dense": [], "sparse": []}
        asks: dict[str, int] = dict.fromkeys(queries, first_ask(limit))
        while asks:
            answers = self._query([(queries[name], asked, params[name]) for name, asked in asks.items()], where)
            again: dict[str, int] = {}
            for (name, asked), rows in zip(asks.items(), answers, strict=True):
                found[name] = cast("list[Row]", cut(rows, limit))
                more = next_ask(rows, limit, asked)
                if more:
                    again[name] = more
            asks = again
        return found["dense"], found["sparse"]

    def _is_everything(self, corpus: list[Any]) -> bool:
        """Whether the counts that the engine keeps are those of the corpus: counting anew takes as long as a search.

        The engine's include deleted points until these are purged.
        """
        if self.deleted_since is not None:
            return False
        stores = frozenset([corpus[2]] if corpus[0] == "match" else corpus[2])
        if stores not in self._everything:
            if len(self._everything) >= KEPT_CORPORA:
                self._everything.clear()
            self._everything[stores] = self.count(corpus) == self._shard.count(edge.CountRequest(exact=True))
        return self._everything[stores]

    def _query(self, queries: list[tuple[Any, int, Any]], where: Any) -> list[list[Row]]:
        requests = [
            edge.QueryRequest(
                limit=limit, query=query, filter=where, params=params, with_payload=["document", "generation"]
            )
            for query, limit, params in queries
        ]
        answers = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return [[(str(hit.id), *_document(hit.payload), hit.score) for hit in hits] for hits in answers]

    def count(self, condition: list[Any]) -> int:
        """How many points match, exactly."""
        return int(self._shard.count(edge.CountRequest(exact=True, filter=compile_filter(condition))))

    def delete(self, condition: list[Any]) -> None:
        """Delete the points that match."""
        self._soil()
        self._everything.clear()
        if self.deleted_since is None:
            self._deleted.touch()
            self.deleted_since = time.monotonic()
        self._shard.update(edge.UpdateOperation.delete_points_by_filter(compile_filter(condition)))

    def identities(self, condition: list[Any], after: str | None, limit: int) -> list[Identity]:
        """Points in the order of their ids, behind `after`."""
        request = edge.ScrollRequest(
            offset=after,  # included, if it is still there
            limit=limit + 1,
            filter=compile_filter(condition),
            with_payload=["document", "generation"],
        )
        records, _ = self._shard.scroll(request)
        found = [(str(each.id), *_document(each.payload)) for each in records]
        return [each for each in found if each[0] != after][:limit]

    def vectors(self, condition: list[Any], limit: int) -> list[tuple[str, bytes]]:
        """The dense vectors, float32, of at most `limit` points that match."""
        request = edge.ScrollRequest(
            limit=limit, filter=compile_filter(condition), with_payload=False, with_vector=["dense"]
        )
        records, _ = self._shard.scroll(request)
        return [(str(each.id), array("f", cast("Any", each.vector)["dense"]).tobytes()) for each in records]

    def flush(self) -> None:
        """Return once all that was written is on disk."""
        self._shard.flush()
        self.dirty_since = None

    def _soil(self) -> None:
        self._sizes = None
        if self.dirty_since is None:
            self.dirty_since = time.monotonic()

    def index_attributes(self) -> None:
        """Make payload indexes that are missing: all, or one, which on a large shard takes long enough."""
        if self.attributes.is_complete:
            return
        self._soil()
        if self.sizes()[0] < AT_ONCE_POINTS:
            self.attributes.make_all()
        else:
            self.attributes.make_one()

    def sizes(self) -> tuple[int, int]:
        """How many points there are, and how many of them no index covers."""
        if self._sizes is None:
            info = self._shard.info()
            points, counted = int(info.points_count), int(info.indexed_vectors_count)
            covered, counted_then = self._read_covered()
            # The engine counts the vectors of an index until it is built anew, deleted or not, and every sparse one
            self._sizes = points, min(points, max(points - covered, counted - counted_then)) if covered else points
        return self._sizes

    def optimise(self) -> None:
        """Build what the configuration asks for, with every payload index, and drop what was deleted."""
        self.attributes.want(self.attributes.sample())
        self.attributes.make_all()
        if self.deleted_since is None:
            self._shard.optimize()
        self.purge()
        self.flush()
        info = self._shard.info()
        if self._builds_index:
            (self.path / COVERED).write_text(f"{info.points_count} {info.indexed_vectors_count}")
        else:
            (self.path / COVERED).unlink(missing_ok=True)

    def _read_covered(self) -> tuple[int, int]:
        """How many points there were when the index was built, and how many vectors the engine counted in indexes."""
        try:
            points, counted = (self.path / COVERED).read_text().split()
        except FileNotFoundError:
            return 0, 0
        return int(points), int(counted)

    def purge(self) -> None:
        """Drop deleted points from the files, if there are any; takes as long as the kept ones are many.

        They lie in the segments, which the optimizer writes anew, and in the log, out of which filler pushes them.
        """
        if self.deleted_since is None:
            return
        self.flush()
        self._shard.optimize()
        for number in range(2 * LOG_FILE_BYTES // FILLER_BYTES + 2):
            nobody = edge.MatchValue(str(number).ljust(FILLER_BYTES, "."))
            nothing = edge.Filter(must=[edge.FieldCondition("store", match=nobody)])
            self._shard.update(edge.UpdateOperation.delete_points_by_filter(nothing))
            if number % 4 == 3:
                self.flush()
        self.flush()
        self._deleted.unlink(missing_ok=True)
        self.deleted_since = None

    def close(self) -> None:
        """Flush and let go of the folder."""
        self.flush()
        self._shard.close()


def _floats(raw: bytes) -> list[float]:
    return list(memoryview(raw).cast("f"))


def _document(payload: dict[str, Any] | None) -> tuple[str, str]:
    if payload is None:
        raise ValueError("a point has no payload")
    return payload["document"], payload["generation"]
