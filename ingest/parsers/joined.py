"""One document of several: the files of an archive, or a mail with what is attached to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ingest.parsers.headings import one_line
from ingest.parsers.limits import ParserLimits
from rag.documents import AttributeValue, Block, Document

_JOIN = "\n\n"


def join(
    parts: Sequence[tuple[str, Document]],
    title: str,
    media_type: str,
    limits: ParserLimits,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Document:
    """Put documents behind one another, with a blank line between them.

    Args:
        parts: each with its path inside; with "" the part stays as it is, such as a mail's own text. A path opens the
            heading path of its blocks and becomes their locator's `entry`, before the entry that they may have.
        title: of the whole.
        media_type: of the whole.
        limits: what the whole may be.
        attributes: of the whole.

    Raises:
        ParseError: `too_long`.
    """
    texts: list[str] = []
    blocks: list[Block] = []
    length = 0
    for entry, document in parts:
        if texts:
            length += len(_JOIN)
        blocks += (_moved(block, length, entry) for block in document.blocks)
        texts.append(document.text)
        length += len(document.text)
        limits.check_characters(length)
    return Document(title, _JOIN.join(texts), tuple(blocks), media_type, attributes or {})


def _moved(block: Block, by: int, entry: str) -> Block:
    headings, locator = block.headings, block.locator
    if entry:
        headings = (one_line(entry), *headings)
        locator = replace(locator, entry=f"{entry}/{locator.entry}" if locator.entry else entry)
    return Block(block.start + by, block.end + by, block.kind, headings, locator)
