"""Images: the text that tesseract reads in them. What they are and how large is told by hand before one is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ingest.parsers.limits import ParserLimits
from ingest.parsers.recognition import mean_confidence, recognise, require
from rag.documents import Block, Document, Locator
from rag.errors import ParseError

_MAX_PIXELS = 100_000_000
_GAP = "\n\n"
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_LONG = 4
# Those of a JPEG's markers that begin a frame, and those that stand alone, without a length.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})

Sizes = list[tuple[int, int]]


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read an image; its name is its title. Pages locate where there are several.

    The content decides which kind of image it is, since many are named after another kind.

    Raises:
        ParseError: `wrong_type`, `corrupt`, `too_long` (pixels, pages or characters), `needs_ocr` (tesseract is not
            there, or off), `image_without_text`, and those of `recognition.recognise`.
    """
    media_type, sizes = _look_at(data, limits)
    limits.check_pages(len(sizes))
    for width, height in sizes:
        if width * height > _MAX_PIXELS:
            raise ParseError("too_long", f"The image has {width:,} x {height:,} pixels, too many. Make it smaller.")
    require(limits)
    pages = recognise(data, limits, pages=len(sizes))
    texts: list[str] = []
    blocks: list[Block] = []
    length = 0
    for number, page in enumerate(pages, 1):
        locator = Locator(page=number) if len(pages) > 1 else Locator()
        for paragraph in page.paragraphs:
            start = length + len(_GAP) if texts else 0
            length = start + len(paragraph)
            limits.check_characters(length)
            texts.append(paragraph)
            blocks.append(Block(start, length, "paragraph", (), locator))
    if not texts:
        raise ParseError("image_without_text", "No text was found in the image. There is nothing to do about it.")
    attributes = {"ocr": True, "ocr_confidence": mean_confidence(pages)}
    return Document(name, _GAP.join(texts), tuple(blocks), media_type, attributes)


def _look_at(data: bytes, limits: ParserLimits) -> tuple[str, Sizes]:
    """Media type, and width and height of each page."""
    for magic, media_type, measure in _KINDS:
        if data.startswith(magic) and (media_type != "image/webp" or data[8:12] == b"WEBP"):
            try:
                sizes = measure(data, limits)
            except (struct.error, IndexError) as error:
                raise ParseError("corrupt", "The image breaks off in its header. Save it anew.") from error
            if not sizes or any(width <= 0 or height <= 0 for width, height in sizes):
                raise ParseError("corrupt", "The image does not say how large it is. Save it anew.")
            return media_type, sizes
    raise ParseError("wrong_type", "The name says image, but the content is none. Give it its right suffix.")


def _png(data: bytes, _: ParserLimits) -> Sizes:
    return [struct.unpack_from(">II", data, 16)] if data[12:16] == b"IHDR" else []


def _gif(data: bytes, _: ParserLimits) -> Sizes:
    return [struct.unpack_from("<HH", data, 6)]


def _bmp(data: bytes, _: ParserLimits) -> Sizes:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:  # OS/2 1.x
        return [struct.unpack_from("<HH", data, 18)]
    width, height = struct.unpack_from("<ii", data, 18)
    return [(width, abs(height))]  # negative where rows go from top to bottom


def _jpeg(data: bytes, _: ParserLimits) -> Sizes:
    position = 2
    while position < len(data):
        if data[position] != 0xFF:
            return []
        marker = data[position + 1]
        if marker == 0xFF:  # filling
            position += 1
        elif marker in _JPEG_ALONE:
            position += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return [(width, height)]
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)
            position += 2 + length
    return []


def _webp(data: bytes, _: ParserLimits) -> Sizes:
    kind = data[12:16]
    if kind == b"VP8X":
        return [(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))]
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return [(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return [(width & 0x3FFF, height & 0x3FFF)]
    return []


def _tiff(data: bytes, limits: ParserLimits) -> Sizes:
    """Each directory of a TIFF is a page, and says where the next one is; 0 says that there is none."""
    order = "<" if data.startswith(b"II") else ">"
    sizes: Sizes = []
    seen: set[int] = set()
    (position,) = struct.unpack_from(order + "I", data, 4)
    while position and position not in seen:
        seen.add(position)
        limits.check_pages(len(seen))
        (count,) = struct.unpack_from(order + "H", data, position)
        entries = position + 2
        numbers = {_TIFF_WIDTH: 0, _TIFF_HEIGHT: 0}
        for at in range(entries, entries + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", data, at)
            if tag in numbers:
                (numbers[tag],) = struct.unpack_from(order + ("I" if kind == _TIFF_LONG else "H"), data, at + 8)
        sizes.append((numbers[_TIFF_WIDTH], numbers[_TIFF_HEIGHT]))
        (position,) = struct.unpack_from(order + "I", data, entries + 12 * count)
    return sizes


# First bytes as strict as tesseract's own: what it does not take for an image it takes for a list of files.
_KINDS: tuple[tuple[bytes, str, Callable[[bytes, ParserLimits], Sizes]], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png", _png),
    (b"\xff\xd8\xff", "image/jpeg", _jpeg),
    (b"II*\0", "image/tiff", _tiff),
    (b"MM\0*", "image/tiff", _tiff),
    (b"BM", "image/bmp", _bmp),
    (b"RIFF", "image/webp", _webp),
    (b"GIF87a", "image/gif", _gif),
    (b"GIF89a", "image/gif", _gif),
)
