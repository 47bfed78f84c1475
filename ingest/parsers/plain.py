"""Plain text: the decoded file itself is the canonical text, paragraphs are what stands between blank lines."""

from __future__ import annotations

from ingest.parsers.decoding import decode
from ingest.parsers.limits import ParserLimits
from ingest.parsers.lines import block_of_lines, split_lines
from rag.documents import Block, Document


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a plain text file; its name is its title, and locators are lines.

    Raises:
        ParseError: `binary` or `too_long`.
    """
    text = decode(data)
    limits.check_characters(len(text))
    return Document(title=name, text=text, blocks=tuple(paragraphs(text)), media_type="text/plain")


def paragraphs(text: str) -> list[Block]:
    """The runs of lines that are not blank."""
    lines = split_lines(text)
    blocks: list[Block | None] = []
    first = 0
    for number, line in enumerate(lines):
        if line.is_blank:
            blocks.append(block_of_lines(lines, first, number - 1, "paragraph", ()))
            first = number + 1
    blocks.append(block_of_lines(lines, first, len(lines) - 1, "paragraph", ()))
    return [block for block in blocks if block]
