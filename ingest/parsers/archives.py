"""ZIP archives: every file in them that has a parser, in the order of their names. Nothing is extracted to disk.

All that an archive says of itself is a claim: names are labels only, and sizes are counted while data expands.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingest.ignored import is_ignored
from ingest.parsers.decoding import clean
from ingest.parsers.headings import one_line
from ingest.parsers.joined import join
from ingest.parsers.limits import ParserLimits
from ingest.parsers.packages import pieces
from ingest.parsers.registry import format_of
from ingest.parsers.registry import parse as parse_file
from rag.documents import Document
from rag.errors import ParseError

_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_MAX_RATIO = 300  # expanded to compressed; text reaches some 20
_RATIO_COUNTS_FROM = 16 << 20
_MAX_LEFT_OUT, _MAX_LEFT_OUT_IN_MESSAGE = 2_000, 400  # characters
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, struct.error, OSError, ValueError, OverflowError, NotImplementedError)
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(slots=True)
class ExpansionBudget:
    """How many bytes may still come out of an archive."""

    left: int
    most: int

    def spend(self, count: int) -> None:
        """Raise ParseError `too_long` when there are too many."""
        self.left -= count
        if self.left < 0:
            raise ParseError(
                "too_long",
                f"The archive expands to more than {self.most:,} bytes. Unpack it, or raise "
                "QUOTH_INGEST__MAX_EXPANDED_BYTES.",
            )


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read the files of a ZIP archive as one document; its name is its title, paths inside open the heading paths.

    The attribute `entries_left_out` names the files that were not read, and why; hidden files and what tools leave
    behind count as not there.

    Raises:
        ParseError: `wrong_type`, `corrupt`, `encrypted`, `too_deep`, `too_long` (entries, expanded bytes or
            characters), `no_text` (none of the files could be read).
    """
    if not data.startswith(_MAGIC):
        raise ParseError("wrong_type", "The name says ZIP, but the content is none. Give it its right suffix.")
    if limits.max_depth < 1:
        raise ParseError("too_deep", "The archive lies in too many others. Raise QUOTH_INGEST__MAX_ARCHIVE_DEPTH.")
    archive, entries = _open(data, limits)
    reading = _Reading(archive, limits)
    with archive:
        for info, label in entries:
            reading.add(info, label)
    if not reading.parts:
        raise _nothing(entries, reading)
    document = join(reading.parts, name, "application/zip", limits)
    return replace(document, attributes=reading.attributes)


def _open(data: bytes, limits: ParserLimits) -> tuple[zipfile.ZipFile, list[tuple[zipfile.ZipInfo, str]]]:
    """The archive, and the files in it that count with the paths they are shown by."""
    # Before zipfile makes a record of each; the directory's own count may be a lie.
    end = data.rfind(b"PK\x05\x06")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    if data.count(b"PK\x01\x02", max(end - size, 0), max(end, 0)) > limits.max_entries:
        raise _too_many(limits)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as error:
        raise ParseError("corrupt", f"The archive cannot be opened: {_said(error)}. Pack it anew.") from error
    if len(archive.filelist) > limits.max_entries:
        raise _too_many(limits)
    found = [(info, label_of(info.filename)) for info in archive.filelist if not info.is_dir()]
    found = [(info, label) for info, label in found if not any(map(is_ignored, label.split("/")))]
    found.sort(key=lambda pair: (pair[1], pair[0].header_offset))
    return archive, found


def _too_many(limits: ParserLimits) -> ParseError:
    return ParseError(
        "too_long",
        f"The archive has more than {limits.max_entries:,} entries. Split it, or raise "
        "QUOTH_INGEST__MAX_ARCHIVE_ENTRIES.",
    )


def label_of(path: str) -> str:
    """A path inside an archive as people may see it: relative, with `/`, in one line, and going nowhere."""
    parts = [one_line(clean(part)) for part in _DRIVE.sub("", path.replace("\\", "/"), count=1).split("/")]
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "untitled"


class _Reading:
    """What was read so far of one archive."""

    def __init__(self, archive: zipfile.ZipFile, limits: ParserLimits) -> None:
        self.parts: list[tuple[str, Document]] = []
        self.left_out: list[tuple[str, ParseError]] = []
        self._archive = archive
        self._limits = limits
        self._budget = ExpansionBudget(limits.max_expanded_bytes, limits.max_expanded_bytes)
        self._characters = 0

    def add(self, info: zipfile.ZipInfo, label: str) -> None:
        """Read one file, or note why not. Raises ParseError `too_long` when the archive as a whole is too much."""
        try:
            refuse(info, label)
            data = expand(self._archive, info, self._budget)
        except ParseError as error:
            if error.reason == "too_long":
                raise
            self.left_out.append((label, error))
            return
        inner = replace(self._limits, max_depth=self._limits.max_depth - 1, max_expanded_bytes=self._budget.left)
        try:
            document = parse_file(data, label, inner)
        except ParseError as error:
            self.left_out.append((label, error))
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # the edge of one file, as in `ingest.parsers.child`: the others are still read
            failure = ParseError("parser_error", f"The parser failed ({type(error).__name__}). Please report the file.")
            self.left_out.append((label, failure))
        else:
            self._characters += len(document.text)
            self._limits.check_characters(self._characters)
            self.parts.append((label, document))

    @property
    def attributes(self) -> dict[str, str | int]:
        """How many files were read, and the names and reasons of those that were not."""
        found: dict[str, str | int] = {"entries_read": len(self.parts)}
        if self.left_out:
            found["entries_left_out"] = _listed(
                [f"{label}: {error.reason}" for label, error in self.left_out], _MAX_LEFT_OUT
            )
        return found


def refuse(info: zipfile.ZipInfo, label: str) -> None:
    """Raise ParseError for an entry that need not be expanded to be refused."""
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ParseError("not_regular", "It is a link.")
    if format_of(label) is None:
        raise ParseError("unsupported", "No parser reads it.")
    if info.flag_bits & _ENCRYPTED:
        raise ParseError("encrypted", "It asks for a password.")


def expand(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: ExpansionBudget) -> bytes:
    """Expand one entry, piece by piece.

    Raises:
        ParseError: `too_long` (the budget is spent, or it is a bomb by its ratio), `corrupt`, `unsupported` (a method).
    """
    content = bytearray()
    for piece in pieces(archive, info):
        budget.spend(len(piece))
        content += piece
        if len(content) > max(_RATIO_COUNTS_FROM, _MAX_RATIO * info.compress_size):
            raise ParseError("too_long", "The archive expands like no sound one does. Unpack it.")
    if zlib.crc32(content) != info.CRC:
        raise ParseError("corrupt", "Its checksum is wrong.")
    return bytes(content)


def _said(error: Exception) -> str:
    return one_line(clean(str(error))).rstrip(".")[:200] or type(error).__name__


def _listed(items: Sequence[str], room: int) -> str:
    """As many items as there is room for, in characters, and how many there are besides."""
    most = room - len(f"; and {len(items):,} more")
    shown = 0
    length = 0
    while shown < len(items) and length + len(items[shown]) + 2 <= most:
        length += len(items[shown]) + 2
        shown += 1
    rest = len(items) - shown
    return "; ".join([*items[:shown], *([f"and {rest:,} more"] if rest else [])])


def _nothing(entries: Sequence[object], reading: _Reading) -> ParseError:
    """Why nothing could be read."""
    if not entries:
        return ParseError("no_text", "The archive holds no files.")
    if all(error.reason == "encrypted" for _, error in reading.left_out):
        return ParseError("encrypted", "The archive asks for a password. Pack it without one.")
    reasons = _listed([f"{label}: {error.reason}" for label, error in reading.left_out], _MAX_LEFT_OUT_IN_MESSAGE)
    return ParseError("no_text", f"None of the files in the archive could be read: {reasons}.")
