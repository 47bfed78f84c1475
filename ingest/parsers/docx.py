"""Word documents: xberg writes Markdown, which becomes the canonical text; the Markdown scanner finds the blocks.

Passages are located by heading path alone: the pages that a DOCX reports are not those that people print.
"""

from __future__ import annotations

import asyncio
import re

import xberg

from ingest.parsers.decoding import clean
from ingest.parsers.limits import ParserLimits
from ingest.parsers.markdown import Scan
from rag.documents import Document
from rag.errors import ParseError

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_ZIP = b"PK\x03\x04"
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # what Office wraps a document in when it encrypts it
_IMAGE = re.compile(r"!\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)")
_NAMED_BY_WORD = re.compile(r"(?:picture|image|graphic|grafik|bild|shape|object|chart)?\s*\d*", re.IGNORECASE)
# xberg leaves these escaped even where it is told not to escape; code it never escapes.
_ESCAPED_OR_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?(?:^\1[^\n]*$|\Z)|\\([\\!~`<>+.])", re.MULTILINE | re.DOTALL)
_BLANK_LINES = re.compile(r"\n{3,}")


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a Word document; the title is the document's own, else its first heading of level 1, else its name.

    Raises:
        ParseError: `wrong_type`, `encrypted`, `corrupt` (also: it expands beyond the limits), `needs_ocr`, `too_long`.
    """
    if data.startswith(_OLE):
        raise ParseError("encrypted", "The document has a password, or is of Word 97. Save it as DOCX without one.")
    if not data.startswith(_ZIP):
        raise ParseError("wrong_type", "The name says DOCX, but the content is none. Give it its right suffix.")
    markdown, own_title = asyncio.run(_extract(data, limits))
    text = _BLANK_LINES.sub("\n\n", _unescaped(_IMAGE.sub(_caption, clean(markdown)))).strip()
    if not text and _IMAGE.search(markdown):
        raise ParseError("needs_ocr", "The document holds images only. Recognise its text first.")
    limits.check_characters(len(text))
    scan = Scan(text, located=False)
    return Document(own_title or scan.title or name, text, tuple(scan.blocks), MEDIA_TYPE)


async def _extract(data: bytes, limits: ParserLimits) -> tuple[str, str]:
    """Markdown and the title in the document's properties. xberg offers this as a coroutine only."""
    config = xberg.ExtractionConfig(
        output_format="markdown",
        escape_markdown=False,
        use_cache=False,
        disable_ocr=True,
        enable_quality_processing=False,
        max_archive_depth=0,
        max_embedded_file_bytes=0,
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
        security_limits=xberg.SecurityLimits(max_content_size=8 * limits.max_characters),
    )
    source = xberg.ExtractInput(kind="bytes", bytes=data, filename="document.docx", mime_type=MEDIA_TYPE)
    try:
        result = await xberg.extract(source, config)
    except (RuntimeError, ValueError) as error:  # xberg's binding raises these for every bad file
        raise ParseError("corrupt", f"The document cannot be read: {error}. Open and save it in Word anew.") from error
    if not result.results:
        raise ParseError("corrupt", "The document cannot be read. Open and save it in Word anew.")
    document = result.results[0]
    return document.content or "", (document.metadata.title or "").strip()


def _unescaped(markdown: str) -> str:
    return _ESCAPED_OR_FENCE.sub(lambda found: found.group(2) or found.group(), markdown)


def _caption(image: re.Match[str]) -> str:
    """An image's description, unless it is the number that Word gave it."""
    caption = image.group(1).strip()
    return "" if _NAMED_BY_WORD.fullmatch(caption) else caption
