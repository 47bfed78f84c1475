"""The payload indexes of a shard: a filter on a field without one reads every point's payload.

Making an index holds up all else for as long as the payloads take to read, so a large shard gets one at a time,
between other requests. Which are still to be made is kept in memory: a shard that is opened reads from the engine which
there are, and every write names its keys again.
"""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from rag.backends.vectors.attribute_keys import SAMPLE_POINTS, Kind, Kinds, key_of, kinds_of, to_index
from rag.backends.vectors.conditions import DOCUMENT, GENERATION, GROUPS, STORE, path_of

KEYWORDS = (STORE, DOCUMENT, GENERATION, GROUPS)
AT_ONCE_POINTS = 20_000


class AttributeIndexes:
    """What is indexed of a shard, and what is to be. Raises what the engine raises: Exception."""

    def __init__(self, shard: Any) -> None:
        """Ask an open shard which indexes it has, and, if it has none of attributes, which it should have."""
        self._shard = shard
        schema = shard.info().payload_schema
        self._fields = [name for name in KEYWORDS if name not in schema]
        self._waiting: Kinds = {}
        self._there: Kinds = {}
        for path, info in schema.items():
            key = key_of(path)
            if key is not None:
                self._there[key] = "text" if info.data_type == edge.PayloadSchemaType.Keyword else "number"
        if not self._there:
            self.want(self.sample())

    @property
    def kinds(self) -> Kinds:
        """The attributes that have an index, or are to have one."""
        return self._there | self._waiting

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be made."""
        return not self._fields and not self._waiting

    def sample(self) -> Kinds:
        """The attributes of some points."""
        records, _ = self._shard.scroll(edge.ScrollRequest(limit=SAMPLE_POINTS, with_payload=True))
        return kinds_of(each.payload or {} for each in records)

    def want(self, kinds: Kinds) -> None:
        """Note what is to be indexed, within the bounds for a collection."""
        self._waiting |= to_index(kinds, self.kinds)

    def make_one(self) -> None:
        """Make the index that has waited longest. One that is there already does no harm."""
        if self._fields:
            self._create(self._fields[0], "text")
            del self._fields[0]
        elif self._waiting:
            key, kind = next(iter(self._waiting.items()))
            self._create(path_of(key), kind)
            self._there[key] = self._waiting.pop(key)

    def make_all(self) -> None:
        """Make all that are to be made."""
        while not self.is_complete:
            self.make_one()

    def _create(self, path: str, kind: Kind) -> None:
        self._shard.update(edge.UpdateOperation.create_field_index(path, field_params(path, kind)))


def field_params(path: str, kind: Kind = "text") -> Any:
    """How a field is indexed: attributes from files, which segments with an index of vectors read as they need them."""
    if path in KEYWORDS:
        return edge.KeywordIndexParams(is_tenant=True) if path == STORE else edge.KeywordIndexParams()
    params = edge.KeywordIndexParams if kind == "text" else edge.FloatIndexParams
    return params(memory=edge.Memory.Cold)
