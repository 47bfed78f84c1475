"""OpenDocument: a walk over `content.xml` writes readable text and its blocks, as the one over a page of HTML does.

Left out: deleted text of tracked changes, comments, tables of contents, forms, and embedded objects.
"""

from __future__ import annotations

import zipfile
from xml.etree.ElementTree import Element

from ingest.parsers.decoding import clean
from ingest.parsers.limits import ParserLimits
from ingest.parsers.office import own_date, own_title
from ingest.parsers.packages import read_xml
from ingest.parsers.transcript import Transcript
from rag.documents import Document
from rag.errors import ParseError

TEXT = "application/vnd.oasis.opendocument.text"
PRESENTATION = "application/vnd.oasis.opendocument.presentation"

_PREFIXES = {
    f"urn:oasis:names:tc:opendocument:xmlns:{name}:1.0": name
    for name in ("text", "table", "office", "presentation")
} | {
    "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0": "draw",
    "urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0": "svg",
}  # fmt: skip
_SKIPPED = frozenset(
    {
        "text:tracked-changes", "text:table-of-content", "text:note-citation", "text:ruby-text", "text:hidden-text",
        "text:sequence-decls", "text:variable-decls", "text:user-field-decls", "office:annotation", "office:forms",
        "office:scripts", "office:event-listeners", "draw:object", "draw:object-ole", "draw:plugin", "svg:title",
        "presentation:notes",
    }
)  # fmt: skip
_PARAGRAPHS = frozenset({"text:p", "svg:desc"})
_CELLS = frozenset({"table:table-cell", "table:covered-table-cell"})
_ITEMS = {"text:list-item": "li", "text:list-header": "li", "table:table-row": "tr"}
_CONTAINERS = {"text:list": "list", "table:table": "table"}
_MAX_DEPTH = 200
_MAX_REPEATED = 100  # cells: more are only there to fill a row
_MAX_SPACES = 100


def parse_text(archive: zipfile.ZipFile, name: str, limits: ParserLimits) -> Document:
    """Read an OpenDocument text; footnotes follow the paragraph, list or table that they belong to.

    Raises:
        ParseError: `corrupt`, `needs_ocr`, `too_long`, `too_deep`.
    """
    transcript = Transcript(limits)
    writer = Writer(transcript)
    for node in body_of(archive, limits):
        writer.write(node)
        writer.write_notes()
    transcript.finish()
    if transcript.is_empty and writer.has_images:
        raise ParseError("needs_ocr", "The document holds images only. Recognise its text first.")
    title = own_title(archive) or transcript.title or name
    return Document(title, transcript.text, tuple(transcript.blocks), TEXT, own_date(archive))


def body_of(archive: zipfile.ZipFile, limits: ParserLimits) -> list[Element]:
    """The paragraphs, tables or slides of a document. Raises ParseError `corrupt`, `too_long`."""
    root = read_xml(archive, "content.xml", limits.max_expanded_bytes)
    body = next((node for node in root if kind_of(node) == "office:body"), None)
    return [node for content in body for node in content] if body is not None else []


def kind_of(node: Element) -> str:
    """An element's name with the prefix that the standard gives it, such as `text:p`; "" when it is none of these."""
    space, _, name = str(node.tag)[1:].rpartition("}")
    return f"{_PREFIXES[space]}:{name}" if space in _PREFIXES else ""


def attribute(node: Element, name: str) -> str:
    """The value of the attribute of this local name, of whichever namespace; "" for none."""
    return next((value for key, value in node.attrib.items() if key.rpartition("}")[2] == name), "")


class Writer:
    """Sends the begin and end of elements to a transcript."""

    def __init__(self, transcript: Transcript) -> None:
        self.has_images = False
        self._transcript = transcript
        self._notes: list[Element] = []
        self._in_cell = False  # where lists and tables are lines like others: a row is one line

    def write(self, node: Element, depth: int = 0, *, inline: bool = False) -> None:
        """Write an element and what is in it. Raises ParseError `too_deep`."""
        if depth > _MAX_DEPTH:
            raise ParseError("too_deep", f"Elements are nested more than {_MAX_DEPTH} deep.")
        kind, transcript = kind_of(node), self._transcript
        if kind in _SKIPPED:
            return
        if kind == "text:note":
            self._notes.append(node)
        elif kind in _PARAGRAPHS or (kind == "text:h" and self._in_cell):
            transcript.line(paragraph=True)
            self._inside(node, depth, inline=True)
            transcript.line(paragraph=True)
        elif kind == "text:h":
            level = attribute(node, "outline-level")
            self.heading(node, int(level) if level.isdecimal() and len(level) < 3 else 1, depth)
        elif self._in_cell:
            self._other(node, kind, depth, inline)
        elif kind in _CONTAINERS or kind in _ITEMS:
            self._structure(node, kind, depth)
        elif kind in _CELLS:
            self._cells(node, depth)
        else:
            self._other(node, kind, depth, inline)

    def heading(self, node: Element, level: int, depth: int = 0) -> None:
        """Write what is in an element as one heading."""
        self._transcript.heading(level, True)
        self._inside(node, depth, inline=kind_of(node) == "text:h")
        self._transcript.heading(level, False)

    def write_notes(self) -> None:
        """Write the footnotes that were met since the last call."""
        notes, self._notes = self._notes, []
        for note in notes:
            self._transcript.line(paragraph=True)
            self._inside(note, 0, inline=False)
            self._transcript.line(paragraph=True)

    def _structure(self, node: Element, kind: str, depth: int) -> None:
        if kind == "table:table-row" and not any(text.strip() for text in node.itertext()):
            return
        for entering in (True, False):
            if kind in _ITEMS:
                self._transcript.item(_ITEMS[kind], entering)
            else:
                self._transcript.container(_CONTAINERS[kind], entering)
            if entering:
                self._inside(node, depth, inline=False)

    def _cells(self, node: Element, depth: int) -> None:
        repeated = attribute(node, "number-columns-repeated")
        count = int(repeated) if repeated.isdecimal() and len(repeated) < 10 else 1
        for _ in range(min(max(count, 1), _MAX_REPEATED)):
            self._transcript.cell(True)
            self._in_cell = True
            self._inside(node, depth, inline=False)
            self._in_cell = False
            self._transcript.cell(False)

    def _other(self, node: Element, kind: str, depth: int, inline: bool) -> None:
        if kind == "draw:image":
            self.has_images = True
        elif kind == "text:line-break":
            self._transcript.line(paragraph=False)
        elif kind in ("text:s", "text:tab"):
            spaces = attribute(node, "c")
            self._transcript.write(" " * min(int(spaces) if spaces.isdecimal() else 1, _MAX_SPACES))
        self._inside(node, depth, inline=inline)

    def _inside(self, node: Element, depth: int, *, inline: bool) -> None:
        if inline and node.text:
            self._transcript.write(clean(node.text))
        for child in node:
            self.write(child, depth + 1, inline=inline)
            if inline and child.tail:
                self._transcript.write(clean(child.tail))
