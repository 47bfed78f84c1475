"""PDF: PDFium's text page by page, joined by a blank line; the outline gives the headings, pages locate.

A page that has no text but an image is a scan, which tesseract reads where it is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from ingest.parsers.dates import told_date
from ingest.parsers.decoding import clean
from ingest.parsers.headings import HeadingPath, one_line
from ingest.parsers.limits import ParserLimits
from ingest.parsers.recognition import RecognisedPage, mean_confidence
from ingest.parsers.scans import has_image, read_scan
from rag.documents import AttributeValue, Block, Document, Locator
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

    Line-end hyphens are joined as PDFium joins them; a page without text takes no room. The attribute `ocr_pages` says
    how many pages tesseract read, `pages_without_text` on how many more there is an image but no text.

    Raises:
        ParseError: `wrong_type`, `encrypted`, `corrupt`, `needs_ocr` (a scan, and no tesseract), `image_without_text`
            (a scan, and nothing in it), `no_text`, `too_long`, and those of `recognition.recognise`.
    """
    if _MAGIC not in data[:_MAGIC_WITHIN]:
        raise ParseError("wrong_type", "The name says PDF, but the content is none. Give it its right suffix.")
    document = _open(data)
    try:
        count = len(document)
        limits.check_pages(count)
        pages = _Pages(document, count, limits)
        if not pages.texts:
            raise pages.nothing()
        title = one_line(clean(document.get_metadata_value("Title") or ""))
        return Document(
            name if _MADE_BY_TOOLS.fullmatch(title) or not title else title, _JOIN.join(pages.texts),
            tuple(pages.blocks), "application/pdf",
            {**pages.attributes, **told_date(*map(document.get_metadata_value, ("ModDate", "CreationDate")))},
        )  # fmt: skip
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


class _Pages:
    """The text and the blocks of all pages, and how many of them are scans."""

    def __init__(self, document: pypdfium2.PdfDocument, count: int, limits: ParserLimits) -> None:
        self.texts: list[str] = []
        self.blocks: list[Block] = []
        self._document = document
        self._limits = limits
        self._length = 0
        self._recognised: list[RecognisedPage] = []
        self._without_text = 0
        outline = _outline(document, count)
        path = HeadingPath()
        for number in range(count):
            self._add(number, outline.get(number, []), path)

    def _add(self, number: int, entries: list[_Entry], path: HeadingPath) -> None:
        text = _page_text(self._document, number) or self._scanned(number)
        if not text:
            for entry in entries:
                path.enter(entry.level, entry.text)
            return
        start = self._length + len(_JOIN) if self.texts else 0
        label = clean(self._document.get_page_label(number)) or None
        locator = Locator(page=number + 1, page_label=label if label != str(number + 1) else None)
        self.blocks.extend(_page_blocks(text, start, locator, entries, path))
        self.texts.append(text)
        self._length = start + len(text)
        self._limits.check_characters(self._length)

    def _scanned(self, number: int) -> str:
        """What tesseract reads on a page without text."""
        if not has_image(self._document, number):
            return ""
        page = read_scan(self._document, number, self._limits) if self._limits.can_recognise else RecognisedPage()
        if page.paragraphs:
            self._recognised.append(page)
        else:
            self._without_text += 1
        return _JOIN.join(page.paragraphs)

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """What is worth knowing of the scans, where there are any."""
        found = {
            "ocr_pages": len(self._recognised),
            "ocr_confidence": mean_confidence(self._recognised),
            "pages_without_text": self._without_text,
        }
        return {name: value for name, value in found.items() if value}

    def nothing(self) -> ParseError:
        """Why there is no text: a scan that cannot be read, one that shows no text, or nothing at all."""
        if not self._without_text:
            return ParseError("no_text", "The PDF has no text in it.")
        if self._limits.can_recognise:
            return ParseError("image_without_text", "The PDF is a scan, and no text was found in its images.")
        cure = "Install tesseract-ocr and its language data, or recognise its text first."
        if not self._limits.ocr_languages:
            cure = "Set QUOTH_INGEST__OCR=auto, or recognise its text first."
        return ParseError("needs_ocr", f"The PDF is a scan: images without text. {cure}")


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
