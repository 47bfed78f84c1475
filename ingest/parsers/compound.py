"""The storages and streams of a compound file, which is what Outlook's mails are: a small file system in one file.

Source: Microsoft, "[MS-CFB]: Compound File Binary File Format".
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

from rag.errors import ParseError

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")

_END = 0xFFFFFFFA  # and above: not the number of a sector
_ENTRY_BYTES = 128
_MINI_SHIFT = 6
_STORAGE, _STREAM, _ROOT = 1, 2, 5
_MAX_ENTRIES = 1_000_000


@dataclass(slots=True)
class Storage:
    """A folder: streams by name, and the folders in it."""

    streams: dict[str, tuple[int, int]] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)


class CompoundFile:
    """A compound file in memory; `root` is its outermost storage.

    Raises:
        ParseError: `corrupt`; reading raises `too_long` once all streams together are longer than `max_bytes`.
    """

    def __init__(self, data: bytes, max_bytes: int) -> None:
        self._data = data
        self._left = max_bytes
        try:
            self._open()
        except (struct.error, IndexError, ValueError) as error:
            raise _corrupt() from error

    def _open(self) -> None:
        (shift,) = struct.unpack_from("<H", self._data, 30)
        if not self._data.startswith(MAGIC) or shift not in (9, 12):
            raise _corrupt()
        self._shift = shift
        (first_entry,) = struct.unpack_from("<I", self._data, 48)
        self._cutoff, first_mini, _, first_table, tables = struct.unpack_from("<5I", self._data, 56)
        self._table = self._read_table(first_table, tables)
        self._mini_table = _numbers(self._chain(first_mini))
        entries = self._chain(first_entry)
        self._mini = b""
        self.root = self._read_entries(entries)

    def read(self, stream: tuple[int, int]) -> bytes:
        """The content of a stream of `Storage.streams`."""
        first, size = stream
        self._left -= min(size, len(self._data))
        if self._left < 0:
            raise ParseError("too_long", "What is in the file takes more than QUOTH_INGEST__MAX_EXPANDED_BYTES.")
        if size >= self._cutoff:
            return self._chain(first)[:size]
        sectors = []
        seen = 0
        while first < len(self._mini_table) and seen << _MINI_SHIFT < size:
            sectors.append(self._mini[first << _MINI_SHIFT : (first + 1) << _MINI_SHIFT])
            first = self._mini_table[first]
            seen += 1
        return b"".join(sectors)[:size]

    def _sector(self, number: int) -> bytes:
        start = (number + 1) << self._shift
        return self._data[start : start + (1 << self._shift)]

    def _read_table(self, first: int, count: int) -> array[int]:
        """The table of which sector follows which, from the list of the sectors that it lies in."""
        places = [number for number in struct.unpack_from("<109I", self._data, 76) if number < _END]
        most = len(self._data) >> self._shift
        for _ in range(min(count, most)):
            if first >= _END:
                break
            numbers = _numbers(self._sector(first))
            places += (number for number in numbers[:-1] if number < _END)
            first = numbers[-1]
        return _numbers(b"".join(self._sector(number) for number in places[:most]))

    def _chain(self, first: int) -> bytes:
        """The sectors from `first` on; a chain that runs in a circle ends after as many as the file has."""
        sectors: list[bytes] = []
        most = len(self._data) >> self._shift
        while first < len(self._table):
            if len(sectors) > most:
                raise _corrupt()
            sectors.append(self._sector(first))
            first = self._table[first]
        return b"".join(sectors)

    def _read_entries(self, entries: bytes) -> Storage:
        """The tree of names. Siblings form a binary tree themselves; none of both is walked by recursion."""
        count = min(len(entries) // _ENTRY_BYTES, _MAX_ENTRIES)
        kind, first, size, child = self._entry(entries, 0)[1:5]
        if kind != _ROOT:
            raise _corrupt()
        self._mini = self._chain(first)[:size]
        root = Storage()
        seen = {0}
        waiting = [(child, root)]
        while waiting:
            number, parent = waiting.pop()
            if number >= count or number in seen:
                continue
            seen.add(number)
            name, kind, first, size, child, left, right = self._entry(entries, number)
            waiting += ((left, parent), (right, parent))
            if kind == _STREAM:
                parent.streams[name] = (first, size)
            elif kind == _STORAGE:
                parent.storages[name] = Storage()
                waiting.append((child, parent.storages[name]))
        return root

    def _entry(self, entries: bytes, number: int) -> tuple[str, int, int, int, int, int, int]:
        at = number * _ENTRY_BYTES
        length, kind = struct.unpack_from("<HB", entries, at + 64)
        left, right, child = struct.unpack_from("<3I", entries, at + 68)
        first, size = struct.unpack_from("<II", entries, at + 116)
        name = entries[at : at + max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
        return name, kind, first, size, child, left, right


def _numbers(sectors: bytes) -> array[int]:
    return array("I", struct.unpack(f"<{len(sectors) // 4}I", sectors[: len(sectors) // 4 * 4]))


def _corrupt() -> ParseError:
    return ParseError("corrupt", "The mail's compound file is broken. Open it in Outlook and save it anew.")
