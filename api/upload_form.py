"""The form of an upload, read as it comes: the file goes to disk in pieces, and only its fields are held in memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.exceptions import HTTPException

from api.body_limits import MAX_FORM_BYTES
from ingest.uploads import Upload
from rag.errors import InvalidInputError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE_FIELD: Final = "file"
MAX_PARTS: Final = 20
MAX_BOUNDARY_CHARACTERS: Final = 70  # RFC 2046
MAX_HEADER_BYTES: Final = 8192
MAX_HEADERS: Final = 8
# Held back so long before it is written, since a write costs a change of threads.
PIECE_BYTES: Final = 256 * 1024

_BOUNDARY = re.compile(r"multipart/form-data\s*;(?:.*;)?\s*boundary=(?:\"([^\"]+)\"|([^\s;\"]+))", re.IGNORECASE)
_PARAMETER = re.compile(r"\s*;\s*([A-Za-z0-9*_-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]*))")
# What browsers write in place of the characters that would end a quoted name.
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n", "%0d": "\r", "%0a": "\n"}


async def read_upload_form(
    content_type: str, body: AsyncIterator[bytes], upload: Upload, max_bytes: int
) -> tuple[str, dict[str, str]]:
    """Read a multipart form, its file into `upload`, and sync it.

    Args:
        content_type: of the request.
        max_bytes: that the file may have.

    Returns:
        The file's name as it was sent, and the other fields.

    Raises:
        InvalidInputError: the form is malformed, cut off, has no file, or has too many parts.
        HTTPException: of status 413, the file or what is around it is too large.
    """
    reader = _FormReader(_boundary(content_type))
    async for piece in body:
        reader.feed(piece)
        if upload.size_bytes + reader.pending > max_bytes:
            raise HTTPException(413, f"The file is larger than {max_bytes} bytes.")
        if reader.pending >= PIECE_BYTES:
            await upload.write(reader.take())
        if reader.taken - upload.size_bytes - reader.pending > MAX_FORM_BYTES:
            raise HTTPException(413, f"The form around the file is larger than {MAX_FORM_BYTES} bytes.")
    filename, fields = reader.result()
    await upload.write(reader.take())
    await upload.sync()
    return filename, fields


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.match(content_type)
    if not found:
        _refuse("Send the file as multipart/form-data, with a boundary.")
    boundary = found[1] or found[2]
    if len(boundary) > MAX_BOUNDARY_CHARACTERS:
        _refuse(f"The boundary is longer than {MAX_BOUNDARY_CHARACTERS} characters.")
    return boundary.encode("latin-1")


class _FormReader:
    """Parts of one form. Where a part's name or kind is wrong it fails at once, before its body is read."""

    def __init__(self, boundary: bytes) -> None:
        self.taken = 0
        self._file: list[bytes] = []
        self.pending = 0
        self._fields: dict[str, bytearray] = {}
        self._filename: str | None = None
        self._parts = 0
        self._header = bytearray()
        self._value = bytearray()
        self._disposition: bytes | None = None
        self._field: bytearray | None = None
        self._has_ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part, "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value, "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers, "on_part_data": self._on_data, "on_end": self._on_end,
        }  # fmt: skip
        self._parser = MultipartParser(
            boundary, callbacks, max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_BYTES
        )

    def feed(self, data: bytes) -> None:
        self.taken += len(data)
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidInputError(f"The form is malformed: {error}. Send it as multipart/form-data.") from error

    def take(self) -> bytes:
        """The file's bytes that have come since the last time."""
        data = b"".join(self._file)
        self._file, self.pending = [], 0
        return data

    def result(self) -> tuple[str, dict[str, str]]:
        if not self._has_ended:
            _refuse("The form ends in the middle: send it whole, with its last boundary.")
        if self._filename is None:
            _refuse(f"The form has no part named {FILE_FIELD}: send the document as {FILE_FIELD}.")
        return self._filename, {name: _decoded(bytes(value), name) for name, value in self._fields.items()}

    def _on_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            _refuse(f"The form has more than {MAX_PARTS} parts.")
        self._disposition = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            if self._disposition is not None:
                _refuse("A part of the form has two Content-Disposition headers.")
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers(self) -> None:
        name, filename = _disposition(self._disposition or b"")
        if name == FILE_FIELD:
            if self._filename is not None:
                _refuse("The form has two files: send each in a request of its own.")
            if filename is None:
                _refuse(f"The part {FILE_FIELD} has no `filename`: send one, such as report.pdf.")
            self._filename, self._field = filename, None
            return
        if filename is not None:
            _refuse(f"The document belongs into the part named {FILE_FIELD}.")
        if name in self._fields:
            _refuse("A field of the form comes twice.")
        self._field = self._fields[name] = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._file.append(data[start:end])
            self.pending += end - start
        else:
            self._field += data[start:end]

    def _on_end(self) -> None:
        self._has_ended = True


def _disposition(header: bytes) -> tuple[str, str | None]:
    """Name and file name of a part; what can be read in two ways is refused."""
    text = _decoded(header, "Content-Disposition")
    kind, _, _ = text.partition(";")
    found: dict[str, str] = {}
    position = len(kind)
    while position < len(text.rstrip()):
        match = _PARAMETER.match(text, position)
        if match is None or match[1].lower() in found:
            _refuse("A part's Content-Disposition is malformed.")
        found[match[1].lower()] = match[3] if match[2] is None else _unquoted(match[2])
        position = match.end()
    if kind.strip().lower() != "form-data" or "name" not in found:
        _refuse("A part of the form has no name: Content-Disposition: form-data; name=...")
    if "filename" in found and "filename*" in found:
        _refuse("A part has both filename and filename*: send one of them.")
    if "filename*" in found:
        return found["name"], _extended(found["filename*"])
    return found["name"], found.get("filename")


def _unquoted(value: str) -> str:
    plain = re.sub(r"\\([\"\\])", r"\1", value)
    return re.sub("%22|%0[AaDd]", lambda match: _ESCAPED[match[0]], plain)


def _extended(value: str) -> str:
    """A name as RFC 5987 writes it: UTF-8''na%C3%AFve.txt."""
    charset, _, encoded = value.partition("''")
    if charset.lower() != "utf-8":
        _refuse("filename* is not in UTF-8.")
    return _decoded(unquote_to_bytes(encoded), "filename*")


def _decoded(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        _refuse(f"{what[:64]} is not UTF-8.")


def _refuse(message: str) -> NoReturn:
    raise InvalidInputError(message)
