"""XML: the text of its elements, as paragraphs, table rows and `name: text` lines under the titles above them.

Nothing is fetched or expanded: a file that declares entities of its own is refused, names that HTML knows are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.entities import html5
from xml.parsers import expat

from ingest.parsers import hypertext
from ingest.parsers.decoding import decode
from ingest.parsers.headings import one_line
from ingest.parsers.limits import ParserLimits
from rag.documents import Block, BlockKind, Document
from rag.errors import ParseError

_MAX_DEPTH = 256
_INLINE_CHARACTERS = 2_000  # what is longer than this is no part of the sentence around it
_LONG_LINE = 200
_MAX_HEADINGS = 6
_TITLES = frozenset({"title", "heading", "head", "h1", "h2", "h3", "h4", "h5", "h6"})
_TITLES_OF_ALL = ("article-title", "invention-title", "title-of-invention")
_PROSE = (
    frozenset("abstract-p li p para paragraph simpara text claim-text td th entry cell dt dd line".split()) | _TITLES
)
_CELLS = frozenset({"td", "th", "entry", "cell"})
_CODE = frozenset({"pre", "code", "programlisting", "screen", "codeblock", "script", "style", "literallayout"})
_HAS_PROSE = re.compile(r"<(?:[\w.-]+:)?(?:p|para|paragraph|simpara|td|tgroup)[\s>]")
_NO_DATA = re.compile(r"xmlns(?::|$)|xml:|xsi:|xlink:type$")
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31};)")
_CDATA, _END_OF_CDATA = "<![CDATA[", "]]>"
_OF_XML = frozenset({"amp;", "lt;", "gt;", "quot;", "apos;"})
_HTML_ROOT = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,2000}?-->\s*)?(?:<!doctype\s+html[^>]*>\s*)?<html[\s>]", re.I | re.S
)
_MARKUP = re.compile(r"<(?:p|br|div|a|ul|ol|span|img|table|h[1-6])\b[^<>]*>", re.IGNORECASE)


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read an XML file.

    An element with text of its own, what is inside of it included, is one run of text. Elements that only hold others
    show their short texts as `name: text` lines. Attributes are shown where the file holds data, not prose. The title
    is an article's or patent's, else the first `title` near the top, else the file's name.

    Raises:
        ParseError: `binary`, `wrong_type`, `corrupt` (also: it declares entities), `too_deep`, `too_long`.
    """
    markup = decode(data, markup=True)
    limits.check_characters(len(markup) // 20)  # markup outweighs text, but not without end
    if markup and not markup.isspace() and not markup.lstrip().startswith("<"):
        raise ParseError("wrong_type", "The name says XML, but the content is none. Give it its right suffix.")
    if _HTML_ROOT.match(markup):
        return hypertext.parse(markup.encode(), name, limits)
    page = _Page(limits)
    if markup and not markup.isspace():
        _Reader(page, limits, shows_attributes=not _HAS_PROSE.search(markup)).read(markup.lstrip())
    return Document(page.title or name, "".join(page.parts), tuple(page.blocks), "application/xml")


@dataclass(slots=True)
class _Element:
    """An open element. `parts` are its text ("" for a name) and its short children, as they came."""

    name: str
    path: tuple[str, ...]
    attributes: str = ""
    title: str = ""
    written_title: str = ""  # the last one that is in the text already
    parts: list[tuple[str, str]] = field(default_factory=list)
    has_text: bool = False
    has_children: bool = False
    is_written: bool = False  # in part; what comes now stands behind


class _Reader:
    """Keeps what is short until the element around it tells whether it is prose or data, then writes it."""

    def __init__(self, page: _Page, limits: ParserLimits, *, shows_attributes: bool) -> None:
        self._page = page
        self._limits = limits
        self._shows_attributes = shows_attributes
        self._open: list[_Element] = []
        self._kept_from = 0  # open elements before this one have no parts
        self._with_text = 0
        self._seen = 0

    def read(self, markup: str) -> None:
        """Read a whole file. Raises ParseError `corrupt`, `too_deep`, `too_long`."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.EntityDeclHandler = _refuse_entity
        parser.SkippedEntityHandler = lambda name, is_parameter: None if is_parameter else self._text(f"&{name};")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(_with_characters(markup), True)
        except expat.ExpatError as error:
            raise ParseError("corrupt", f"The XML is broken: {error}. Repair or save it anew.") from error

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise ParseError("too_deep", f"Elements are nested more than {_MAX_DEPTH} deep. Flatten the file.")
        path: tuple[str, ...] = ()
        if self._open:
            above = self._open[-1]
            if not above.has_children and above.attributes:
                self._keep(above, len(self._open) - 1, above.name, above.attributes)
                above.attributes = ""
            above.has_children = True
            path = self._path_below(above, above.title)
        shown = ""
        if self._shows_attributes:
            shown = ", ".join(f"{_local(key)}={value}" for key, value in attributes.items() if not _NO_DATA.match(key))
            self._count(shown)
        self._open.append(_Element(_local(name), path, shown))

    def _path_below(self, element: _Element, title: str) -> tuple[str, ...]:
        """The path of what is in an element, under this of its titles; data goes by the element's name, too."""
        label = title or (element.name if self._shows_attributes and element is not self._open[0] else "")
        return (*element.path, label)[-_MAX_HEADINGS:] if label else element.path

    def _text(self, text: str) -> None:
        self._count(text)
        element = self._open[-1]
        blank = text.isspace()
        if not blank and not element.has_text:
            element.has_text = True
            self._with_text += 1
        if not blank or element.parts:
            self._keep(element, len(self._open) - 1, "", text if not blank or element.name in _CODE else " ")

    def _count(self, text: str) -> None:
        self._seen += len(text)
        self._limits.check_characters(self._seen // 4)  # white space and repeated markup go

    def _keep(self, element: _Element, index: int, name: str, text: str) -> None:
        element.parts.append((name, text))
        self._kept_from = min(self._kept_from, index)

    def _end(self, _: str) -> None:
        element = self._open[-1]
        is_short = sum(len(text) for _, text in element.parts) < _INLINE_CHARACTERS
        in_prose = self._with_text > element.has_text  # an element around this one has text of its own
        is_run = not element.has_children or element.has_text or element.name in _PROSE
        if not element.is_written and (is_run or (in_prose and is_short)) and len(self._open) > 1:
            self._open.pop()
            self._with_text -= element.has_text
            self._fold(element, is_run=is_run)
            return
        self._write_all()
        self._open.pop()

    def _fold(self, element: _Element, *, is_run: bool) -> None:
        """Hand an element's text to the one around it."""
        above = self._open[-1]
        text = ("" if is_run else " ").join(text for _, text in element.parts)
        name = element.name
        if element.attributes:
            name, text = (f"{name} ({element.attributes})", text) if text.strip() else (name, element.attributes)
        if not text and name not in _CELLS:
            return
        self._keep(above, len(self._open) - 1, name, text)
        shown = one_line(text)
        if element.name in _TITLES and shown and not above.has_text:
            above.title = shown
        self._page.note_title(element.name, shown, len(self._open))

    def _write_all(self) -> None:
        """Write what the open elements kept, the outermost first."""
        for element in self._open[self._kept_from :]:
            if element.parts:
                self._write(element)
            element.is_written = True
            self._with_text -= element.has_text
            element.has_text = False
        self._kept_from = len(self._open)

    def _write(self, element: _Element) -> None:
        if element.has_text or (element.name in _PROSE and element.name not in _TITLES):
            path = self._path_below(element, element.written_title)
            self._page.add("paragraph", "".join(text for _, text in element.parts), path)
        else:
            self._write_children(element)
        element.parts.clear()

    def _write_children(self, element: _Element) -> None:
        path = self._path_below(element, element.written_title)
        lines: list[str] = []
        cells: list[str] = []
        for name, raw in element.parts:
            text = " ".join(raw.split())
            if name in _CELLS:
                cells.append(text)
            elif name and name not in _PROSE and name not in _CODE and len(name) + len(text) <= _LONG_LINE:
                lines += [f"{name}: {text}"] if text else []
            elif text:
                self._page.add_lines(lines, path)
                if name in _TITLES:
                    element.written_title = one_line(text)
                    path = self._path_below(element, element.written_title)
                _add_alone(self._page, name, raw, path)
        self._page.add_lines(lines, path)
        self._page.add_row(cells, path)


def _add_alone(page: _Page, name: str, raw: str, path: tuple[str, ...]) -> None:
    """Add a text that is a block of its own."""
    if name in _TITLES:
        page.add("heading", raw, path)
    elif name in _CODE:
        page.add("code", raw, path)
    elif _MARKUP.search(raw):
        page.add_markup(raw, path)
    else:
        page.add("paragraph", f"{name}: {raw}" if name and name not in _PROSE else raw, path)


class _Page:
    """The text and blocks so far."""

    def __init__(self, limits: ParserLimits) -> None:
        self.parts: list[str] = []
        self.blocks: list[Block] = []
        self.title = ""
        self._rank = 2  # of the title; a better one has a lower number
        self._limits = limits
        self._length = 0

    def note_title(self, name: str, text: str, depth: int) -> None:
        """Consider a text of the element `name` as the title of all."""
        rank = 0 if name in _TITLES_OF_ALL else 1 if name == "title" and depth <= 3 else 2
        if text and rank < self._rank:
            self.title, self._rank = text, rank

    def add_lines(self, lines: list[str], path: tuple[str, ...]) -> None:
        """Add lines as a paragraph, and empty the list."""
        self._add("paragraph", "\n".join(lines), path)
        lines.clear()

    def add_row(self, cells: list[str], path: tuple[str, ...]) -> None:
        """Add a row to the table that is being written, or begin one."""
        self._add("table", " | ".join(cells).strip(" |"), path)

    def add(self, kind: BlockKind, text: str, path: tuple[str, ...]) -> None:
        """Add a block; white space is collapsed but in code."""
        if kind != "code":
            self._add(kind, " ".join(text.split()), path)
        else:
            lines = (line.rstrip() for line in text.replace("\r\n", "\n").split("\n"))
            self._add(kind, "\n".join(lines).strip("\n").lstrip(), path)

    def add_markup(self, markup: str, path: tuple[str, ...]) -> None:
        """Add HTML that the file carries as text, as feeds do."""
        document = hypertext.parse(markup.encode(), "", self._limits)
        for block in document.blocks:
            self._add(block.kind, document.text[block.start : block.end], (*path, *block.headings))

    def _add(self, kind: BlockKind, text: str, path: tuple[str, ...]) -> None:
        if not text:
            return
        start = self._length
        last = self.blocks[-1] if self.blocks else None
        if last:
            goes_on = kind == last.kind == "table" and path == last.headings
            gap = "\n" if goes_on else "\n\n"
            self.parts.append(gap)
            start = last.start if goes_on else start + len(gap)
            self._length += len(gap)
            if goes_on:
                self.blocks.pop()
        self.parts.append(text)
        self._length += len(text)
        self._limits.check_characters(self._length)
        self.blocks.append(Block(start, self._length, kind, path))


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse_entity(name: str, *declared: object) -> None:
    if declared[-1] is None:  # no notation; else it names a picture or the like, which no text can refer to
        raise ParseError(
            "corrupt",
            f"The XML declares an entity ({one_line(name)}), which is not read: such files can grow without end. "
            "Save it with its entities replaced.",
        )


def _with_characters(markup: str) -> str:
    """The markup with the characters that HTML has names for; a CDATA section says what it says."""
    parts: list[str] = []
    at = 0
    while at < len(markup):
        opening = markup.find(_CDATA, at)
        opening = opening if opening >= 0 else len(markup)
        closing = markup.find(_END_OF_CDATA, opening)
        behind = closing if closing >= 0 else len(markup)
        parts += (_ENTITY.sub(_character, markup[at:opening]), markup[opening:behind])
        at = behind
    return "".join(parts)


def _character(found: re.Match[str]) -> str:
    """A character that HTML has a name for, as a number, so that it can never be markup."""
    name = found.group(1)
    if name in _OF_XML or name not in html5:
        return found.group()
    return "".join(f"&#{ord(character)};" for character in html5[name])
