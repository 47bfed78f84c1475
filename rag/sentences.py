"""Sentence boundaries in prose and light markup, in one pass and as the text arrives.

A boundary is a terminator before a space and a word that can begin a sentence; an ideographic terminator; a blank
line; or the end of a line that stands for itself: a heading, a list item, a table row, a line of code. Markdown links
and code spans are never cut. The rules look ahead by one word or one line marker at most, which is what makes
streaming possible: a span is handed out once nothing that follows could move its end.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Span = tuple[int, int]
_LineKind = Literal["prose", "whole", "code"]

_EVENT = re.compile(r"[.!?…。！？｡؟।\n\[`|\t]")
_TERMINATORS = re.compile(r"[.!?…。！？｡؟।]+")
_CLOSERS = re.compile(r"[\"'”’»›)\]}」』）】*_~]*")
_OPENERS = re.compile(r"[\"'“‘«‹(\[{¿¡*_~]*")
_IDEOGRAPHIC: Final = frozenset("。！？｡")
_SPACES = re.compile(r"\s*")
_WORD = re.compile(r"[^\W_]*")
_TOKEN_CHARACTERS: Final = 24
_TOKEN = re.compile(r"[^\s(\[{\"'“‘]*$")
_MARKER_CHARACTERS: Final = 12
_BLOCK_START = re.compile(r"(?:#{1,6}|[-*+•‣◦]|\(?\d{1,3}[.)]|[a-zA-Z][)])(?=\s|$)|[>|]|```|~~~")
_MAYBE_BLOCK_START: Final = frozenset("#-*+•‣◦>|`~(0123456789")
_LINK_CHARACTERS: Final = 400
_LINK_TEXT = re.compile(rf"\[[^\[\]\n]{{0,{_LINK_CHARACTERS}}}")
_LINK_TARGET = re.compile(rf"[^()\s]{{0,{_LINK_CHARACTERS}}}")
_CODE_SPAN = re.compile(rf"`[^`\n]{{0,{_LINK_CHARACTERS}}}")
_CITATION = re.compile(r"[ ]?\[[\d,; ]{0,40}")

_NEVER_LAST: Final = frozenset(
    "dr mr mrs ms mx prof st mt gen sen rep gov capt cpt lt sgt col maj rev hon messrs mme mlle fr "
    "e.g eg i.e ie cf vs v viz approx ca z.b d.h bzw u.a p.ex".split()
)
_BEFORE_A_NUMBER: Final = frozenset(
    "no nos nr fig figs eq eqs sec secs ch chap vol vols p pp art par para cl app ex ref refs tab ver rev pt "
    "jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_SOMETIMES_LAST: Final = frozenset(
    "inc ltd co corp llc plc bros jr sr ph.d m.d b.a m.a b.sc m.sc a.m p.m a.d b.c dept est univ assn ave blvd rd al"
    " jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_STARTERS: Final = frozenset(
    "a after all although an and another as at because before both but by during each every few for from he her here "
    "his how however i if in it its many more most my no not on once one or other our she since so some such than that "
    "the their then there therefore these they this those though through thus to under until we what when where which "
    "while who why with yet you your".split()
)
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]$")


def split_sentences(text: str) -> list[Span]:
    """Find the sentences of a text.

    Returns:
        Spans `(start, end)` of characters in order, disjoint, without space at their ends; together they hold every
        character of `text` that is not space. A heading, a table row and a line of code are one span each, a list item
        at least one; list and heading markers belong to the span.
    """
    splitter = SentenceSplitter()
    return splitter.feed(text) + splitter.finish()


class SentenceSplitter:
    """The incremental form: any way of cutting a text into feeds gives the spans of `split_sentences`."""

    def __init__(self) -> None:
        self._text = ""
        self._offset = 0  # of _text in all that was fed
        self._start = 0  # of the unfinished sentence in _text
        self._at = 0  # everything in _text before it is decided
        self._at_line_start = True
        self._kind: _LineKind = "prose"
        self._is_fenced = False
        self._final = False
        self._found: list[Span] = []

    def feed(self, text: str) -> list[Span]:
        """Take the next characters; returns the spans that are finished now, counted from the first feed."""
        self._text += text
        self._advance()
        found, self._found = self._found, []
        self._offset += self._start
        self._at -= self._start
        self._text = self._text[self._start :]
        self._start = 0
        return found

    @property
    def settled(self) -> int:
        """Before this character of all that was fed, no sentence can end that has not been returned."""
        return self._offset + self._at

    def finish(self) -> list[Span]:
        """End the text; returns the spans that were still open. No feed may follow."""
        self._final = True
        self._advance()
        self._end_at(len(self._text))
        return self._found

    def _advance(self) -> None:
        while True:
            if self._at_line_start and not self._begin_line():
                return
            event = _EVENT.search(self._text, self._at)
            if event is None:
                self._at = len(self._text)
                return
            if not self._decide(event.start()):
                return

    def _decide(self, at: int) -> bool:
        """Decide the event at `at`; False when what comes next could change it, and `_at` then stays before it."""
        self._at = at
        character = self._text[at]
        if character == "\n":
            return self._end_line(at)
        if self._kind != "prose":
            self._at = at + 1
            return True
        if character in "|\t":
            return self._meet_separator(at)
        if character in "[`":
            return self._skip_atom(at)
        return self._terminate(at)

    def _begin_line(self) -> bool:
        """Classify the line at `_at` by its first characters."""
        start = _end_of(_SPACES, self._text, self._at)
        marker = self._block_marker(start)
        if marker is None:
            return False
        self._at, self._at_line_start = start, False
        if marker in ("```", "~~~"):
            self._is_fenced = not self._is_fenced
            self._kind = "code"
        elif self._is_fenced:
            self._kind = "code"
        else:
            self._kind = "whole" if marker[:1] in ("#", "|") else "prose"
            self._at = start + len(marker)
        return True

    def _block_marker(self, start: int) -> str | None:
        """The marker of the block that begins at `start`, empty for none; None when more text has to tell."""
        available = self._text[start : start + _MARKER_CHARACTERS]
        is_whole = self._final or len(available) == _MARKER_CHARACTERS or "\n" in available
        could_be_one = available[:1] in _MAYBE_BLOCK_START or available[1:2] == ")"
        if not could_be_one and (is_whole or len(available) > 1):
            return ""
        if not is_whole:
            return None
        found = _BLOCK_START.match(available)
        return found.group() if found else ""

    def _end_line(self, at: int) -> bool:
        """A newline ends a sentence when its line or the next one stands for itself."""
        following = _end_of(_SPACES, self._text, at)
        if self._kind == "prose" and "\n" not in self._text[at + 1 : following]:
            marker = self._block_marker(following)
            if marker is None:
                return False
            if not marker and (following < len(self._text) or not self._final):
                self._at, self._at_line_start = following, False
                return True
        self._end_at(at)
        self._at, self._at_line_start = at + 1, True
        return True

    def _meet_separator(self, at: int) -> bool:
        """A tab or a lone bar makes the rest of the line a table row, which is not cut again."""
        if at + 1 == len(self._text) and not self._final:
            return False
        around = self._text[max(at - 1, self._start) : at + 2]
        if around == " | " or (around[1:2] == "\t" and not around[0].isspace()):
            self._kind = "whole"
        self._at = at + 1
        return True

    def _skip_atom(self, at: int) -> bool:
        """Step over a Markdown link or a code span as a whole, or over its first character when it is neither."""
        is_link = self._text[at] == "["
        end = _end_of(_LINK_TEXT if is_link else _CODE_SPAN, self._text, at)
        if is_link and self._text[end : end + 2] == "](":
            end = _end_of(_LINK_TARGET, self._text, end + 2)
        elif is_link and end < len(self._text) and (self._text[end] != "]" or end + 1 < len(self._text)):
            self._at = at + 1
            return True
        if end + (self._text[end : end + 1] == "]") >= len(self._text) and not self._final:
            return False
        is_closed = self._text[end : end + 1] == (")" if is_link else "`")
        self._at = end + 1 if is_closed else at + 1
        return True

    def _terminate(self, at: int) -> bool:
        """A run of terminators ends a sentence when what stands before and behind it allows."""
        run_end = _end_of(_TERMINATORS, self._text, at)
        end = self._after_citations(_end_of(_CLOSERS, self._text, run_end))
        if end is None or (end == len(self._text) and not self._final):
            return False
        is_last = True
        if self._text[run_end - 1] not in _IDEOGRAPHIC:
            decided = self._may_end(at, run_end, end)
            if decided is None:
                return False
            is_last = decided
        if is_last:
            self._end_at(end)
        self._at = end if is_last else run_end
        return True

    def _after_citations(self, end: int) -> int | None:
        """Where the markers like [1] that follow a terminator end; None when more text has to tell."""
        while found := _CITATION.match(self._text, end):
            close = found.end()
            if close + 1 >= len(self._text) and not self._final:
                return None
            digits = any(character.isdigit() for character in found.group())
            if not digits or self._text[close : close + 1] != "]" or self._text[close + 1 : close + 2] == "(":
                break
            end = close + 1
        if end + 1 >= len(self._text) and not self._final:
            return None
        return end

    def _may_end(self, at: int, run_end: int, end: int) -> bool | None:
        """Whether a sentence may end at `end`; None when more text has to tell."""
        following = _end_of(_SPACES, self._text, end)
        if following == end and end < len(self._text):
            return False
        word_start = _end_of(_OPENERS, self._text, following)
        word_end = _end_of(_WORD, self._text, word_start)
        if word_end == len(self._text) and not self._final:
            return None
        word = self._text[word_start:word_end]
        if word[:1].islower():
            return False
        if self._text[at:run_end] != ".":
            return True
        return self._is_last_word(at, word)

    def _is_last_word(self, at: int, following: str) -> bool:
        """Whether the token before the full stop at `at` can be the last of its sentence."""
        found = _TOKEN.search(self._text[max(self._start, at - _TOKEN_CHARACTERS) : at])
        token = found.group() if found else ""
        lowered = token.lower().rstrip(".")
        if not following:
            return lowered not in _NEVER_LAST
        if lowered in _NEVER_LAST:
            return False
        if lowered in _BEFORE_A_NUMBER and following[0].isdigit():
            return False
        if token.isdigit() and at - len(token) == self._start + _leading_space(self._text, self._start):
            return False  # the number of a list item
        if lowered in _SOMETIMES_LAST or _ACRONYM.match(token):
            return following.lower() in _STARTERS
        return True

    def _end_at(self, end: int) -> None:
        """Finish the sentence that ends before `end`, if it holds more than space."""
        start = self._start + _leading_space(self._text, self._start)
        last = end
        while last > start and self._text[last - 1].isspace():
            last -= 1
        if last > start:
            self._found.append((self._offset + start, self._offset + last))
        self._start = max(end, self._start)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the match of `pattern` at `at` ends; `at` when there is none."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _leading_space(text: str, start: int) -> int:
    return _end_of(_SPACES, text, start) - start
