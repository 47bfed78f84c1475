"""Filters that people write mean the same in every ChunkStore, and none of them gets out of its store."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.attributes import to_ask
from rag.backends.vectors.conditions import scope
from rag.backends.vectors.qdrant_edge import stop_worker
from rag.documents import AttributeValue, Point
from rag.errors import InvalidInputError
from rag.filter_text import parse_filter
from rag.protocols import ChunkStore
from tests.contract.test_chunk_store import BACKENDS, everything, make_store, point, readable

DAY = 86_400.0
ROOTS = ["/docs"]
CORPUS: dict[int, tuple[str, str, dict[str, AttributeValue]]] = {
    1: ("file:///docs/hr/leave.md", "text/markdown", {"quoth.date": 0.0, "public": True, "year": 2023}),
    2: ("file:///docs/hr/old/pay.PDF", "application/pdf", {"quoth.date": DAY, "public": False, "year": 2024}),
    3: ("file:///docs/hrx/%C3%BC%20b.html", "text/html", {"quoth.date": DAY + 0.5, "author": "Anna", "year": 2024.5}),
    4: ("upload:///file-1/hr.md", "text/markdown", {"quoth.date": 2 * DAY, "date": "1970-01-01", "author": "Bo"}),
    5: ("file:///other/docs/hr/leave.md", "text/markdown", {"quoth.date": -DAY, "author": "", "public": 1}),
    6: ("upload:///file-2/plain", "text/plain", {"year": "2024"}),
}
ASKED: list[tuple[str, set[int]]] = [
    ("type = md", {1, 4, 5}), ("type = pdf", {2}), ("type = text/markdown", {1, 4, 5}), ("type != md", {2, 3, 6}),
    ("type in (pdf, html)", {2, 3}), ("filename = leave.md", {1, 5}), ("filename ~ *.pdf", {2}),
    ("path ~ /docs/hr/*", {1, 2}), ("path ~ hr/*", {1, 2}), ("path ~ docs/hr/*", {1, 2}), ("path ~ hr/old/*", {2}),
    ("path ~ /docs/h/*", set()), ("path ~ /docs/*.md", {1}), ("path ~ *", {1, 2, 3, 5}), ("path ~ *.md", {1, 5}),
    ("not path ~ /docs/*", {4, 5, 6}), ("path = hr/leave.md", {1}), ('path = "/docs/hrx/ü b.html"', {3}),
    ('path in ("/docs/hr/leave.md", "/other/docs/hr/leave.md")', {1, 5}), ('path ~ "/docs/hrx/*"', {3}),
    ("date = 1970-01-01", {1, 4}), ("date != 1970-01-01", {2, 3, 5, 6}), ("date >= 1970-01-02", {2, 3}),
    ("date > 1970-01-01", {2, 3}), ("date <= 1970-01-01", {1, 4, 5}), ("date < 1970-01-01", {5}),
    ("date > 1970-01-02T00:00:00Z", {3}), ("date = 1970-01-02T01:00+01:00", {2}), ("exists date", {1, 2, 3, 4, 5}),
    ("not exists date", {6}), ("date in (1970-01-01, 1969-12-31)", {1, 4, 5}), ('"date" = "1970-01-01"', {4}),
    ("public = true", {1, 5}), ("public = false", {2}), ("not public = true", {2, 3, 4, 6}),
    ("public != false", {1, 3, 4, 5, 6}), ("public in (true, false)", {1, 2, 5}), ("public = 1", {1, 5}),
    ("year = 2024", {2}), ('year = "2024"', {6}), ("year > 2024", {3}), ("year >= 2024", {2, 3}), ("year < 2024", {1}),
    ("year <= 2024", {1, 2}), ("year in (2023, 2024.5)", {1, 3}), ("year not in (2023)", {2, 3, 4, 5, 6}),
    ('author = ""', {5}), ("exists author", {3, 4, 5}), ("author in ()", set()),
    ("true", set(CORPUS)), ("false", set()),
    ("(type = md or type = pdf) and not author = Bo", {1, 2, 5}), ("type = md or type = pdf and year = 1", {1, 4, 5}),
    ('quoth.folder = "/docs/hr"', {1, 2}), ('quoth.folder in ("/other", "/docs/hrx")', {3, 5}),
    ('quoth.folder != "/docs"', {4, 5, 6}), ("quoth.folder > 3", set()), ("exists quoth.folder", {1, 2, 3, 5}),
    ("document = doc", set(CORPUS)), ("document != doc", set()),
]  # fmt: skip


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield request.param
    if request.param == "edge":
        stop_worker(tmp_path)


def points() -> list[Point]:
    return [
        replace(point(number), attributes=to_ask(uri, media_type, attributes))
        for number, (uri, media_type, attributes) in CORPUS.items()
    ]


def test_every_operator_in_every_backend(kind: str, tmp_path: Path) -> None:
    async def ask() -> None:
        store = make_store(kind, tmp_path)
        await store.upsert("s", points())
        for text, wanted in ASKED:
            assert await everything(store, "s", parse_filter(text, ROOTS)) == wanted, text
        await store.close()

    asyncio.run(ask())


def test_a_list_that_cannot_be_stored_is_refused(kind: str, tmp_path: Path) -> None:
    async def write() -> None:
        store = make_store(kind, tmp_path)
        with pytest.raises(InvalidInputError, match="Unicode"):
            await store.upsert("s", [replace(point(1), attributes={"quoth.folder": ("/a", "/\ud800")})])
        assert await store.count("s") == 0
        await store.close()

    asyncio.run(write())


KEYS = [
    "store",
    "groups",
    "document",
    "generation",
    "attributes",
    "attributes.store",
    "quoth.folder",
    "secret",
    "public",
]
CONDITIONS = st.builds(
    "{} {} {}".format, st.sampled_from(KEYS), st.sampled_from(["=", "!=", "in", "not in"]),
    st.sampled_from(["mine", "theirs", "staff", "true", "1"]),
).map(lambda text: text.replace("in mine", "in (mine, theirs)")) | st.sampled_from(
    ["true", "false", "store > 0", "exists store", "not exists groups", "exists groups", "date < 9999-01-01"]
)  # fmt: skip
TEXTS = st.recursive(
    CONDITIONS,
    lambda parts: parts.map("not ({})".format) | st.tuples(parts, st.sampled_from(["and", "or"]), parts).map(
        lambda each: f"({each[0]}) {each[1]} ({each[2]})"
    ),
    max_leaves=6,
)  # fmt: skip


def walled(number: int, **attributes: AttributeValue) -> Point:
    return replace(point(number, sparse={1: 1.0}), attributes=attributes)


async def _fill(store: ChunkStore) -> None:
    """In each store, one point for everybody and one for each of two groups, with attributes that claim otherwise."""
    for start, name, other in ((0, "mine", "theirs"), (10, "theirs", "mine")):
        await store.upsert(name, [
            walled(start + 1, store=other, secret=1, public=True),
            replace(walled(start + 2, groups="staff", store=other, public=True), groups=("staff",)),
            replace(walled(start + 3, groups="mine"), groups=("board",)),
        ])  # fmt: skip


@pytest.mark.parametrize("kind", [BACKENDS[0], BACKENDS[2]])
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_no_text_gets_around_the_walls(kind: str, tmp_path: Path, text: str) -> None:
    async def ask() -> None:
        store = make_store(kind, tmp_path)
        await _fill(store)
        try:
            where = parse_filter(text)
        except InvalidInputError:
            where = None  # such as `store in staff`
        for groups, most in ((None, {1, 2, 3}), (frozenset[str](), {1}), (frozenset({"staff"}), {1, 2})):
            assert await readable(store, "mine", groups, where) <= most
        await store.delete("mine", where)
        assert await store.count("theirs") == 3
        await store.close()

    asyncio.run(ask())


@given(text=TEXTS)
def test_what_is_sent_begins_with_the_walls(text: str) -> None:
    try:
        where = parse_filter(text)
    except InvalidInputError:
        return
    sent = scope("mine", where, frozenset({"staff"}))
    assert sent is None or (sent[0] == "all" and sent[1][0] == ("match", "store", "mine"))
    assert sent is None or sent[1][1] == ("some", (("not", ("exists", "groups")), ("any", "groups", ("staff",))))


def test_edge_keeps_its_walls(tmp_path: Path) -> None:
    hostile = [
        "store = theirs or not store = mine", "not (false)", "true", "exists store or exists secret",
        "groups = staff or not exists groups", 'attributes.store = "theirs" or document != nothing',
    ]  # fmt: skip

    async def ask() -> None:
        store = make_store("edge", tmp_path)
        await _fill(store)
        for text in hostile:
            where = parse_filter(text)
            assert await readable(store, "mine", frozenset({"staff"}), where) <= {1, 2}, text
            await store.delete("mine", where)
            assert await store.count("theirs") == 3
        await store.close()

    try:
        asyncio.run(ask())
    finally:
        stop_worker(tmp_path)
