"""Containment: the same for every way of cutting the stream, once is enough, and prose passes as it is."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.bare_urls import LONGEST_URL, standing_in
from rag.containment import Containment, contain
from rag.hidden_text import without_hidden
from tests.inert import PAYLOADS, alive

PASSAGE = "See https://ok.example/a(b) or [this](https://ok.example/c?x=1&y=2). Mail a.b@ok.example; ask ok.com."
STANDING = ("https://ok.example/a(b)", "https://ok.example/c?x=1&y=2", "a.b@ok.example", "ok.com")
allowed = standing_in([PASSAGE])

PIECES = [
    *"<>[]()!:/.@&#\\`~*_-|;,'\" \n\r\t1bhw", *"éｈ中，：", *"\x1b\x07\u200b\u200d\ufe0f\u00ad\u00a0", "a" * 70,
    *"// :// http https www. com evil lt; &#x6 href ``` mermaid python [31m ]8;; data: text/ mailto: localhost".split(),
    "javascript:", *STANDING, *PAYLOADS.values(),
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=14).map("".join)


def in_pieces(pieces: Sequence[str]) -> str:
    containment = Containment(allowed)
    return "".join([containment.feed(piece) for piece in pieces]) + containment.finish()


@settings(max_examples=300, deadline=None)
@given(texts, st.lists(st.integers(0, 300), max_size=10))
def test_cutting_changes_nothing_and_once_is_enough(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = contain(text, allowed)
    assert in_pieces([text[a:b] for a, b in pairwise(edges)]) == whole
    assert in_pieces(text) == whole
    assert contain(whole, allowed) == whole


def test_an_address_that_is_taken_out_leaves_no_line_that_opens_a_renderer() -> None:
    assert contain("```mermaid https://evil.example/`[x\ngraph TD", allowed) == "```mermaid ‹link removed›`\ngraph TD"
    long = "```mermaid https://evil.example/`" + "a" * 3000
    assert contain(long + "\ngraph TD", allowed) == "```mermaid ‹link removed›`\ngraph TD"


@settings(max_examples=300, deadline=None)
@given(texts)
def test_nothing_is_alive_as_html(text: str) -> None:
    tags = [found for found in alive(contain(text, lambda _: False)) if "tag" in found or "element" in found]
    assert tags == []


@given(
    st.text(st.characters(categories=["L", "Nd", "Zs"], include_characters="\n,;'\"?!()*+-=%€|#$^{}>"), max_size=200)
)
def test_prose_without_suspicious_signs_is_not_touched(text: str) -> None:
    assert contain(text, lambda _: False) == text


@pytest.mark.parametrize(
    "text",
    [
        "a < b, x <= 3, p <0.05, 3<5, a <- b, a <-> b, 1 << 4, a<=b",
        "It says so [1]. And so [2, 3] (see above).\n\n[4] is next.",
        "From: Ann\nTo: Bob\nDate: Mon, 3 Mar 2026 10:15:00 +0100\nRe: leave",
        "| a | b |\n|---|:-:|\n| 1 | 2 |\n\n- one\n  - two\n1. three\n\n> **bold** _it_ ~~no~~ `code`",
        "```python\nx = y[1:]: int  # std::vector, a/b, {'k': v}\n@app.get\ndef f(a: list[int]) -> None: ...\n```",
        "$$\\frac{a}{b} \\\\ x_{1} \\le y$$ and \\(a/b\\), C:\\Users\\bob, C:\\\\x, \\\\server\\share",
        "AT&T, R&D, a && b, &x, &nbsp; &copy; user.name, logger.info(x), main.py, README.md, e.g. 3.14, v1.2.3, etc.",
        "and/or, // comment, 10.0.0.0/8, 12:30, key:value, data: a, http is a word, www too, https:// and s3://",
        "می‌خواهم, ❤️‍🔥, 👩‍💻, 1️⃣, क्‍ष, co\u00adoperate, naïve, 東京。大阪（京都）",
        PASSAGE.replace("](", "] ("),
        "‹link removed›",
    ],
)  # fmt: skip
def test_what_is_harmless_stays(text: str) -> None:
    assert contain(text, allowed) == text


def test_the_same_rules_piece_by_piece_would_not_do() -> None:
    cuts = [(text[:at], text[at:]) for text in PAYLOADS.values() if len(text) < 500 for at in range(1, len(text))]
    whole = [alive(contain(a + b, lambda _: False)) for a, b in cuts]
    apart = [alive(contain(a, lambda _: False) + contain(b, lambda _: False)) for a, b in cuts]
    assert not any(whole)
    assert sum(map(bool, apart)) > len(cuts) / 10


@pytest.mark.parametrize(
    ("text", "contained"),
    [
        ("List<int> a</b>", "List< int> a< /b>"),
        ("[a](b) ![c](d)", "[a] (b) ![c] (d)"),
        ("[note]: text", "[note] : text"),
        ("&lt;b&gt; &#65;", "& lt;b& gt; & #65;"),
        ("me@home.example, pkg@1.2.3", "me @home.example, pkg @1.2.3"),
        ("evil.com/x //evil.example", "evil .com/x // evil.example"),
        ("See https://evil.example/x, or (www.evil.example).", "See ‹link removed›, or (‹link removed›)."),
        ("git+ssh://host/x", "git+ssh‹link removed›"),
        ("```mermaid\nx\n```python y\n", "```\nx\n```python\n"),
        ("\\href{x}", "\\ href{x}"),
        ("a\r\nb\rc\fd\u2028e", "a\nb\nc\nd\ne"),
        ("\x1b[1mbold\x1b[0m \x1b]0;title\x07x\x1b", "bold x"),
        ("a\u200bb\u202ec\U000e0041d\u200de", "abcde"),
        ("half \ud83d", "half \ufffd"),
        ("https://ok.example/c?x=1&y=2中", "https://ok.example/c?x=1&y=2 中"),
        ("https://ok.example/c?x=1&y=2&z", "‹link removed›"),
        ("https://ok.example/c", "‹link removed›"),
    ],
)
def test_what_is_changed(text: str, contained: str) -> None:
    assert contain(text, allowed) == contained


def test_only_what_may_become_live_is_held_back() -> None:
    containment = Containment(allowed)
    assert containment.feed("Every employee has") == "Every employee has"
    assert containment.feed(" 28 days.") == " 28 days"
    assert containment.feed(" See ") == ". See "
    assert containment.feed("https://ok.exam") == ""
    assert containment.feed("ple/a(b) ") == "https://ok.example/a(b) "
    assert containment.feed("[x]") == "[x"
    assert containment.finish() == "]"


def test_an_address_without_an_end_is_not_held_for_ever() -> None:
    containment = Containment(allowed)
    shown = "".join(containment.feed(character) for character in "https://" + "a" * LONGEST_URL)
    assert shown == "‹link removed›"
    assert containment.feed("more](x) and so on") == " and so on"


def test_an_address_stands_as_a_whole() -> None:
    assert all(allowed(address) for address in STANDING)
    assert not any(
        allowed(part) for part in ("https://ok.example", "ok.example", "b@ok.example", "https://ok.example/c")
    )


def test_long_runs_of_one_sign_grow_by_a_space_each_at_most() -> None:
    for sign in ("<", "[", "](", "http://", "a.", "a@b.", "&", "\\", "```\n", "\x1b]", "//a", "\u200d", "www."):
        text = sign * (20_000 // len(sign))
        assert len(contain(text, allowed)) <= 2 * len(text)


def test_hidden_characters_are_told_from_line_ends() -> None:
    assert without_hidden("a\r\nb\x00\fc") == ("a\nb\nc", False)
    assert without_hidden("co\u00adop ❤️") == ("co\u00adop ❤️", False)
    assert without_hidden("a\u200bb") == ("ab", True)
