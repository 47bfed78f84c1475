"""The compressed RTF in which Outlook keeps the text of some mails.

Source: Microsoft, "[MS-OXRTFCP]: Rich Text Format (RTF) Compression Algorithm".
"""

from __future__ import annotations

import struct

from rag.errors import ParseError

_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    + b"\r\n"
    + rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
_WINDOW = 4096
_PACKED, _STORED = 0x75465A4C, 0x414C454D


def unpacked(data: bytes) -> bytes:
    """The RTF. Raises ParseError `corrupt`."""
    if len(data) < 16:
        raise ParseError("corrupt", "The mail's compressed text is cut off. Open it in Outlook and save it anew.")
    _, size, kind, _ = struct.unpack_from("<4I", data)
    if kind == _STORED:
        return data[16 : 16 + size]
    if kind != _PACKED:
        raise ParseError(
            "corrupt", "The mail's text is compressed in no known way. Open it in Outlook and save it anew."
        )
    return _expanded(data[16:])


def _expanded(data: bytes) -> bytes:
    """Bytes, and references of 2 to 17 bytes into what was written last; eight of them behind a byte of flags."""
    out = bytearray(_START)
    at = 0
    while at < len(data):
        flags = data[at]
        at += 1
        for bit in range(8):
            if not flags >> bit & 1:
                out += data[at : at + 1]
                at += 1
                continue
            if at + 2 > len(data):
                return bytes(out[len(_START) :])
            reference = data[at] << 8 | data[at + 1]
            at += 2
            place, length = reference >> 4, (reference & 15) + 2
            behind = (len(out) - place) % _WINDOW
            if not behind:  # a reference to the place that is written next ends the text
                return bytes(out[len(_START) :])
            for _ in range(length):
                out.append(out[-behind] if behind <= len(out) else 0x20)
    return bytes(out[len(_START) :])
