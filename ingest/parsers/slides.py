"""Presentations: PowerPoint of all ages and OpenDocument; the content decides which of them it is.

Every passage is located by its slide, counted from 1. A slide's title is a heading and alone is the heading path;
speaker notes follow the slide; a slide without text takes no room.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ingest.parsers import opendocument, pptx
from ingest.parsers.decoding import clean
from ingest.parsers.limits import ParserLimits
from ingest.parsers.office import (
    OLE,
    ZIP,
    date_of,
    own_date,
    own_title,
    package_kind,
    read,
    refuse_encrypted,
    stream_start,
    title_of,
    wrong_type,
)
from ingest.parsers.packages import check_package
from ingest.parsers.transcript import Transcript
from rag.documents import AttributeValue, Block, Document, Locator
from rag.errors import ParseError

POWERPOINT = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
POWERPOINT_97 = "application/vnd.ms-powerpoint"

_NOT_THE_SLIDES = frozenset({"header", "footer", "date-time", "page-number", "page"})
_PARAGRAPH_NODES = frozenset({"paragraph", "footnote", "list_item", "quote", "code"})


class Deck:
    """Collects slides: what is written to `transcript` between two calls of `end_slide` is one slide's."""

    def __init__(self, limits: ParserLimits) -> None:
        self.transcript = Transcript(limits)
        self.blocks: list[Block] = []
        self.has_images = False

    def end_slide(self, number: int) -> None:
        """Give what was written since the last call to slide `number`; the first block may be its title."""
        self.transcript.finish()
        added = self.transcript.blocks[len(self.blocks) :]
        path = added[0].headings[-1:] if added and added[0].kind == "heading" else ()
        self.blocks += (replace(block, headings=path, locator=Locator(slide=number)) for block in added)

    def document(self, title: str, media_type: str, attributes: Mapping[str, AttributeValue]) -> Document:
        """The presentation. Raises ParseError `needs_ocr` when its slides hold images only."""
        if not self.blocks and self.has_images:
            raise ParseError("needs_ocr", "The slides hold images only. Recognise their text first.")
        return Document(title, self.transcript.text, tuple(self.blocks), media_type, attributes)


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a presentation; the title is its own, else that of the first slide that has one, else its name.

    Raises:
        ParseError: `wrong_type`, `encrypted`, `corrupt`, `needs_ocr`, `too_long`, `too_deep`, `unsupported`.
    """
    if data.startswith(OLE):
        refuse_encrypted(data)
        if stream_start(data, "PowerPoint Document") is None:
            raise wrong_type(data, "a presentation")
        return _powerpoint_97(data, name, limits)
    if not data.startswith(ZIP):
        raise wrong_type(data, "a presentation")
    with check_package(data, limits) as archive:
        kind = package_kind(archive)
        if kind.startswith(opendocument.PRESENTATION):
            return _opendocument(archive, name, limits)
        if "presentationml" not in kind and "ms-powerpoint" not in kind:
            raise wrong_type(data, "a presentation")
        return _powerpoint(archive, name, limits)


def _powerpoint(archive: zipfile.ZipFile, name: str, limits: ParserLimits) -> Document:
    slides = pptx.Slides(archive, limits)
    limits.check_pages(len(slides.parts))
    deck = Deck(limits)
    for number, part in enumerate(slides.parts, 1):
        slides.write(part, deck.transcript)
        deck.end_slide(number)
    deck.has_images = slides.has_images
    own = own_title(archive)
    title = "" if pptx.NAMED_BY_POWERPOINT.fullmatch(own) else own
    return deck.document(title or deck.transcript.title or name, POWERPOINT, own_date(archive))


def _opendocument(archive: zipfile.ZipFile, name: str, limits: ParserLimits) -> Document:
    pages = [node for node in opendocument.body_of(archive, limits) if opendocument.kind_of(node) == "draw:page"]
    limits.check_pages(len(pages))
    deck = Deck(limits)
    writer = opendocument.Writer(deck.transcript)
    for number, page in enumerate(pages, 1):
        titles = [node for node in page if opendocument.attribute(node, "class") == "title"]
        for node in titles:
            writer.heading(node, 1)
        notes = [node for node in page if opendocument.kind_of(node) == "presentation:notes"]
        for node in [*page, *(shape for note in notes for shape in note)]:
            if node not in titles and opendocument.attribute(node, "class") not in _NOT_THE_SLIDES:
                writer.write(node)
        writer.write_notes()
        deck.end_slide(number)
    deck.has_images = writer.has_images
    return deck.document(
        own_title(archive) or deck.transcript.title or name, opendocument.PRESENTATION, own_date(archive)
    )


def _powerpoint_97(data: bytes, name: str, limits: ParserLimits) -> Document:
    """By xberg's nodes: a slide with its number and first words, then paragraphs, then its notes."""
    document = read(data, "ppt", POWERPOINT_97, limits)
    deck = Deck(limits)
    number = 1
    nodes = document.document.nodes if document.document else []
    for node in nodes:
        content = _fields(node.content)
        kind = content.get("node_type")
        if kind == "slide":
            deck.end_slide(number)
            number = int(content["number"])
            limits.check_pages(number)
            deck.transcript.heading(1, True)
            deck.transcript.write(clean(str(content.get("title") or "")))
            deck.transcript.heading(1, False)
        elif kind in _PARAGRAPH_NODES:
            deck.transcript.line(paragraph=True)
            deck.transcript.write(clean(str(content.get("text") or "")))
            deck.transcript.line(paragraph=True)
        elif kind == "image":
            deck.has_images = True
    deck.end_slide(number)
    own = title_of(document)
    title = "" if pptx.NAMED_BY_POWERPOINT.fullmatch(own) else own
    return deck.document(title or deck.transcript.title or name, POWERPOINT_97, date_of(document))


def _fields(content: object) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = json.loads(str(content))
    return fields
