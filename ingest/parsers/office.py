"""What the office formats share: telling their containers apart, and xberg's reading of them."""

from __future__ import annotations

import asyncio
import re
import struct
import zipfile

import xberg

from ingest.parsers.dates import told_date
from ingest.parsers.decoding import clean
from ingest.parsers.headings import one_line
from ingest.parsers.limits import ParserLimits
from ingest.parsers.packages import read_entry, read_xml
from rag.errors import ParseError

ZIP = b"PK\x03\x04"
OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # the container of Office 97, and of what newer ones encrypt
# What Office adds to the descriptions of pictures that it wrote itself.
MADE_UP = re.compile(
    r"\s*(?:Description automatically generated.*|AI-generated content may be incorrect\.?)", re.DOTALL
)

_MAIN_PART = re.compile(rb"ContentType\s*=\s*[\"']([^\"']*\.main(?:\+xml)?)[\"']")
_PROPERTIES = ("docProps/core.xml", "meta.xml")
_PROPERTIES_BYTES = 4 << 20
_ANY_RATIO = 1_100  # of deflate at its best: what a package expands to was measured before
_LEADS = (
    (b"%PDF-", "a PDF"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (ZIP, "a ZIP archive, or of another Office program"),
    (OLE, "of another Office program, or of Office 97"),
)


def wrong_type(data: bytes, wanted: str) -> ParseError:
    """The error for content that is not `wanted`, such as "a Word document"; it says what it seems to be."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    seems = next((what for lead, what in _LEADS if start.startswith(lead)), "")
    if not seems and start[:1] == b"<":
        seems = "an HTML page" if b"<html" in start.lower() or b"<table" in start.lower() else "XML"
    if not seems:
        seems = "text" if start and not any(byte < 9 for byte in start) else "something else"
    return ParseError(
        "wrong_type", f"By its name this is {wanted}, but it seems to be {seems}. Give it its own suffix."
    )


def package_kind(archive: zipfile.ZipFile) -> str:
    """What a ZIP archive holds: its main part's content type in Office, or the `mimetype` of OpenDocument and EPUB."""
    names = archive.NameToInfo
    if "mimetype" in names:
        return read_entry(archive, names["mimetype"], _PROPERTIES_BYTES).decode("ascii", "replace").strip()
    if "[Content_Types].xml" in names:
        types = read_entry(archive, names["[Content_Types].xml"], _PROPERTIES_BYTES)
        found = _MAIN_PART.search(types)
        return found.group(1).decode("ascii", "replace") if found else ""
    return ""


def own_title(archive: zipfile.ZipFile) -> str:
    """The title in the document's properties; "" for none."""
    for name in _PROPERTIES:
        if name in archive.NameToInfo:
            for node in read_xml(archive, name, _PROPERTIES_BYTES).iter():
                if str(node.tag).rpartition("}")[2] == "title":
                    return one_line(clean(node.text or ""))
    return ""


def own_date(archive: zipfile.ZipFile) -> dict[str, str]:
    """The attribute `date` by the document's properties: when it was changed last, else made; empty for neither."""
    said: dict[str, str] = {}
    for name in _PROPERTIES:
        if name in archive.NameToInfo:
            for node in read_xml(archive, name, _PROPERTIES_BYTES).iter():
                said.setdefault(str(node.tag).rpartition("}")[2], node.text or "")
    return told_date(*(said.get(name) for name in ("modified", "date", "created", "creation-date")))


def stream_start(data: bytes, name: str) -> int | None:
    """Where a stream of an OLE container begins, found by its directory entry; None when there is no such stream."""
    shown = name.encode("utf-16-le")
    at = data.find(shown.ljust(64, b"\0") + struct.pack("<H", len(shown) + 2))
    if at < 0 or at + 0x78 > len(data):
        return None
    (sector,) = struct.unpack_from("<I", data, at + 0x74)
    (shift,) = struct.unpack_from("<H", data, 30)
    return int(sector + 1) << (shift if shift in (9, 12) else 9)


def refuse_encrypted(data: bytes) -> None:
    """Raise ParseError `encrypted` when an OLE container holds what Office encrypted."""
    if any(stream_start(data, name) is not None for name in ("EncryptedPackage", "EncryptedSummary")):
        raise ParseError("encrypted", "The file has a password. Save it without one.")


def title_of(document: xberg.ExtractedDocument) -> str:
    """The title in the properties of a document that xberg read; "" for none."""
    return one_line(clean(document.metadata.title or ""))


def date_of(document: xberg.ExtractedDocument) -> dict[str, str]:
    """The same as `own_date`, of a document that xberg read."""
    return told_date(document.metadata.modified_at, document.metadata.created_at)


def read(data: bytes, suffix: str, media_type: str, limits: ParserLimits) -> xberg.ExtractedDocument:
    """Let xberg read a document: Markdown in `content`, and its structure as nodes.

    Raises:
        ParseError: `corrupt`, `too_long`.
    """
    return asyncio.run(_read(data, suffix, media_type, limits))


async def _read(data: bytes, suffix: str, media_type: str, limits: ParserLimits) -> xberg.ExtractedDocument:
    """xberg offers this as a coroutine only."""
    config = xberg.ExtractionConfig(
        output_format="markdown",
        escape_markdown=False,
        use_cache=False,
        disable_ocr=True,
        enable_quality_processing=False,
        include_document_structure=suffix == "ppt",
        max_archive_depth=0,
        max_embedded_file_bytes=0,
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
        security_limits=xberg.SecurityLimits(
            max_content_size=8 * limits.max_characters,
            max_archive_size=limits.max_expanded_bytes,
            max_compression_ratio=_ANY_RATIO,
            max_files_in_archive=limits.max_entries,
        ),
    )
    source = xberg.ExtractInput(kind="bytes", bytes=data, filename=f"document.{suffix}", mime_type=media_type)
    advice = "Open it in the program that wrote it, and save it anew."
    try:
        result = await xberg.extract(source, config)
    except (RuntimeError, ValueError) as error:  # xberg's binding raises these for every bad file
        if "nesting too deep" in str(error).lower():
            raise ParseError("too_deep", f"Parts of the document are nested too deep: {error}. {advice}") from error
        if "security" in str(error).lower() or "too large" in str(error).lower():
            raise ParseError("too_long", f"The document is larger than it may be: {error}. Split it.") from error
        raise ParseError("corrupt", f"The document cannot be read: {error}. {advice}") from error
    if not result.results:
        raise ParseError("corrupt", f"The document cannot be read. {advice}")
    return result.results[0]
