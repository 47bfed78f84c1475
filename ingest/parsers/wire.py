"""What passes between the ingest and a parser's child: frames of bytes, and a document as JSON, never as pickle."""

from __future__ import annotations

import json
import struct
from dataclasses import fields as dataclass_fields
from typing import Any

from rag.documents import Block, Document, Locator
from rag.errors import ParseError

# By position: a document has a locator for nearly every block, and names would double the reply.
_LOCATOR_FIELDS = tuple(field.name for field in dataclass_fields(Locator))

LENGTH = struct.Struct(">Q")


def frame(body: bytes) -> bytes:
    """The body behind its length."""
    return LENGTH.pack(len(body)) + body


def encode_job(name: str, limits: dict[str, Any], cpu_seconds: int) -> bytes:
    """What the child is told before it is given the file."""
    return json.dumps({"name": name, "limits": limits, "cpu_seconds": cpu_seconds}).encode()


def decode_job(body: bytes) -> dict[str, Any]:
    """The inverse of `encode_job`."""
    job: dict[str, Any] = json.loads(body)
    return job


def encode_document(document: Document) -> bytes:
    """A document as JSON; heading paths and locators, which repeat from block to block, are written once."""
    headings: dict[tuple[str, ...], int] = {}
    locators: dict[Locator, int] = {}
    blocks = [
        [
            block.start,
            block.end,
            block.kind,
            headings.setdefault(block.headings, len(headings)),
            locators.setdefault(block.locator, len(locators)),
        ]
        for block in document.blocks
    ]
    fields = {
        "title": document.title,
        "text": document.text,
        "media_type": document.media_type,
        "attributes": dict(document.attributes),
        "headings": list(headings),
        "locators": [[getattr(locator, name) for name in _LOCATOR_FIELDS] for locator in locators],
        "blocks": blocks,
    }
    return json.dumps({"document": fields}, ensure_ascii=False, separators=(",", ":")).encode()


def encode_failure(reason: str, message: str) -> bytes:
    """A ParseError as JSON."""
    return json.dumps({"reason": reason, "message": message[:2000]}).encode()


def decode_reply(body: bytes) -> Document:
    """The document of a reply.

    Raises:
        ParseError: the one that the child reports, or `corrupt` for a reply that no sound child writes.
    """
    try:
        reply = json.loads(body)
        if "reason" in reply:
            raise ParseError(str(reply["reason"]), str(reply["message"]))
        return _document(reply["document"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ParseError("corrupt", f"The parser's process answered with nonsense: {error}.") from error


def _document(fields: dict[str, Any]) -> Document:
    headings = [tuple(map(str, path)) for path in fields["headings"]]
    locators = [Locator(*map(_frozen, values)) for values in fields["locators"]]
    text = str(fields["text"])
    blocks = tuple(
        Block(start, end, kind, headings[path], locators[locator])
        for start, end, kind, path, locator in fields["blocks"]
    )
    _check_order(text, blocks)
    return Document(str(fields["title"]), text, blocks, str(fields["media_type"]), fields["attributes"])


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_order(text: str, blocks: tuple[Block, ...]) -> None:
    """A child that a file has taken over must not make the ingest slice where there is nothing."""
    position = 0
    for block in blocks:
        if not position <= block.start < block.end <= len(text):
            raise ValueError(f"block {block.start}:{block.end} is out of order")
        position = block.end
