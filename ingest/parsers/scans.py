"""Scanned pages of a PDF: found, drawn by PDFium in grey, and read by tesseract."""

from __future__ import annotations

import math

import pypdfium2
import pypdfium2.raw as pdfium

from ingest.parsers.limits import ParserLimits
from ingest.parsers.recognition import RecognisedPage, recognise

_DPI = 200
_POINTS_PER_INCH = 72
_TURNS = (180, 90, 270)  # degrees
_READABLE = 70  # percent of confidence; words upside down are read as others, at some 45
_MAX_PIXELS = 30_000_000  # A2 at 200 dpi; larger pages are drawn smaller


def has_image(document: pypdfium2.PdfDocument, number: int) -> bool:
    """Whether there is an image on a page, counted from 0."""
    page = document[number]
    try:
        return any(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3))
    finally:
        page.close()


def read_scan(document: pypdfium2.PdfDocument, number: int, limits: ParserLimits) -> RecognisedPage:
    """Read the page `number`, counted from 0, as it looks, or turned where that alone makes it readable.

    Raises:
        ParseError: what `recognition.recognise` raises.
    """
    as_it_stands = RecognisedPage()
    for degrees in (0, *_TURNS):
        drawn, dpi = _draw(document, number, degrees)
        if not drawn:
            break
        page = recognise(drawn, limits, dpi=dpi)[0]
        if page.confidence >= _READABLE:
            return page
        if not degrees:
            as_it_stands = page
    return as_it_stands


def _draw(document: pypdfium2.PdfDocument, number: int, degrees: int) -> tuple[bytes, int]:
    """A page as a PNM file and its dots per inch; no bytes where the page is of one colour."""
    page = document[number]
    try:
        width, height = page.get_size()
        inches = width * height / _POINTS_PER_INCH**2
        dpi = min(_DPI, int(math.sqrt(_MAX_PIXELS / inches))) if inches > 0 else _DPI
        bitmap = page.render(scale=max(dpi, 1) / _POINTS_PER_INCH, rotation=degrees, grayscale=True)
        try:
            rows = memoryview(bitmap.buffer).cast("B")
            columns, stride = bitmap.width, bitmap.stride
            pixels = b"".join(rows[at : at + columns] for at in range(0, bitmap.height * stride, stride))
            header = b"P5 %d %d 255\n" % (columns, bitmap.height)
        finally:
            bitmap.close()
    finally:
        page.close()
    return (header + pixels if pixels.strip(pixels[:1]) else b""), dpi
