"""The path of headings above a place in a document, and what a heading looks like in it."""

from __future__ import annotations

import re

_SPACE = re.compile(r"\s+")
_LINK = re.compile(r"!?\[([^\]\[]{0,500})\](?:\([^()\s]{0,2000}(?: [^()]{0,500})?\)|\[[^\]]{0,200}\])")
_ANCHOR = re.compile(r"\s*\{\s*[#.][^{}]{0,200}\}\s*$")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>")
_EMPHASIS = re.compile(r"(\*\*|__|\*|`+|~~)(?=\S)(.{1,500}?)(?<=\S)\1")
MAX_HEADING_CHARACTERS = 200


class HeadingPath:
    """The open headings while a document is read from top to bottom."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, text: str) -> tuple[str, ...]:
        """Open a heading, closing those of its level and deeper; return the path down to it."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        if text:
            self._open.append((level, text))
        return self.path

    @property
    def path(self) -> tuple[str, ...]:
        """The open headings, the outermost first."""
        return tuple(text for _, text in self._open)


def one_line(text: str) -> str:
    """The text with every run of white space as one space, cut to a heading's length."""
    return _SPACE.sub(" ", text).strip()[:MAX_HEADING_CHARACTERS].rstrip()


def without_markup(text: str) -> str:
    """A Markdown heading as readers see it: no anchors, links, emphasis or tags."""
    text = _ANCHOR.sub("", text[: 10 * MAX_HEADING_CHARACTERS])
    text = _TAG.sub("", _LINK.sub(r"\1", text))
    for _ in range(2):  # code or emphasis inside emphasis
        text = _EMPHASIS.sub(r"\2", text)
    return one_line(text)
