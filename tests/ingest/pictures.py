"""Pictures of words, and files that hold nothing else, made of bytes here."""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import pypdfium2

from tests.ingest.made import _pdf_file, pdf

_DPI = 150


@dataclass(frozen=True)
class Picture:
    """Grey pixels, row by row."""

    width: int
    height: int
    pixels: bytes


def written(text: str) -> Picture:
    """The upper part of a page that says `text`, as it looks."""
    document = pypdfium2.PdfDocument(pdf([text]))
    bitmap = document[0].render(scale=_DPI / 72, grayscale=True, crop=(0, 560, 0, 0))
    rows = memoryview(bitmap.buffer).cast("B")
    pixels = b"".join(rows[y * bitmap.stride : y * bitmap.stride + bitmap.width] for y in range(bitmap.height))
    picture = Picture(bitmap.width, bitmap.height, bytes(pixels))
    bitmap.close()
    document.close()
    return picture


def drawn() -> Picture:
    """A picture without words: soft waves."""
    pixels = bytes(128 + int(100 * math.sin(x / 40) * math.cos(y / 30)) for y in range(200) for x in range(300))
    return Picture(300, 200, pixels)


def turned(picture: Picture) -> Picture:
    """The picture, a quarter turn clockwise."""
    columns = (picture.pixels[x :: picture.width][::-1] for x in range(picture.width))
    return Picture(picture.height, picture.width, b"".join(columns))


def png(picture: Picture) -> bytes:
    rows = [picture.pixels[y * picture.width : (y + 1) * picture.width] for y in range(picture.height)]
    return png_of(picture.width, picture.height, zlib.compress(b"".join(b"\0" + row for row in rows), 1))


def png_of(width: int, height: int, packed: bytes) -> bytes:
    """A PNG of these sizes, whatever its content is."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", packed) + part(b"IEND", b"")


def bmp(picture: Picture) -> bytes:
    """With the rows from top to bottom, which a negative height says."""
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    filling = b"\0" * (-picture.width % 4)
    rows = b"".join(
        picture.pixels[y * picture.width : (y + 1) * picture.width] + filling for y in reversed(range(picture.height))
    )
    offset = 14 + 40 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset)
    return (
        head
        + struct.pack("<IiiHHIIiiII", 40, picture.width, picture.height, 1, 8, 0, 0, 0, 0, 256, 256)
        + palette
        + rows
    )


def tiff(pictures: Sequence[Picture]) -> bytes:
    """A page for each picture, not compressed."""
    out = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for number, picture in enumerate(pictures):
        tags = {256: picture.width, 257: picture.height, 258: 8, 259: 1, 262: 1, 277: 1, 278: picture.height}
        behind = len(out) + 2 + 12 * (len(tags) + 2) + 4
        tags |= {273: behind, 279: len(picture.pixels)}
        out += struct.pack("<H", len(tags))
        for tag in sorted(tags):
            out += struct.pack("<HHII", tag, 4, 1, tags[tag])
        last = number == len(pictures) - 1
        out += struct.pack("<I", 0 if last else behind + len(picture.pixels))
        out += picture.pixels
    return bytes(out)


def scan(pages: Sequence[Picture | str]) -> bytes:
    """A PDF with a page for each picture, which fills it, and an ordinary one for each text."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{' '.join(f'{4 + 3 * n} 0 R' for n in range(len(pages)))}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, page in enumerate(pages):
        at = 4 + 3 * number
        if isinstance(page, str):
            box, image, stream = (612, 792), "null", f"BT /F1 12 Tf 50 750 Td ({page}) Tj ET" if page else ""
        else:
            box = (page.width * 72 // _DPI, page.height * 72 // _DPI)
            packed = zlib.compress(page.pixels, 1)
            image = (
                f"<< /Type /XObject /Subtype /Image /Width {page.width} /Height {page.height} /ColorSpace /DeviceGray "
                f"/BitsPerComponent 8 /Filter /FlateDecode /Length {len(packed)} >>\nstream\n"
                f"{packed.decode('latin-1')}\nendstream"
            )
            stream = f"q {box[0]} 0 0 {box[1]} 0 0 cm /I Do Q"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {box[0]} {box[1]}] /Contents {at + 1} 0 R "
            f"/Resources << /Font << /F1 3 0 R >> /XObject << /I {at + 2} 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
            image,
        ]
    objects.append("<< >>")
    return _pdf_file(objects)
