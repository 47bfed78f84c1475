"""EPUB: the book's files in reading order, each read as the HTML page it is."""

from __future__ import annotations

import posixpath
import re
import zipfile
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from ingest.parsers import hypertext
from ingest.parsers.dates import told_date
from ingest.parsers.decoding import clean, decode
from ingest.parsers.headings import one_line
from ingest.parsers.joined import join
from ingest.parsers.limits import ParserLimits
from ingest.parsers.packages import read_entry, read_xml
from rag.documents import Document
from rag.errors import ParseError

MEDIA_TYPE = "application/epub+zip"

_PAGES = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})
# XHTML may close any element in its first tag; HTML, as which the pages are read, would leave it open.
_CLOSED = re.compile(r"<([A-Za-z][A-Za-z0-9:._-]*)(\s[^<>]*)?/>")
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_HAS_IMAGE = re.compile(rb"<(?:img|image|svg:image)\b", re.IGNORECASE)


def parse(archive: zipfile.ZipFile, name: str, limits: ParserLimits) -> Document:
    """Read a book; the title is its own, else the first h1, else its name.

    Left out: the navigation document, whose words are the headings once more.

    Raises:
        ParseError: `corrupt`, `encrypted`, `needs_ocr`, and those of the HTML parser.
    """
    package = _package_path(archive, limits)
    root = read_xml(archive, package, limits.max_expanded_bytes)
    paths = _reading_order(root, posixpath.dirname(package))
    _check_readable(archive, paths, limits)
    parts: list[tuple[str, Document]] = []
    has_images = False
    for path in paths:
        page = read_entry(archive, archive.getinfo(path), limits.max_expanded_bytes)
        has_images = has_images or bool(_HAS_IMAGE.search(page))
        document = hypertext.parse(_as_html(page), "", limits)
        if document.blocks:
            parts.append(("", document))
    if not parts and has_images:
        raise ParseError("needs_ocr", "The book holds images only. Recognise its text first.")
    first_heading = next((part.title for _, part in parts if _opens_with_h1(part)), "")
    return join(parts, _own_title(root) or first_heading or name, MEDIA_TYPE, limits, _own_date(root))


def _opens_with_h1(part: Document) -> bool:
    return any(block.kind == "heading" and block.headings[-1:] == (part.title,) for block in part.blocks)


def _package_path(archive: zipfile.ZipFile, limits: ParserLimits) -> str:
    container = read_xml(archive, "META-INF/container.xml", limits.max_expanded_bytes)
    for node in container.iter():
        if _local(node) == "rootfile" and node.get("full-path"):
            return str(node.get("full-path"))
    raise ParseError("corrupt", "The book names no package document. Fetch it again.")


def _reading_order(root: Element, folder: str) -> list[str]:
    """Paths of the pages in the order of the spine, each once."""
    items = {node.get("id"): node for node in root.iter() if _local(node) == "item"}
    paths: dict[str, None] = {}
    for reference in root.iter():
        item = items.get(reference.get("idref")) if _local(reference) == "itemref" else None
        if item is None or "nav" in (item.get("properties") or "").split():
            continue
        if (item.get("media-type") or "").lower() in _PAGES:
            href = unquote((item.get("href") or "").partition("#")[0])
            paths[posixpath.normpath(posixpath.join(folder, href))] = None
    return list(paths)


def _check_readable(archive: zipfile.ZipFile, paths: list[str], limits: ParserLimits) -> None:
    """Every page is there, and none is encrypted: fonts may be, and the text can be read all the same."""
    missing = next((path for path in paths if path not in archive.NameToInfo), None)
    if missing is not None:
        raise ParseError("corrupt", f"The book's page {one_line(missing)!r} is missing. Fetch it again.")
    if "META-INF/encryption.xml" not in archive.NameToInfo:
        return
    root = read_xml(archive, "META-INF/encryption.xml", limits.max_expanded_bytes)
    locked = {unquote(node.get("URI") or "") for node in root.iter() if _local(node) == "CipherReference"}
    if locked.intersection(paths):
        raise ParseError("encrypted", "The book is protected against copying, so its text cannot be read.")


def _own_title(root: Element) -> str:
    return next((one_line(clean("".join(node.itertext()))) for node in root.iter() if _local(node) == "title"), "")


def _own_date(root: Element) -> dict[str, str]:
    """When the book was changed last, else when it came out; of several dates the first."""
    said: dict[str, str] = {}
    for node in root.iter():
        said.setdefault(node.get("property") or _local(node), node.text or "")
    return told_date(said.get("dcterms:modified"), said.get("date"))


def _as_html(page: bytes) -> bytes:
    return _CLOSED.sub(_opened_and_closed, decode(page, markup=True)).encode()


def _opened_and_closed(tag: re.Match[str]) -> str:
    name = tag.group(1)
    return tag.group() if name.lower() in _VOID else f"<{name}{tag.group(2) or ''}></{name}>"


def _local(node: Element) -> str:
    return str(node.tag).rpartition("}")[2]
