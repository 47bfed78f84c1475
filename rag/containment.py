"""What a model writes leaves as plain text: nothing in it is a link, an image or a tag, however it is rendered.

A space is put where one more character would make something live, and an address that no passage holds is taken out:

    <b>          < b>            tags, comments, <autolinks>
    [a](b)       [a] (b)         links and images; [a][b] is none without its definition
    [a]: b       [a] : b         definitions, at the beginning of a line
    &lt;         & lt;           entities that stand for markup, and all numeric ones
    a@b.example  a @b.example    mail addresses
    evil.com/x   evil .com/x     hosts without a scheme that renderers link; //host gets a space behind the bars
    \\href        \\ href          what makes links of formulas
    http://...   ‹link removed›  addresses with a scheme, and www.

Everywhere alike, code included: which lines are code depends on the renderer. All decisions look at the text and never
at the pieces that it comes in.
"""

from __future__ import annotations

from collections.abc import Callable
from html.entities import html5
from typing import Final

import regex

from rag.address_rules import AddressRules, Step
from rag.bare_urls import URL_END, plain
from rag.fenced_code import FENCE_LINE, fence_without_renderer
from rag.hidden_text import INVISIBLE, VisibleText

SLICE_CHARACTERS: Final = 1000
CONTEXT_CHARACTERS: Final = 320  # more than any look back, so that how much is kept never matters

_CANDIDATE = regex.compile(r"[<&\[\]@:/.\\`~\n]|(?<![A-Za-z0-9])[hfmxjvdw]", regex.IGNORECASE)
_TAG = regex.compile(r"<[A-Za-z/!?]")
_MAIL_IN_BRACKETS = regex.compile(r"<[^\s<>@=\-]{1,1000}+(?:@|[^\s<>@=\-])")
_NUMERIC = regex.compile(r"&#(?:[0-9]|[xX][0-9a-fA-F])")
_LEGACY = regex.compile(r"&(?:lt|gt|amp|quot)", regex.IGNORECASE)
_NAMED = regex.compile(r"&([A-Za-z][A-Za-z0-9]{1,31}+;)")
_INVISIBLE = regex.compile(f"[{INVISIBLE}]")
_FORMULA = regex.compile(r"\\(?:href|url|includegraphics|html(?:Class|Id|Style|Data)|cssId|require)[^A-Za-z]")
# Markers of lists, quotes and definitions; so many of them that the line's beginning is out of sight count as one.
_LINE_PREFIX = regex.compile(r"(?:\n[ \t>*+\-\d.):]{0,299}|[ \t>*+\-\d.):]{300})$")
_BLANK_LINE = regex.compile(r"\n[ \t]{0,100}$")


def _is_markup(decoded: str) -> bool:
    return any(character.isascii() or _INVISIBLE.match(character) for character in decoded)


MARKUP_ENTITIES: Final = frozenset(name for name, decoded in html5.items() if name[-1] == ";" and _is_markup(decoded))


class Containment:
    """A state machine over one stream of text.

    Args:
        allowed: whether an address may stay: it stands verbatim in a passage that the answer may cite.
    """

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._visible = VisibleText()
        self._seen = "\n"  # the end of what was passed on
        self._held = ""
        self._may_define = False  # a line of this paragraph began with a bracket
        self._addresses = AddressRules(allowed)
        self._markup: dict[str, Callable[[str, int], Step | None]] = {
            "<": self._meet_angle, "&": self._meet_ampersand, "[": self._open_bracket, "]": self._close_bracket,
            "\\": self._meet_backslash, "`": self._meet_fence, "~": self._meet_fence, "\n": self._end_line,
        }  # fmt: skip

    def feed(self, text: str) -> str:
        """Take the next characters; returns those that can be passed on, made harmless."""
        seen = self._visible.feed(text)
        slices = range(0, len(seen), SLICE_CHARACTERS)
        return "".join(self._pass_on(seen[start : start + SLICE_CHARACTERS]) for start in slices)

    def finish(self) -> str:
        """End the text; returns what was held back. No feed may follow."""
        # The end of a line decides whatever is open, and is taken off again.
        return self._pass_on(self._visible.finish() + "\n")[:-1]

    def _pass_on(self, added: str) -> str:
        text = self._seen + self._held + added
        like = plain(text)
        begin = at = len(self._seen)
        while True:
            if self._addresses.is_overlong:
                end = URL_END.search(text, at)
                self._addresses.is_overlong = end is None
                rest = end.start() if end else len(text)
                text, like = text[:at] + text[rest:], like[:at] + like[rest:]
            found = _CANDIDATE.search(like, at)
            at = found.start() if found else len(text)
            if found is None:
                break
            rule = self._markup.get(text[at])
            step = rule(text, at) if rule else self._addresses.meet(text, like, at)
            if step is None:
                break
            end_at, shown = step
            if shown != text[at:end_at]:
                text, like = text[:at] + shown + text[end_at:], like[:at] + plain(shown) + like[end_at:]
            at += len(shown)
        self._held = text[at:]
        self._seen = text[max(0, at - CONTEXT_CHARACTERS) : at]
        return text[begin:at]

    def _meet_angle(self, text: str, at: int) -> Step | None:
        if at + 1 == len(text):
            return None
        if _TAG.match(text, at):
            return at + 1, "< "
        mail = _MAIL_IN_BRACKETS.match(text, at, partial=True)
        if mail is None:
            return at + 1, "<"
        return None if mail.partial else (at + 1, "< ")

    def _meet_ampersand(self, text: str, at: int) -> Step | None:
        for pattern in (_NUMERIC, _LEGACY, _NAMED):
            found = pattern.match(text, at, partial=True)
            if found is None:
                continue
            if found.partial:
                return None
            if pattern is not _NAMED or found[1] in MARKUP_ENTITIES:
                return at + 1, "& "
        return at + 1, "&"

    def _open_bracket(self, text: str, at: int) -> Step:
        self._may_define = self._may_define or _begins_line(text, at)
        return at + 1, "["

    def _close_bracket(self, text: str, at: int) -> Step | None:
        if at + 1 == len(text):
            return None
        is_live = text[at + 1] == "(" or (text[at + 1] == ":" and self._may_define)
        return at + 1, "] " if is_live else "]"

    def _end_line(self, text: str, at: int) -> Step:
        if _BLANK_LINE.search(text, max(0, at - 101), at):
            self._may_define = False
        return at + 1, "\n"

    def _meet_backslash(self, text: str, at: int) -> Step | None:
        found = _FORMULA.match(text, at, partial=True)
        if found is not None and found.partial:
            return None
        return at + 1, text[at] + (" " if found else "")

    def _meet_fence(self, text: str, at: int) -> Step | None:
        """A line that opens a block of code may name a renderer for it."""
        if text[at - 1] == text[at] or not _begins_line(text, at):
            return at + 1, text[at]
        line = FENCE_LINE.match(text, at, partial=True)
        if line is None:
            return at + 1, text[at]
        if line.partial:
            return None
        if "`" in line[1] and "`" in line[2]:
            return line.end(1), line[1]  # code within a line: what follows it is text like any other
        return line.end(2), fence_without_renderer(line[1], line[2])


def _begins_line(text: str, at: int) -> bool:
    return _LINE_PREFIX.search(text, max(0, at - 300), at) is not None


def contain(text: str, allowed: Callable[[str], bool]) -> str:
    """A whole text, contained."""
    containment = Containment(allowed)
    return containment.feed(text) + containment.finish()
