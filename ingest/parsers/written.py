"""Written documents: Word of all ages, RTF, OpenDocument text and EPUB; the content decides which of them it is.

Word and RTF become Markdown by xberg, which is then the canonical text; the Markdown scanner finds the blocks.
Passages are located by heading path alone: the pages that such files report are not those that people print.
"""

from __future__ import annotations

import re
import struct

from ingest.parsers import epub, opendocument
from ingest.parsers.decoding import clean
from ingest.parsers.limits import ParserLimits
from ingest.parsers.markdown import Scan
from ingest.parsers.office import (
    MADE_UP,
    OLE,
    ZIP,
    date_of,
    package_kind,
    read,
    refuse_encrypted,
    stream_start,
    title_of,
    wrong_type,
)
from ingest.parsers.packages import check_package
from rag.documents import Document
from rag.errors import ParseError

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
WORD_97 = "application/msword"
RTF = "application/rtf"

_FIB_ENCRYPTED = 0x0100
_IMAGE = re.compile(r"!\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)")
_NAMED_BY_WORD = re.compile(r"(?:picture|image|graphic|grafik|bild|shape|object|chart)?\s*\d*", re.IGNORECASE)
# xberg leaves these escaped even where it is told not to escape; code it never escapes.
_ESCAPED_OR_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?(?:^\1[^\n]*$|\Z)|\\([\\!~`<>+.])", re.MULTILINE | re.DOTALL)
_UNDERLINE_IN_CELL = re.compile(r"\\</?u\\>")
# A reviewer's comment is not the document's own text.
_COMMENT_MARK = re.compile(r"\[cmt:\d+\]")
_COMMENT = re.compile(r"^\[\^cmt\d+\]:.*(?:\n(?:[ \t]+\S.*)?)*", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
# Groups of RTF that are not shown, or on every page; xberg writes them into the text.
_RTF_TOKEN = re.compile(rb"\\bin(\d{1,9}) ?|\\[^a-zA-Z]|[{}]")
_RTF_APART = re.compile(rb"\{\s*(?:\\\*)?\\(?:header|footer)[lrf]?(?![a-z])|\{\s*\\deleted(?![a-z0-9])")


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a written document; the title is the document's own, else its first heading of level 1, else its name.

    Raises:
        ParseError: `wrong_type`, `encrypted`, `corrupt`, `needs_ocr`, `too_long`, `too_deep`, `unsupported`.
    """
    if data.startswith(ZIP):
        return _packaged(data, name, limits)
    if data.startswith(OLE):
        _check_word_97(data)
        return _by_markdown(data, name, limits, "doc", WORD_97)
    if data.lstrip()[:5] == b"{\\rtf":
        return _by_markdown(_without_page_headers(data.lstrip()), name, limits, "rtf", RTF)
    raise wrong_type(data, "a written document")


def _packaged(data: bytes, name: str, limits: ParserLimits) -> Document:
    with check_package(data, limits) as archive:
        kind = package_kind(archive)
        if kind.startswith(opendocument.TEXT):
            return opendocument.parse_text(archive, name, limits)
        if kind == epub.MEDIA_TYPE or "META-INF/container.xml" in archive.NameToInfo:
            return epub.parse(archive, name, limits)
    if not re.search("wordprocessingml|ms-word", kind):
        raise wrong_type(data, "a written document")
    return _by_markdown(data, name, limits, "docx", WORD)


def _check_word_97(data: bytes) -> None:
    refuse_encrypted(data)
    start = stream_start(data, "WordDocument")
    if start is None:
        raise ParseError("encrypted", "The document has a password, or is none of Word's. Save it as DOCX without one.")
    if start + 12 <= len(data) and struct.unpack_from("<H", data, start + 10)[0] & _FIB_ENCRYPTED:
        raise ParseError("encrypted", "The document has a password. Save it without one.")


def _by_markdown(data: bytes, name: str, limits: ParserLimits, suffix: str, media_type: str) -> Document:
    document = read(data, suffix, media_type, limits)
    markdown = document.content or ""
    text = readable(markdown)
    if not text and _IMAGE.search(markdown):
        raise ParseError("needs_ocr", "The document holds images only. Recognise its text first.")
    limits.check_characters(len(text))
    scan = Scan(text, located=False)
    return Document(title_of(document) or scan.title or name, text, tuple(scan.blocks), media_type, date_of(document))


def readable(markdown: str) -> str:
    """xberg's Markdown without what only a renderer needs: images, escapes, comments, control characters."""
    text = _COMMENT.sub("", _COMMENT_MARK.sub("", _IMAGE.sub(_caption, clean(markdown))))
    text = _ESCAPED_OR_FENCE.sub(lambda found: found.group(2) or found.group(), _UNDERLINE_IN_CELL.sub("", text))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _caption(image: re.Match[str]) -> str:
    """An image's description, unless it is the number that Word gave it."""
    caption = MADE_UP.sub("", image.group(1)).strip()
    return "" if _NAMED_BY_WORD.fullmatch(caption) else caption


def _without_page_headers(data: bytes) -> bytes:
    """RTF without the groups of page headers, page footers and deleted text."""
    kept = bytearray()
    position = 0
    while found := _RTF_APART.search(data, position):
        kept += data[position : found.start()]
        position = _end_of_group(data, found.start())
    return bytes(kept + data[position:]) if position else data


def _end_of_group(data: bytes, start: int) -> int:
    """Behind the brace that closes the group at `start`; behind all when none does."""
    depth, at = 0, start
    while token := _RTF_TOKEN.search(data, at):
        at = token.end()
        if token.group(1):
            at += int(token.group(1))
        elif token.group() in (b"{", b"}"):
            depth += 1 if token.group() == b"{" else -1
            if not depth:
                return at
    return len(data)
