"""PDF: PDFium's text page by page, joined by a blank line; the outline gives the headings, pages locate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from ingest.parsers.decoding import clean
from ingest.parsers.headings import HeadingPath, one_line
from ingest.parsers.limits import ParserLimits
from rag.documents import Block, Document, Locator
from rag.errors import ParseError

_MAGIC = b"%PDF-"
_MAGIC_WITHIN = 1024  # readers accept rubbish before the header
_JOIN = "\n\n"
_PARAGRAPH = re.compile(r"\S(?:[^\n]|\n(?![ \t]*\n))*")
_MADE_BY_TOOLS = re.compile(
    r"(?:microsoft \w+ - .*|untitled.*|.*\.(?:docx?|tex|dvi|indd|pdf|pptx?|xlsx?|odt|qxd))", re.I
)
_MAX_OUTLINE = 20_000


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the outline, on the page that it points to, counted from 0."""

    page: int
    level: int
    text: str


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a PDF; the title is that of its metadata unless a tool made it up, else its name.

    Line-end hyphens are joined as PDFium joins them; a page without text takes no room.

    Raises:
        ParseError: `wrong_type`, `encrypted`, `corrupt`, `needs_ocr` (images but no text), `no_text`, `too_long`.
    """
    if _MAGIC not in data[:_MAGIC_WITHIN]:
        raise ParseError("wrong_type", "The name says PDF, but the content is none. Give it its right suffix.")
    document = _open(data)
    try:
        count = len(document)
        limits.check_pages(count)
        text, blocks = _read_pages(document, count, limits)
        if not text:
            raise _nothing(document, count)
        title = one_line(clean(document.get_metadata_value("Title") or ""))
        return Document(
            name if _MADE_BY_TOOLS.fullmatch(title) or not title else title, text, blocks, "application/pdf"
        )
    except pypdfium2.PdfiumError as error:
        raise ParseError("corrupt", f"The PDF is damaged: {_said(error)}. Print it to a new PDF.") from error
    finally:
        document.close()


def _open(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise ParseError("encrypted", "The PDF asks for a password. Save it without one.") from error
        raise ParseError("corrupt", f"The PDF cannot be opened: {_said(error)}. Print it to a new PDF.") from error


def _said(error: pypdfium2.PdfiumError) -> str:
    return str(error).rstrip(".")


def _read_pages(document: pypdfium2.PdfDocument, count: int, limits: ParserLimits) -> tuple[str, tuple[Block, ...]]:
    outline = _outline(document, count)
    path = HeadingPath()
    parts: list[str] = []
    blocks: list[Block] = []
    length = 0
    for number in range(count):
        text = _page_text(document, number)
        entries = outline.get(number, [])
        if not text:
            for entry in entries:
                path.enter(entry.level, entry.text)
            continue
        start = length + len(_JOIN) if parts else 0
        label = clean(document.get_page_label(number)) or None
        locator = Locator(page=number + 1, page_label=label if label != str(number + 1) else None)
        blocks.extend(_page_blocks(text, start, locator, entries, path))
        parts.append(text)
        length = start + len(text)
        limits.check_characters(length)
    return _JOIN.join(parts), tuple(blocks)


def _page_text(document: pypdfium2.PdfDocument, number: int) -> str:
    """A page's text with LF line ends. A page that cannot be loaded is a damaged file, never a silent gap."""
    page = document[number]
    try:
        words = page.get_textpage()
        try:
            # Bounded text is full Unicode and leaves out what lies off the page; a page whose box is broken has none.
            raw = words.get_text_bounded() or words.get_text_range()
        finally:
            words.close()
    finally:
        page.close()
    # U+FFFE is PDFium's mark for a hyphen at a line's end whose word goes on.
    joined = raw.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "")
    return "\n".join(line.rstrip() for line in clean(joined).split("\n")).strip()


def _outline(document: pypdfium2.PdfDocument, count: int) -> dict[int, list[_Entry]]:
    """The outline's entries by page; those that point nowhere are left out."""
    found: dict[int, list[_Entry]] = {}
    for number, bookmark in enumerate(document.get_toc()):
        if number >= _MAX_OUTLINE:
            break
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        text = one_line(clean(bookmark.get_title() or ""))
        if page is not None and 0 <= page < count and text:
            found.setdefault(page, []).append(_Entry(page, bookmark.level + 1, text))
    return found


def _page_blocks(text: str, start: int, locator: Locator, entries: list[_Entry], path: HeadingPath) -> Iterator[Block]:
    """Cut a page at the lines that are headings of the outline, and between them at blank lines."""
    position = 0
    for entry in entries:
        found = _heading_line(text, entry.text, position)
        if found is None:  # the title is set in another way on the page: it holds from where we are
            path.enter(entry.level, entry.text)
            continue
        yield from _paragraphs(text, position, found[0], start, locator, path.path)
        headings = path.enter(entry.level, entry.text)
        yield Block(start + found[0], start + found[1], "heading", headings, locator)
        position = found[1]
    yield from _paragraphs(text, position, len(text), start, locator, path.path)


def _heading_line(text: str, title: str, position: int) -> tuple[int, int] | None:
    """The line that says just `title`, with or without a number before it."""
    words = r"\s+".join(re.escape(word) for word in title.split())
    found = re.compile(rf"^[ \t]*((?:[\dIVX]+[.\d]*[ \t]+)?{words})[ \t]*$", re.M | re.I).search(text, position)
    return found.span(1) if found else None


def _paragraphs(
    text: str, begin: int, end: int, start: int, locator: Locator, headings: tuple[str, ...]
) -> Iterator[Block]:
    for found in _PARAGRAPH.finditer(text, begin, end):
        shown = found.start() + len(found.group().rstrip())
        yield Block(start + found.start(), start + shown, "paragraph", headings, locator)


def _nothing(document: pypdfium2.PdfDocument, count: int) -> ParseError:
    """Why there is no text: a scan, or nothing at all. Looking at a few pages is enough to tell."""
    for number in range(min(count, 20)):
        page = document[number]
        try:
            if any(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3)):
                return ParseError("needs_ocr", "The PDF is a scan: images without text. Recognise its text first.")
        finally:
            page.close()
    return ParseError("no_text", "The PDF has no text in it.")
