"""Filters as text: what each form means, what is refused and where, and that every text is a filter or one error."""

import math
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag.backends.vectors.conditions import matches, path_of, scope
from rag.documents import AttributeValue
from rag.errors import InvalidInputError
from rag.filter_text import MAX_DEPTH, filter_text, parse_filter
from rag.filters import And, Eq, Exists, Filter, In, Not, Or, Range

ROOTS = ["/home/me/docs", "/srv/share"]


def at(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


def before(seconds: float) -> float:
    return math.nextafter(seconds, -math.inf)


def after(seconds: float) -> float:
    return math.nextafter(seconds, math.inf)


NEW_YEAR, NEXT_DAY = at(2024, 1, 1), at(2024, 1, 2)
MEANINGS: list[tuple[str, Filter]] = [
    ('author = "Anna"', Eq("author", "Anna")),
    ("author = 'An\\'na \\\"x\\\" \\\\'", Eq("author", "An'na \"x\" \\")),
    ("author=Anna", Eq("author", "Anna")),
    ("author != Anna", Not(Eq("author", "Anna"))),
    ("year = 2024", Eq("year", 2024)),
    ('year = "2024"', Eq("year", "2024")),
    ("share = -2.5e-1", Eq("share", -0.25)),
    ("final = true AND draft = False", And((Eq("final", True), Eq("draft", False)))),
    ("year > 2", Range("year", minimum=after(2))),
    ("year >= 2", Range("year", minimum=2)),
    ("year < 2", Range("year", maximum=before(2))),
    ("year <= 2", Range("year", maximum=2)),
    ("year in (2023, 2024)", In("year", (2023, 2024))),
    ('author in (Anna, "Bo b")', In("author", ("Anna", "Bo b"))),
    ("author not in (Anna)", Not(In("author", ("Anna",)))),
    ("author in ()", In("author", ())),
    ("exists author", Exists("author")),
    ("not exists date", Not(Exists("quoth.date"))),
    ('exists "date"', Exists("date")),
    ("a = 1 or b = 2 and c = 3", Or((Eq("a", 1), And((Eq("b", 2), Eq("c", 3)))))),
    ("(a = 1 or b = 2) and not c = 3", And((Or((Eq("a", 1), Eq("b", 2))), Not(Eq("c", 3))))),
    ("not (a = 1 and b = 2)", Not(And((Eq("a", 1), Eq("b", 2))))),
    ("((a = 1))", Eq("a", 1)),
    ("true", And(())),
    ("false", Or(())),
    ('"and" = 1 and "in" in (1)', And((Eq("and", 1), In("in", (1,))))),
    ("quoth.from = x@y.org", Eq("quoth.from", "x@y.org")),
    # short names
    ("type = pdf", Eq("quoth.suffix", ".pdf")),
    ("type = .PDF", Eq("quoth.suffix", ".pdf")),
    ("type = md", In("quoth.suffix", (".md", ".markdown", ".mdx"))),
    ("type = text/html", Eq("quoth.type", "text/html")),
    ("type in (pdf, docx)", In("quoth.suffix", (".pdf", ".docx"))),
    ("type in (pdf, jpg)", In("quoth.suffix", (".pdf", ".jpg", ".jpeg"))),
    ("type in (pdf, text/html)", Or((Eq("quoth.suffix", ".pdf"), Eq("quoth.type", "text/html")))),
    ("type in (text/html, text/plain)", In("quoth.type", ("text/html", "text/plain"))),
    ('"type" = pdf', Eq("type", "pdf")),
    ("filename = 2024", Eq("quoth.filename", "2024")),
    ("filename ~ *.PDF", Eq("quoth.suffix", ".pdf")),
    ("filename ~ leave.md", Eq("quoth.filename", "leave.md")),
    ("document = 2f4c", Eq("document_id", "2f4c")),
    ("path = /a/b.md", Eq("quoth.path", "/a/b.md")),
    ("path = hr/b.md", Or((Eq("quoth.path", "/home/me/docs/hr/b.md"), Eq("quoth.path", "/srv/share/hr/b.md")))),
    ("path ~ /a/b/*", Eq("quoth.folder", "/a/b")),
    ("path ~ /a/b/**", Eq("quoth.folder", "/a/b")),
    ("path ~ /a/b/*.pdf", And((Eq("quoth.folder", "/a/b"), Eq("quoth.suffix", ".pdf")))),
    ("path ~ /a/**/*.pdf", And((Eq("quoth.folder", "/a"), Eq("quoth.suffix", ".pdf")))),
    ("path ~ *.pdf", And((Exists("quoth.path"), Eq("quoth.suffix", ".pdf")))),
    ("path ~ *", Exists("quoth.path")),
    ("path ~ hr/*", Or((Eq("quoth.folder", "/home/me/docs/hr"), Eq("quoth.folder", "/srv/share/hr")))),
    ("path ~ docs/hr/*", Or((
        Eq("quoth.folder", "/home/me/docs/docs/hr"), Eq("quoth.folder", "/home/me/docs/hr"),
        Eq("quoth.folder", "/srv/share/docs/hr"),
    ))),
    # dates
    ("date = 2024-01-01", Range("quoth.date", NEW_YEAR, before(NEXT_DAY))),
    ("date != 2024-01-01", Not(Range("quoth.date", NEW_YEAR, before(NEXT_DAY)))),
    ("date >= 2024-01-01", Range("quoth.date", minimum=NEW_YEAR)),
    ("date > 2024-01-01", Range("quoth.date", minimum=NEXT_DAY)),
    ("date < 2024-01-01", Range("quoth.date", maximum=before(NEW_YEAR))),
    ("date <= 2024-01-01", Range("quoth.date", maximum=before(NEXT_DAY))),
    ('date >= "2024-01-01"', Range("quoth.date", minimum=NEW_YEAR)),
    ("date > 2024-01-01T00:00", Range("quoth.date", minimum=after(NEW_YEAR))),
    ("date >= 2024-01-01T02:30:00+02:30", Range("quoth.date", minimum=NEW_YEAR)),
    ("date >= 2024-01-01T00:00:00.5Z", Range("quoth.date", minimum=NEW_YEAR + 0.5)),
    ("date in (2024-01-01)", Range("quoth.date", NEW_YEAR, before(NEXT_DAY))),
    ("due >= 2024-01-01", Range("due", minimum=NEW_YEAR)),
    ("due = 2024-01-01", Range("due", NEW_YEAR, before(NEXT_DAY))),
    ('due = "2024-01-01"', Eq("due", "2024-01-01")),
    ("date < 0001-01-02", Range("quoth.date", maximum=before(at(1, 1, 2)))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), MEANINGS, ids=[text for text, _ in MEANINGS])
def test_what_a_text_means(text: str, wanted: Filter) -> None:
    assert parse_filter(text, ROOTS) == wanted
    assert parse_filter(f"  {text}\n", ROOTS) == wanted


REFUSED: list[tuple[str, str]] = [
    ("", "empty"), (" \n ", "empty"), ("type", "at its end: expected one of = !="),
    ("type =", "at its end: expected a v"), ("type = pdf and", "at its end: expected the name"),
    ("type = pdf author = x", "character 12, 'author'"), ("(type = pdf", "at its end: expected \\)"),
    ("type = pdf)", "character 11, '\\)'"), ("= pdf", "character 1, '='"), ("type == pdf", "character 7, '='"),
    ("author ! = x", "character 8, '!'.*!="), ('author = "x', "quote is not closed"),
    ('author = "a\\n"', "character 12.*backslash"), ("author in x", "expected \\("),
    ("author in (a b)", "expected ,"), ("author in (a,)", "expected a value"), ("author in (a", "expected ,"),
    ("not", "at its end"), ("and = 1", "'and'"), ("author = and", "expected a value"), ("author not = x", "'not'"),
    ("exists", "at its end"), ("2024 = year", "name first"), ("date >= 2024-13-01", "no such date"),
    ("date >= 2024-1-1", "no such date"), ("date >= 2024-02-30", "no such date"),
    ("date >= 2024-01-01 10:00", "character 20, '10:00'"), ("date >= 2024", "compares with a date such as"),
    ("date = 2024", "a date is written"), ("date = yesterday", "a date is written"),
    ("date > yesterday", "compares with"), ("author > Anna", "or a number; text is compared by ="),
    ("author >= true", "or a number"), ("type < pdf", "have an order"), ("path > 3", "have an order"),
    ("author ~ An*", "only path and filename"), ("filename ~ a/*", "no /"),
    ("path ~ /a/x*", "a folder and everything below"), ("path ~ /a/*x", "a folder"), ("path ~ /a?/*", "a folder"),
    ("path ~ *.tar.gz", "not \\*.tar.gz"), ("path ~ /*/*.md", "a folder"), ("path ~ ../x/*", "without \\.\\."),
    ('path = ""', "without \\.\\."), (f"path ~ {'/d' * 65}/*", "64th"), (f"year = {2**63}", "64 bits"),
    ("year = 1e999", "64 bits"), ('chunk_id = "x"', "no attribute"), ("'a\"b' = 1", "no attribute"),
    ('"" = 1', "no attribute"), (f"{'k' * 129} = 1", "no attribute"), (f"a = {'v' * 4097}", "4096 characters"),
    ("a = \ud800", "valid Unicode"), ("a = 1 " * 2000, "10000 is the most"),
    (f"a in ({', '.join('1' * 1001)})", "more than 1000"), ("(" * 30 + "a = 1" + ")" * 30, "nested more than 20"),
    ("not " * 3000 + "true", "12004 characters"), ("not " * 1000 + "true", "nested more than 20"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[text[:30] for text, _ in REFUSED])
def test_what_is_refused_and_why(text: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        parse_filter(text, ROOTS)


def test_a_relative_path_needs_a_folder_to_lie_in() -> None:
    with pytest.raises(InvalidInputError, match="made of no folder"):
        parse_filter("path ~ handbook/*")
    assert parse_filter("path ~ /handbook/*") == Eq("quoth.folder", "/handbook")


def test_what_is_read_is_never_too_deep_for_the_stores() -> None:
    inner = "a = 1"
    for _ in range((MAX_DEPTH - 1) // 2):
        inner = f"b = 1 or c = 2 and ({inner})"
    assert scope("s", parse_filter(inner)) is not None
    with pytest.raises(InvalidInputError, match="nested more than 20"):
        parse_filter(f"not (b = 1 or c = 2 and ({inner}))")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["and", "true", "2024", "2024-01-01", "date", "a b", '"', "\\", "(", "\n"]
)
TEXTS = TEXTS.filter(_encodes)
KEYS = TEXTS.filter(lambda text: text not in ("", "chunk_id") and '"' not in text and "\\" not in text)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = TEXTS | st.booleans() | NUMBERS
BOUNDS = st.none() | NUMBERS


def some(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    lists = st.lists(parts, max_size=3).map(tuple)
    return st.builds(And, lists) | st.builds(Or, lists) | st.builds(Not, parts)


LEAVES = (
    st.builds(Eq, KEYS, VALUES) | st.builds(In, KEYS, st.lists(VALUES, max_size=3).map(tuple)) | st.builds(Exists, KEYS)
    | st.builds(Range, KEYS, BOUNDS, BOUNDS)
)  # fmt: skip
FILTERS = st.recursive(LEAVES, some, max_leaves=8)


def same_form(where: Filter) -> Filter:  # noqa: PLR0911 (one for each kind)
    """The one form of those with the same meaning that a text stands for."""
    match where:
        case And((only,)) | Or((only,)):
            return same_form(only)
        case And(parts):
            return And(tuple(map(same_form, parts)))
        case Or(parts):
            return Or(tuple(map(same_form, parts)))
        case Not(inner):
            return Not(same_form(inner))
        case Range(key, None, None):
            return Range(key, minimum=-1.7976931348623157e308)
        case Range(key, low, high) if low is not None and high is not None:
            return And((Range(key, minimum=float(low)), Range(key, maximum=float(high))))
        case Range(key, low, high):
            return Range(key, None if low is None else float(low), None if high is None else float(high))
    return where


@given(where=FILTERS)
@example(where=Not(Range("a", 1, 2)))
@example(where=And((Or((Eq("date", "x"), Eq("a", "1"))), And(()))))
def test_filter_to_text_to_filter(where: Filter) -> None:
    assert repr(parse_filter(filter_text(where))) == repr(same_form(where))


HELD = st.dictionaries(st.sampled_from("abc"), st.sampled_from([0, 1, 2.5, -3, "x", "1", ""]), max_size=3)
SMALL_VALUES: st.SearchStrategy[AttributeValue] = st.sampled_from([0, 1, 2.5, True, False, "x", "1", ""])
SMALL_KEYS = st.sampled_from("abc")
SMALL = st.recursive(
    st.builds(Eq, SMALL_KEYS, SMALL_VALUES) | st.builds(Exists, SMALL_KEYS)
    | st.builds(In, SMALL_KEYS, st.lists(SMALL_VALUES, max_size=2).map(tuple))
    | st.builds(Range, SMALL_KEYS, st.sampled_from([None, 0, 1, -math.inf]), st.sampled_from([None, 1, 2.5, math.inf])),
    some, max_leaves=8,
)  # fmt: skip


@given(where=SMALL, held=HELD)
def test_the_text_of_a_filter_lets_through_the_same(where: Filter, held: dict[str, Any]) -> None:
    values = {path_of(key): value for key, value in held.items()} | {"store": "s"}

    def lets_through(asked: Filter) -> bool:
        condition = scope("s", asked)
        return condition is not None and matches(condition, values.get)

    assert lets_through(parse_filter(filter_text(where))) == lets_through(where)


PIECES = [
    "type", "path", "date", "filename", "document", "author", "=", "!=", "<", "<=", ">", ">=", "~", "in", "not", "and",
    "or", "exists", "(", ")", ",", '"a b"', "'", '"', "\\", "true", "2024-01-01", "2024-01-01T25:00",
    "9999-12-31T23:59-23:59",
    "1", "1e999", "-", "*", "/a/*", "a/*.md", "**/*.", "..", "!", "\x00", "\ud800", "ß", "9" * 5000,
]  # fmt: skip


@given(text=st.text(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join))
@example(text="date <= 9999-12-31T23:59-23:59")
@example(text="(" * 9000)
@example(text="not " * 2400)
def test_every_text_is_a_filter_or_an_error_that_helps(text: str) -> None:
    try:
        found = parse_filter(text, ROOTS)
    except InvalidInputError as error:
        assert re.search(r": .|\. \w", str(error))
        return
    scope("s", found)
    assert parse_filter(filter_text(found)) is not None
