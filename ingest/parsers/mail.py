"""EML: a mail as it is sent.

Read under the old policy of the email package: the new one parses every header by its grammar, which fails on
malformed ones and takes minutes for long ones.
"""

from __future__ import annotations

import binascii
import re
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

from ingest.parsers.decoding import decode
from ingest.parsers.letter import Attachment, Letter, check_parts, document_of
from ingest.parsers.limits import ParserLimits
from rag.documents import Document
from rag.errors import ParseError

MEDIA_TYPE = "message/rfc822"

_MAX_NESTING = 50  # parts in parts; mail programs make fewer than ten
_FOLDED = re.compile(r"[\r\n]+[ \t]*")
_OF_A_MAIL = ("From", "To", "Subject", "Date", "Received", "Message-ID", "MIME-Version", "Return-Path", "Delivered-To")
_MAX_ENCODED_CHARACTERS = 100_000


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a mail with its attachments.

    The text is that of the plain parts; of alternatives the plain one is taken, else the HTML. Quoted replies stay.

    Raises:
        ParseError: `wrong_type`, `too_deep`, `too_long`.
    """
    try:
        message = message_from_bytes(data, policy=policy.compat32)
        if data.strip() and not any(header in message for header in _OF_A_MAIL):
            raise ParseError("wrong_type", "The name says mail, but there are no headers. Give it its right suffix.")
        letter = _Reader(limits).letter(message)
    except RecursionError as error:
        raise _too_deep() from error
    return document_of(letter, name, MEDIA_TYPE, limits)


def _too_deep() -> ParseError:
    return ParseError("too_deep", f"Parts are nested more than {_MAX_NESTING} deep. Save the inner mails on their own.")


class _Reader:
    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        self._parts = 0

    def letter(self, message: Message, depth: int = 0) -> Letter:
        """A message, and those inside of it."""
        letter = Letter()
        for header in ("Subject", "From", "To", "Cc", "Date"):
            letter.headers[header] = _header(message, header)
        letter.date = _iso_date(letter.headers["Date"])
        self._collect(message, letter, depth)
        return letter

    def _collect(self, part: Message, letter: Letter, depth: int) -> None:
        """Sort a part and what is in it into texts and attachments."""
        self._parts += 1
        check_parts(self._parts, self._limits)
        if depth > _MAX_NESTING:
            raise _too_deep()
        kind = part.get_content_type()
        payload: Any = part.get_payload()  # a text, or a list of parts
        name = _decoded(part.get_filename() or "")
        if kind in ("message/rfc822", "message/global") and isinstance(payload, list) and payload:
            inner = self.letter(payload[0], depth + 1)
            letter.attachments.append(Attachment(name, kind, inner))
        elif isinstance(payload, list):
            chosen = [_best(payload)] if kind == "multipart/alternative" and payload else payload
            for inner_part in chosen:
                self._collect(inner_part, letter, depth + 1)
        elif kind in ("text/plain", "text/html") and part.get_content_disposition() != "attachment" and not name:
            letter.texts.append((_text(part), kind == "text/html"))
        else:
            letter.attachments.append(Attachment(name, kind, _bytes(part)))


def _best(alternatives: list[Message]) -> Message:
    """The same text in several forms: plain if there is text in it, else the last that can be read."""
    plain = [part for part in alternatives if part.get_content_type() == "text/plain" and _bytes(part).strip()]
    if plain:
        return plain[0]
    readable = [part for part in alternatives if part.is_multipart() or part.get_content_type() == "text/html"]
    return (readable or alternatives)[-1]


def _bytes(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    content = _bytes(part)
    charset = part.get_content_charset()
    if charset:
        try:
            return content.decode(charset)
        except (LookupError, ValueError):  # a charset that nobody knows, or not that of the text
            pass
    return decode(content.replace(b"\0", b" "))


def _header(message: Message, name: str) -> str:
    """A header as people read it; "" if there is none. Undeclared bytes are taken for UTF-8."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    return _decoded(str(raw).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _decoded(value: str) -> str:
    """A header's value without encoded words."""
    value = _FOLDED.sub(" ", value)[:_MAX_ENCODED_CHARACTERS]
    if "=?" not in value:
        return value.strip()
    try:
        pieces = decode_header(value)
    except (HeaderParseError, binascii.Error, ValueError):
        return value.strip()  # shown as it is
    return "".join(_piece(text, charset) for text, charset in pieces).strip()


def _piece(text: bytes | str, charset: str | None) -> str:
    if isinstance(text, str):
        return text
    if charset is None:
        return text.decode("raw-unicode-escape", "replace")
    try:
        return text.decode(charset, "replace")
    except (LookupError, ValueError):  # a charset that nobody knows, or one that cannot replace
        return text.decode("utf-8", "replace")


def _iso_date(value: str) -> str:
    try:
        return parsedate_to_datetime(value).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
