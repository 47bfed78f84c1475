"""Spreadsheets: Excel of all ages and OpenDocument, read by calamine; the content decides which of them it is.

Each visible sheet is a heading and then its tables: a run of rows without an empty one between them is a block, a row
is a line, and ` | ` stands between cells. Passages are located by the sheet's name and its row numbers, from 1.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator, Sequence

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
    WorksheetNotFound,
)

from ingest.parsers.decoding import clean
from ingest.parsers.headings import one_line
from ingest.parsers.limits import ParserLimits
from ingest.parsers.office import (
    OLE,
    ZIP,
    own_date,
    own_title,
    package_kind,
    refuse_encrypted,
    stream_start,
    wrong_type,
)
from ingest.parsers.packages import check_package, check_xml, pieces
from rag.documents import Block, Document, Locator
from rag.errors import ParseError

OPEN_DOCUMENT = "application/vnd.oasis.opendocument.spreadsheet"
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EXCEL_97 = "application/vnd.ms-excel"

_SPACE = re.compile(r"\s+")
_BETWEEN = " | "
_EMPTY_CELLS = re.compile(r"(?: \| )*")
_WHOLE_BELOW = 1e15  # a double has no more digits
_MAX_GRID = 10_000_000  # cells, with the empty ones between: calamine holds them all, at 24 bytes each
_SHEET_PART = re.compile(r"xl/worksheets/[^/]+\.xml", re.IGNORECASE)
_CELL = re.compile(rb"<(?:\w{1,20}:)?c\s([^<>]*[^<>/])>(?!</)")
_CELL_PLACE = re.compile(rb"(?:^|\s)r\s*=\s*[\"']([A-Z]{1,3})([0-9]{1,7})[\"']")
_ROW_OR_CELL = re.compile(rb"<table:(table|table-row|table-cell|covered-table-cell)(?=[\s/>])([^<>]*)>")
_REPEATED = re.compile(rb"\btable:number-(?:rows|columns)-repeated\s*=\s*[\"']([0-9]{1,9})[\"']")
_CellValue = int | float | str | bool | datetime.time | datetime.date | datetime.datetime | datetime.timedelta


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a spreadsheet; the title is the document's own, else its name.

    Numbers are written as the file stores them, not as its formats show them: 0.25 for 25 %. Hidden sheets, formulas
    that were never calculated, and cells that hold an error have no text.

    Raises:
        ParseError: `wrong_type`, `encrypted`, `corrupt`, `too_long`, `unsupported`.
    """
    if data.startswith(OLE):
        refuse_encrypted(data)
        if stream_start(data, "Workbook") is None and stream_start(data, "Book") is None:
            raise wrong_type(data, "a spreadsheet")
        title, media_type, told = "", EXCEL_97, dict[str, str]()
    elif data.startswith(ZIP):
        title, media_type, told = _check_package(data, limits)
    else:
        raise wrong_type(data, "a spreadsheet")
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(data)) as workbook:
            table = _Tables(limits)
            for sheet in _visible_sheets(workbook):
                table.add(sheet)
    except PasswordError as error:
        raise ParseError("encrypted", "The spreadsheet has a password. Save it without one.") from error
    except (CalamineError, ValueError, OSError) as error:
        raise ParseError(
            "corrupt", f"The spreadsheet cannot be read: {error}. Open it in the program that wrote it, save it anew."
        ) from error
    return Document(title or name, table.text, tuple(table.blocks), media_type, told)


def _check_package(data: bytes, limits: ParserLimits) -> tuple[str, str, dict[str, str]]:
    """Title, media type and date of a package that is a spreadsheet and holds no sheet too large for the memory."""
    with check_package(data, limits) as archive:
        kind = package_kind(archive)
        if kind.startswith(OPEN_DOCUMENT):
            _check_extent(_extents_of_opendocument(archive))
            return own_title(archive), OPEN_DOCUMENT, own_date(archive)
        if "spreadsheetml" not in kind and "ms-excel" not in kind:
            raise wrong_type(data, "a spreadsheet")
        _check_extent(_extents_of_excel(archive))
        return own_title(archive), EXCEL, own_date(archive)


def _visible_sheets(workbook: CalamineWorkbook) -> Iterator[CalamineSheet]:
    for number, sheet in enumerate(workbook.sheets_metadata):
        if sheet.visible == SheetVisibleEnum.Visible and sheet.typ == SheetTypeEnum.WorkSheet:
            try:
                yield workbook.get_sheet_by_index(number)
            except WorksheetNotFound as error:
                raise ParseError("corrupt", f"The sheet {one_line(sheet.name)!r} is missing. Save it anew.") from error


class _Tables:
    """Writes sheets behind one another."""

    def __init__(self, limits: ParserLimits) -> None:
        self.blocks: list[Block] = []
        self._limits = limits
        self._parts: list[str] = []
        self._length = 0

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, sheet: CalamineSheet) -> None:
        """Add a sheet, unless it is empty."""
        name = one_line(clean(sheet.name))
        path = (name,) if name else ()
        is_new = True
        for first, lines in _runs(sheet, self._limits):
            if is_new and name:
                self._write(name, Block(0, 0, "heading", path, Locator(sheet=name)))
            is_new = False
            rows = first, first + len(lines) - 1
            self._write("\n".join(lines), Block(0, 0, "table", path, Locator(sheet=name or None, rows=rows)))

    def _write(self, text: str, block: Block) -> None:
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        self._limits.check_characters(self._length)
        self.blocks.append(Block(start, self._length, block.kind, block.headings, block.locator))


def _runs(sheet: CalamineSheet, limits: ParserLimits) -> Iterator[tuple[int, list[str]]]:
    """The runs of rows that are not empty, as lines, each run with the number of its first row."""
    lines: list[str] = []
    length = 0
    number = 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        line = _line(row)
        if line:
            length += len(line)
            limits.check_characters(length)
            lines.append(line)
        elif lines:
            yield number - len(lines), _moved_left(lines)
            lines = []
    if lines:
        yield number - len(lines) + 1, _moved_left(lines)


def _line(row: Sequence[_CellValue]) -> str:
    cells = [_shown(value) for value in row]
    while cells and not cells[-1]:
        cells.pop()
    return _BETWEEN.join(cells)


def _moved_left(lines: list[str]) -> list[str]:
    """Lines without the columns that are empty in all of them and stand before the first that is not."""
    empty = min(found.end() for line in lines if (found := _EMPTY_CELLS.match(line)))
    return [line[empty:].lstrip() for line in lines]


def _shown(value: _CellValue) -> str:  # noqa: PLR0911 - one type a branch
    """A cell's value as people write it."""
    if isinstance(value, str):
        return _SPACE.sub(" ", clean(value)).strip() if value else ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _WHOLE_BELOW else f"{value:.15g}"
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
        return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if isinstance(value, datetime.datetime):
        value = (value + datetime.timedelta(microseconds=500_000)).replace(microsecond=0)
        return value.isoformat(" ").removesuffix(" 00:00:00")
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="seconds")
    return value.isoformat()


def _check_extent(extents: Iterator[tuple[int, int]]) -> None:
    """calamine holds a sheet as a grid from its first cell to its last, and takes the process down when it cannot."""
    for rows, columns in extents:
        if rows * columns > _MAX_GRID:
            raise ParseError(
                "too_long",
                f"A sheet reaches over {rows:,} rows and {columns:,} columns, more than {_MAX_GRID:,} cells. Clear the "
                "cells far from the others, or split the sheet.",
            )


def _extents_of_excel(archive: zipfile.ZipFile) -> Iterator[tuple[int, int]]:
    """Rows and columns between the outermost cells that hold something, of each sheet as far as it was read."""
    for info in archive.infolist():
        if not _SHEET_PART.fullmatch(info.filename):
            continue
        top, bottom, left, right = 1 << 30, 0, 1 << 30, 0
        for markup in _markup(archive, info):
            for cell in _CELL.finditer(markup):
                place = _CELL_PLACE.search(cell.group(1))
                if place:
                    row, column = int(place.group(2)), _column(place.group(1))
                    top, bottom = min(top, row), max(bottom, row)
                    left, right = min(left, column), max(right, column)
            if bottom:
                yield bottom - top + 1, right - left + 1


def _extents_of_opendocument(archive: zipfile.ZipFile) -> Iterator[tuple[int, int]]:
    """As above, by the numbers of repeated rows and cells; from the first row and column on."""
    info = archive.NameToInfo.get("content.xml")
    if info:
        check_xml(archive, info)  # calamine may read on for ever where an element is not closed
    row = last_row = column = last_column = 0
    for markup in _markup(archive, info) if info else ():
        for tag in _ROW_OR_CELL.finditer(markup):
            found = _REPEATED.search(tag.group(2))
            count = int(found.group(1)) if found else 1
            if tag.group(1) == b"table":
                row = last_row = last_column = 0
            elif tag.group(1) == b"table-row":
                row, column = row + count, 0
            else:
                column += count
                if b"value-type" in tag.group(2):
                    last_row, last_column = row, max(last_column, column)
        yield last_row, last_column


def _markup(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The part in pieces that end before a tag."""
    rest = b""
    for piece in pieces(archive, info):
        rest += piece
        end = rest.rfind(b"<", 0, max(rest.rfind(b"<"), 0))
        if end > 0:
            yield rest[:end]
            rest = rest[end:]
    yield rest


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
