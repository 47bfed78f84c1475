"""The guard before every format that is a ZIP archive inside: what it expands to is measured, never believed.

The sizes in an archive's directory are whatever its maker wrote there, so every part is inflated once, piece by piece
and to nowhere, before a library sees the bytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.parsers import expat

from ingest.parsers.headings import one_line
from ingest.parsers.limits import ParserLimits
from rag.errors import ParseError

_PIECE_BYTES = 64 * 1024
_INPUT_BYTES = 16 * 1024
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_DIRECTORY_END = struct.Struct("<4s8xI")
_IN_ZIP64 = 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40
_MANIFEST = "META-INF/manifest.xml"  # of OpenDocument
_MANIFEST_BYTES = 8 << 20


def check_package(data: bytes, limits: ParserLimits) -> zipfile.ZipFile:
    """Open a ZIP archive that is safe to hand on: to expand it all takes no more than the limits allow.

    Args:
        data: the whole archive.
        limits: `max_entries` and `max_expanded_bytes` count.

    Returns:
        The archive, opened for reading. Read from it by `read_entry` and `pieces`.

    Raises:
        ParseError: `corrupt` (no directory, or one that lies: other sizes than the parts have, parts that share bytes
            or a name), `encrypted` (a part, or an OpenDocument file's content), `unsupported` (packed neither by
            deflate nor not at all), `too_long` (parts, or bytes).
    """
    archive = open_archive(data, limits)
    _check_layout(archive)
    left = limits.max_expanded_bytes
    for info in archive.infolist():
        size = 0
        for piece in pieces(archive, info):
            size += len(piece)
            if size > left:
                raise _too_large(limits.max_expanded_bytes)
        if size != info.file_size:
            raise _corrupt(f"{_shown(info)} has {size:,} bytes, but the directory says {info.file_size:,}")
        left -= size
    if _MANIFEST in archive.NameToInfo and b"encryption-data" in read_entry(
        archive, archive.getinfo(_MANIFEST), _MANIFEST_BYTES
    ):
        raise ParseError("encrypted", "The document has a password. Save it without one.")
    return archive


def open_archive(data: bytes, limits: ParserLimits) -> zipfile.ZipFile:
    """Open a ZIP archive after a look at its directory alone; what is in it is not measured.

    Raises:
        ParseError: `corrupt`, `encrypted`, `too_long` (parts).
    """
    _check_count(data, limits)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError, OverflowError, ValueError, struct.error) as error:
        raise _corrupt(f"its directory cannot be read ({error})") from error
    if len(archive.infolist()) > limits.max_entries:
        raise _too_many(limits)
    if any(info.flag_bits & _ENCRYPTED for info in archive.infolist()):
        raise ParseError("encrypted", "Parts of the file have a password. Save it without one.")
    return archive


def read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: int) -> bytes:
    """The content of one part; no more than `budget` bytes are ever inflated, and 64 KiB.

    Raises:
        ParseError: `corrupt`, `unsupported`, `too_long` (more than `budget` bytes).
    """
    content = bytearray()
    for piece in pieces(archive, info):
        if len(content) + len(piece) > budget:
            raise _too_large(budget)
        content += piece
    if zlib.crc32(content) != info.CRC:
        raise _corrupt(f"the checksum of {_shown(info)} is wrong")
    return bytes(content)


def pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of one part as it is inflated, at most 64 KiB at a time; the directory's size plays no part.

    Raises:
        ParseError: `corrupt`, `unsupported`.
    """
    packed = _packed(archive, info)
    if info.compress_type == zipfile.ZIP_STORED:
        yield from (bytes(packed[at : at + _PIECE_BYTES]) for at in range(0, len(packed), _PIECE_BYTES))
    elif info.compress_type == zipfile.ZIP_DEFLATED:
        try:
            yield from _inflated(packed, info)
        except zlib.error as error:
            raise _corrupt(f"{_shown(info)} cannot be inflated ({error})") from error
    else:
        raise ParseError("unsupported", f"{_shown(info)} is packed by a rare method. Pack the file anew, by deflate.")


def read_xml(archive: zipfile.ZipFile, name: str, budget: int) -> ElementTree.Element:
    """The root of the XML part `name`. Entities that the part declares are not expanded but refused.

    Raises:
        ParseError: `corrupt` (also: there is no such part), `too_long`.
    """
    if name not in archive.NameToInfo:
        raise _corrupt(f"the part {one_line(name)!r} is missing")
    content = read_entry(archive, archive.getinfo(name), budget)
    if b"<!ENTITY" in content or b"<\0!\0E\0N\0T" in content or b"<\0\0!\0E\0N\0T" in content:
        raise _corrupt(f"{_shown(archive.getinfo(name))} declares entities, which no office program writes")
    try:
        return ElementTree.fromstring(content)  # noqa: S314 - no entities, and expat fetches nothing
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise _corrupt(f"{_shown(archive.getinfo(name))} is no XML ({error})") from error


def check_xml(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Refuse a part that is no well-formed XML, without keeping it. Raises ParseError `corrupt`."""
    parser = expat.ParserCreate()
    try:
        for piece in pieces(archive, info):
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise _corrupt(f"{_shown(info)} is no XML ({error})") from error


def _inflated(packed: memoryview, info: zipfile.ZipInfo) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for at in range(0, len(packed), _INPUT_BYTES):
        tail = bytes(packed[at : at + _INPUT_BYTES])
        while not inflater.eof:
            piece = inflater.decompress(tail, _PIECE_BYTES)
            tail = inflater.unconsumed_tail
            yield piece
            if not tail and len(piece) < _PIECE_BYTES:
                break
    if not inflater.eof:
        raise _corrupt(f"{_shown(info)} breaks off")


def _packed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> memoryview:
    start = _start_of_content(archive, info)
    view = _all_bytes(archive)
    if start + info.compress_size > len(view):
        raise _corrupt(f"{_shown(info)} breaks off")
    return view[start : start + info.compress_size]


def _all_bytes(archive: zipfile.ZipFile) -> memoryview:
    if not isinstance(archive.fp, io.BytesIO):
        raise TypeError("the archive was not opened by open_archive")
    return archive.fp.getbuffer()


def _start_of_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Behind the part's own header, which stands before its content."""
    head = bytes(_all_bytes(archive)[info.header_offset : info.header_offset + _LOCAL_HEADER.size])
    if info.header_offset < 0 or len(head) < _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
        raise _corrupt(f"{_shown(info)} is not where the directory says")
    _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(head)
    return int(info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes)


def _check_count(data: bytes, limits: ParserLimits) -> None:
    """Before zipfile reads the directory: a record of it costs far more memory than bytes."""
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or at + _DIRECTORY_END.size > len(data):
        raise _corrupt("it has no directory")
    _, size = _DIRECTORY_END.unpack_from(data, at)
    first = 0 if size == _IN_ZIP64 else max(at - size, 0)
    if data.count(b"PK\x01\x02", first, at) > limits.max_entries:
        raise _too_many(limits)


def _check_layout(archive: zipfile.ZipFile) -> None:
    """Refuse what readers disagree about: two parts of one name, and parts that share bytes (as bombs do)."""
    entries = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if len(archive.NameToInfo) < len(entries):
        raise _corrupt("two of its parts have the same name")
    behind = 0
    for info in entries:
        if info.header_offset < behind:
            raise _corrupt(f"{_shown(info)} lies inside another part")
        behind = _start_of_content(archive, info) + info.compress_size


def _shown(info: zipfile.ZipInfo) -> str:
    return f"the part {one_line(info.filename)!r}"


def _corrupt(what: str) -> ParseError:
    return ParseError("corrupt", f"The file is damaged: {what}. Save it anew, or fetch it again.")


def _too_large(budget: int) -> ParseError:
    return ParseError(
        "too_long",
        f"The file expands to more than {budget:,} bytes. Split it, or raise QUOTH_INGEST__MAX_EXPANDED_BYTES.",
    )


def _too_many(limits: ParserLimits) -> ParseError:
    return ParseError(
        "too_long",
        f"The file has more than {limits.max_entries:,} parts. Split it, or raise QUOTH_INGEST__MAX_ARCHIVE_ENTRIES.",
    )
