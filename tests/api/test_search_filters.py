"""OpenAI's filters: what they mean, against plain Python over a store in memory, and what of them is refused."""

import asyncio
import json
import math
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.schemas.search_filters import FILTERS_SCHEMA, MAX_DEPTH, MAX_NODES, to_filter
from rag.backends.vectors.memory import MemoryChunkStore
from rag.documents import AttributeValue, Point, SparseVector
from rag.errors import InvalidInputError
from rag.filters import And, Eq, In, Not, Or, Range

COMPARED = {
    "eq": lambda held, value: held == value,
    "ne": lambda held, value: held != value,
    "gt": lambda held, value: held > value,
    "gte": lambda held, value: held >= value,
    "lt": lambda held, value: held < value,
    "lte": lambda held, value: held <= value,
    "in": lambda held, value: held in value,
    "nin": lambda held, value: held not in value,
}

# Few of each, so that they meet; integers are those that floats can tell apart.
keys = st.sampled_from(["year", "name", "ü key", "a.b"])
numbers = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, -0.0, 2.5, 1e300, 5e-324, 2**53, 2**53 - 1, -(2**53), 1e16]),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
values = st.one_of(st.sampled_from(["", "5", "red", "blue"]), st.booleans(), numbers)
comparisons = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["eq", "ne"]), "key": keys, "value": values}),
    st.fixed_dictionaries({"type": st.sampled_from(["gt", "gte", "lt", "lte"]), "key": keys, "value": numbers}),
    st.fixed_dictionaries({
        "type": st.sampled_from(["in", "nin"]), "key": keys, "value": st.lists(values, max_size=4),
    }),
)  # fmt: skip
bodies = st.recursive(
    comparisons,
    lambda inner: st.fixed_dictionaries({
        "type": st.sampled_from(["and", "or"]), "filters": st.lists(inner, min_size=1, max_size=3),
    }),
    max_leaves=8,
)  # fmt: skip
attributes = st.dictionaries(keys, values, max_size=4)


def lets_through(body: Mapping[str, Any], held: Mapping[str, AttributeValue]) -> bool:
    if body["type"] in ("and", "or"):
        return (all if body["type"] == "and" else any)(lets_through(part, held) for part in body["filters"])
    if body["key"] not in held:
        return body["type"] in ("ne", "nin")
    value = held[body["key"]]
    if body["type"] in ("gt", "gte", "lt", "lte") and isinstance(value, str):
        return False
    return bool(COMPARED[body["type"]](value, body["value"]))


@settings(max_examples=300, deadline=None)
@given(body=bodies, corpus=st.lists(attributes, min_size=1, max_size=5))
def test_a_filter_means_what_plain_python_says(body: dict[str, Any], corpus: list[dict[str, AttributeValue]]) -> None:
    async def found() -> set[int]:
        store = MemoryChunkStore(2)
        points = [
            Point(str(uuid.UUID(int=number)), "d", "g", np.ones(2, np.float32), SparseVector((), ()), held)
            for number, held in enumerate(corpus)
        ]
        await store.upsert("s", points)
        lists = await store.search("s", np.ones(2, np.float32), None, 100, to_filter(body))
        return {uuid.UUID(each.chunk_id).int for each in lists.dense}

    wanted = {number for number, held in enumerate(corpus) if lets_through(body, held)}
    assert asyncio.run(found()) == wanted


def nested(depth: int) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "ne", "key": "k", "value": 1}
    for level in range(depth - 1):
        body = {"type": ("and", "or")[level % 2], "filters": [body, {"type": "eq", "key": "j", "value": 2}]}
    return body


def test_each_type_has_its_filter() -> None:
    assert to_filter({"type": "eq", "key": "k", "value": "x"}) == Eq("k", "x")
    assert to_filter({"type": "ne", "key": "k", "value": True}) == Not(Eq("k", True))
    assert to_filter({"type": "in", "key": "k", "value": ["x", 1]}) == In("k", ("x", 1))
    assert to_filter({"type": "nin", "key": "k", "value": []}) == Not(In("k", ()))
    assert to_filter({"type": "gte", "key": "k", "value": 1}) == Range("k", minimum=1)
    assert to_filter({"type": "lt", "key": "k", "value": 1}) == Range("k", maximum=math.nextafter(1, 0))
    assert to_filter({"type": "gt", "key": "k", "value": 1.7976931348623157e308}) == Or(())
    both = {"type": "and", "filters": [{"type": "or", "filters": [{"type": "eq", "key": "k", "value": 1}]}]}
    assert to_filter(both) == And((Or((Eq("k", 1),)),))


@pytest.mark.parametrize("kind", ["gt", "gte", "lt", "lte"])
@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_integers_that_no_float_holds_are_bounds_too(kind: str, value: int) -> None:
    found = to_filter({"type": kind, "key": "k", "value": value})
    assert isinstance(found, Range)
    near = [float(value), math.nextafter(float(value), math.inf), math.nextafter(float(value), -math.inf)]
    for number in near:
        inside = (found.minimum is None or number >= found.minimum) and (
            found.maximum is None or number <= found.maximum
        )
        assert inside is COMPARED[kind](int(number), value)


def test_filters_may_be_as_deep_and_as_large_as_is_said_and_no_more() -> None:
    store = MemoryChunkStore(2)
    assert asyncio.run(store.count("s", to_filter(nested(MAX_DEPTH)))) == 0
    with pytest.raises(InvalidInputError, match="nested more than 20"):
        to_filter(nested(MAX_DEPTH + 1))
    most = {"type": "in", "key": "k", "value": list(range(MAX_NODES - 1))}
    assert isinstance(to_filter(most), In)
    for larger in ({**most, "value": list(range(MAX_NODES))}, {"type": "or", "filters": [most] * 2}):
        with pytest.raises(InvalidInputError, match="more than 1000"):
            to_filter(larger)


EQ = {"type": "eq", "key": "k", "value": 1}
HOSTILE: list[Any] = [
    5, "eq", [], [EQ], True, {}, {"type": "eq"}, {"type": "eq", "key": "k"}, {"type": "like", "key": "k", "value": 1},
    {"type": ["eq"], "key": "k", "value": 1}, {"type": None, "key": "k", "value": 1}, {**EQ, "boost": 2},
    {"type": "and"}, {"type": "and", "filters": []}, {"type": "or", "filters": EQ}, {"type": "or", "filters": "eq"},
    {"type": "and", "filters": [EQ, 5]}, {"type": "not", "filters": [EQ]}, {"type": "and", "filters": [EQ], "key": "k"},
    {**EQ, "key": 5}, {**EQ, "key": ""}, {**EQ, "key": None}, {**EQ, "key": "k" * 129}, {**EQ, "key": 'a" OR "'},
    {**EQ, "key": "a\\b"}, {**EQ, "key": "\ud800"}, {**EQ, "key": "chunk_id"}, {**EQ, "value": None},
    {**EQ, "value": {}}, {**EQ, "value": [1]}, {**EQ, "value": math.nan}, {**EQ, "value": math.inf},
    {**EQ, "value": 2**63}, {**EQ, "value": 10**400}, {**EQ, "value": "\udfff"}, {**EQ, "value": "x" * 4097},
    {"type": "gt", "key": "k", "value": "5"}, {"type": "lte", "key": "k", "value": True},
    {"type": "gte", "key": "k", "value": [1]}, {"type": "lt", "key": "k", "value": math.nan},
    {"type": "gt", "key": "k", "value": -(10**400)}, {"type": "in", "key": "k", "value": "abc"},
    {"type": "in", "key": "k", "value": 5}, {"type": "in", "key": "k", "value": [[1]]},
    {"type": "nin", "key": "k", "value": [None]}, {"type": "nin", "key": "k", "value": {"a": 1}}, nested(1000),
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=map(str, range(len(HOSTILE))))
def test_what_is_no_filter_is_refused(body: Any) -> None:
    with pytest.raises(InvalidInputError):
        to_filter(body)


def test_a_refusal_names_the_place() -> None:
    body = {"type": "or", "filters": [EQ, {"type": "and", "filters": [{"type": "gt", "key": "k", "value": "5"}]}]}
    with pytest.raises(InvalidInputError, match=r"^filters\.filters\.1\.filters\.0\.value must be a number for gt"):
        to_filter(body)


def test_the_examples_of_the_schema_are_filters() -> None:
    for example in FILTERS_SCHEMA["examples"]:
        assert to_filter(json.loads(json.dumps(example))) is not None
