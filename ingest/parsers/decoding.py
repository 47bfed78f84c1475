"""Bytes of a text file to a string that every later step can store: no NUL, no control character, no surrogate."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from rag.errors import ParseError

# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 256 * 1024  # charset-normalizer is slow: 10 MB take it seconds
_DECLARED_WITHIN = 1024  # the HTML standard stops looking there
_DECLARED = re.compile(rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.I)

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_INVISIBLE = set(range(0x20)) - {0x09, 0x0A, 0x0D} | set(range(0x7F, 0xA0))
_IMPOSSIBLE = {*range(0xD800, 0xE000), 0xFFFE, 0xFFFF}
_REPLACEMENTS = dict.fromkeys(_INVISIBLE, " ") | dict.fromkeys(_IMPOSSIBLE, "\ufffd")


def clean(text: str) -> str:
    """Replace what no store, log or JSON body should meet, one character for one, so that offsets stay.

    Control characters except tab, line feed and carriage return become spaces; lone surrogates and the two
    non-characters U+FFFE and U+FFFF become U+FFFD.
    """
    return text.translate(_REPLACEMENTS) if _CONTROLS.search(text) else text


def decode(data: bytes, *, markup: bool = False) -> str:
    """Decode a text file.

    Tried in this order: byte order mark, UTF-16 recognised by its NULs, strict UTF-8, with `markup` the charset that
    the document declares, charset-normalizer on a sample. Bytes that the encoding does not know become U+FFFD.

    Args:
        data: the file.
        markup: whether a `<meta charset>` or an XML declaration counts.

    Returns:
        The text without its byte order mark, cleaned; line ends as they are in the file.

    Raises:
        ParseError: `binary`, there are NUL bytes.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return clean(data[len(mark) :].decode(encoding, "replace"))
    wide = _wide_encoding(data[:_SAMPLE_BYTES])
    if wide:
        return clean(data.decode(wide, "replace"))
    if b"\0" in data:
        raise ParseError("binary", "There are NUL bytes, so this is not a text file. Give it its right suffix.")
    try:
        return clean(data.decode("utf-8"))
    except UnicodeDecodeError:
        return clean(data.decode(_declared(data) if markup else _guess(data), "replace"))


def _wide_encoding(sample: bytes) -> str | None:
    """UTF-16 without a mark has its NULs, of Latin letters and line ends, all on one side."""
    if b"\0" not in sample or len(sample) < 4:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    enough = len(sample) // 2 * 0.3
    if odd > enough and not even:
        return "utf-16-le"
    if even > enough and not odd:
        return "utf-16-be"
    return None


def _declared(data: bytes) -> str:
    found = _DECLARED.search(data[:_DECLARED_WITHIN])
    if found:
        try:
            name = codecs.lookup(found.group(1).decode("ascii")).name
            bytes(range(256)).decode(name, "replace")  # some that Python calls codecs are no charsets
            return name
        except (LookupError, UnicodeError):
            return _guess(data)
    return _guess(data)


def _guess(data: bytes) -> str:
    matches = from_bytes(data[:_SAMPLE_BYTES])
    best = matches.best()
    if best is None:
        return "utf-8"
    # A short Western text reads as well in the Central European code pages, which turn "ï" into "ď".
    western = next((match for match in matches if match.encoding == "cp1252"), None)
    if western is not None and western.chaos <= best.chaos and best.encoding in _LIKE_WESTERN:
        return "cp1252"
    return str(best.encoding)


_LIKE_WESTERN = frozenset({"cp1250", "cp1254", "cp1257", "cp1258", "cp775", "latin_1", "iso8859_2", "iso8859_15"})
