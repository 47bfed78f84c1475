"""MSG: a mail as Outlook saves it, its properties in the streams of a compound file.

Source: Microsoft, "[MS-OXMSG]: Outlook Item (.msg) File Format" and "[MS-OXPROPS]".
"""

from __future__ import annotations

import codecs
import struct
from datetime import UTC, datetime, timedelta

from ingest.parsers.compound import MAGIC, CompoundFile, Storage
from ingest.parsers.decoding import clean
from ingest.parsers.letter import Attachment, Letter, check_parts, document_of, joined_names
from ingest.parsers.limits import ParserLimits
from ingest.parsers.packed_rtf import unpacked
from rag.documents import Document
from rag.errors import ParseError

MEDIA_TYPE = "application/vnd.ms-outlook"

_MAX_NESTING = 20
_UNICODE, _BYTE_TEXT, _BINARY, _OBJECT = "001F", "001E", "0102", "000D"
_SUBJECT, _BODY, _HTML, _PACKED_RTF = "0037", "1000", "1013", "1009"
_SENDER = (("0C1A", "5D01"), ("0C1A", "0C1F"), ("0042", "5D02"), ("0042", "0065"))  # name and address, best first
_DISPLAY_TO, _DISPLAY_CC = "0E04", "0E03"
_NAME, _ADDRESSES = "3001", ("39FE", "3003")
_LONG_NAME, _SHORT_NAME, _CONTENT, _MEDIA_TYPE = "3707", "3704", "3701", "370E"
_DATES = (0x0039, 0x0E06)  # when it was sent, when it came
_CODE_PAGE, _WEB_CODE_PAGE, _RECIPIENT_KIND = 0x3FFD, 0x3FDE, 0x0C15
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read an Outlook mail with its attachments; its text is the plain one, else the HTML, else the RTF.

    Raises:
        ParseError: `wrong_type`, `corrupt`, `too_deep`, `too_long`.
    """
    if not data.startswith(MAGIC):
        raise ParseError("wrong_type", "The name says MSG, but the content is none. Give it its right suffix.")
    reader = _Reader(CompoundFile(data, limits.max_expanded_bytes), limits)
    return document_of(reader.letter(), name, MEDIA_TYPE, limits)


class _Reader:
    def __init__(self, file: CompoundFile, limits: ParserLimits) -> None:
        self._file = file
        self._limits = limits
        self._parts = 0
        if not any(stream.startswith("__substg1.0_") for stream in file.root.streams):
            raise ParseError("wrong_type", "The name says MSG, but the file is another Office one. Rename it.")

    def letter(self) -> Letter:
        """The mail of the whole file."""
        return self._letter(self._file.root, 32, 0, "cp1252")

    def _letter(self, storage: Storage, header_bytes: int, depth: int, above: str) -> Letter:
        if depth > _MAX_NESTING:
            raise ParseError("too_deep", f"Mails are nested more than {_MAX_NESTING} deep. Save the inner ones.")
        fixed = self._fixed(storage, header_bytes)
        encoding = _encoding(fixed.get(_CODE_PAGE), above)
        sent = next((fixed[date] for date in _DATES if fixed.get(date)), 0)
        letter = Letter(date=_iso_date(sent))
        letter.headers = {
            "Subject": self._text(storage, _SUBJECT, encoding),
            "From": self._sender(storage, encoding),
            "To": self._people(storage, 1, encoding) or self._text(storage, _DISPLAY_TO, encoding),
            "Cc": self._people(storage, 2, encoding) or self._text(storage, _DISPLAY_CC, encoding),
            "Date": letter.date,
        }
        self._add_body(letter, storage, encoding, _encoding(fixed.get(_WEB_CODE_PAGE), encoding))
        for name, inner in sorted(storage.storages.items()):
            if name.startswith("__attach_version1.0_"):
                self._parts += 1
                check_parts(self._parts, self._limits)
                letter.attachments.append(self._attachment(inner, depth, encoding))
        return letter

    def _add_body(self, letter: Letter, storage: Storage, encoding: str, web_encoding: str) -> None:
        plain = self._text(storage, _BODY, encoding)
        if plain.strip():
            letter.texts.append((plain, False))
            return
        page = self._bytes(storage, _HTML + _BINARY).decode(web_encoding, "replace")
        page = page or self._text(storage, _HTML, encoding)
        if page.strip():
            letter.texts.append((page, True))
            return
        packed = self._bytes(storage, _PACKED_RTF + _BINARY)
        if packed:
            letter.attachments.append(Attachment("message.rtf", "application/rtf", unpacked(packed)))

    def _attachment(self, storage: Storage, depth: int, encoding: str) -> Attachment:
        name = self._text(storage, _LONG_NAME, encoding) or self._text(storage, _SHORT_NAME, encoding)
        name = name or self._text(storage, _NAME, encoding)
        mail = storage.storages.get(f"__substg1.0_{_CONTENT}{_OBJECT}")
        if mail is not None:
            return Attachment(name, "message/rfc822", self._letter(mail, 24, depth + 1, encoding))
        media_type = self._text(storage, _MEDIA_TYPE, encoding).lower()
        return Attachment(name, media_type, self._bytes(storage, _CONTENT + _BINARY))

    def _sender(self, storage: Storage, encoding: str) -> str:
        found = [tuple(self._text(storage, tag, encoding) for tag in pair) for pair in _SENDER]
        people = [(name, address if "@" in address else "") for name, address in found]  # Exchange has its own kind
        return joined_names([next((one for one in people if one[1]), people[0])])

    def _people(self, storage: Storage, kind: int, encoding: str) -> str:
        people = []
        for name, inner in sorted(storage.storages.items()):
            if name.startswith("__recip_version1.0_") and self._fixed(inner, 8).get(_RECIPIENT_KIND) == kind:
                addresses = [self._text(inner, tag, encoding) for tag in _ADDRESSES]
                address = next((address for address in addresses if "@" in address), "")
                shown = self._text(inner, _NAME, encoding)
                people.append((shown, "" if address in shown else address))
        return joined_names(people)

    def _bytes(self, storage: Storage, tag: str) -> bytes:
        stream = storage.streams.get(f"__substg1.0_{tag}")
        return self._file.read(stream) if stream else b""

    def _text(self, storage: Storage, tag: str, encoding: str) -> str:
        wide = self._bytes(storage, tag + _UNICODE)
        text = (
            wide.decode("utf-16-le", "replace")
            if wide
            else self._bytes(storage, tag + _BYTE_TEXT).decode(encoding, "replace")
        )
        return clean(text.rstrip("\0"))

    def _fixed(self, storage: Storage, header_bytes: int) -> dict[int, int]:
        """The properties of fixed size: numbers and dates."""
        stream = storage.streams.get("__properties_version1.0")
        content = self._file.read(stream)[header_bytes:] if stream else b""
        found = {}
        for kind, tag, _, value in struct.iter_unpack("<HHIQ", content[: len(content) // 16 * 16]):
            if kind in (0x0003, 0x0040):
                found[tag] = value & 0xFFFFFFFF if kind == 0x0003 else value
        return found


def _encoding(code_page: int | None, otherwise: str) -> str:
    """The codec of a Windows code page."""
    if not code_page:
        return otherwise
    name = {65001: "utf-8", 20127: "cp1252", 28591: "cp1252", 1200: "utf-16-le"}.get(code_page, f"cp{code_page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return otherwise


def _iso_date(ticks: int) -> str:
    """A number of 100 nanoseconds since 1601."""
    try:
        return (_EPOCH + timedelta(microseconds=ticks // 10)).replace(microsecond=0).isoformat() if ticks else ""
    except OverflowError:
        return ""
