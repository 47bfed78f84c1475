"""CSV and TSV: one line a record, one table block for each run of records without an empty one between them."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from ingest.parsers.decoding import decode
from ingest.parsers.limits import ParserLimits
from rag.documents import Block, Document, Locator
from rag.errors import ParseError

_DELIMITERS = "\t;|,"  # where two divide a file equally well, the one that prose uses less
_NONE = "\x1f"  # decoding leaves no control character in a text, so this one divides nothing
_SAMPLE_CHARACTERS = 1 << 16
_LEAST_SHARE = 0.5  # of the sample's records that a delimiter divides into equally many cells
_MAX_LINES = 1_000  # of one record; a quote that stays open for longer was none
_MAX_TABLES = 10_000
_NAMED_DELIMITER = re.compile(r"sep=([\t;|,])\s*$", re.IGNORECASE)  # a first line that Excel writes and reads
_OTHER_TYPE = re.compile(r"\s*(?:<!doctype|<html|<\?xml|%pdf-|\{\\rtf)", re.IGNORECASE)


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a table of text whose cells are divided by a comma, a semicolon, a tab or a bar.

    The canonical text has one line a record: cells joined by ` | `, white space inside of them as one space, empty
    cells at the end left out. `rows` count records from 1, which are lines where no cell has more than one; in a file
    that is empty after every record or so, the empty ones are not counted.

    Raises:
        ParseError: `binary`, `wrong_type`, `too_long`.
    """
    text = decode(data).replace("\r\r\n", "\n")
    if _OTHER_TYPE.match(text):
        raise ParseError("wrong_type", "The name says CSV, but the content is markup. Give it its right suffix.")
    limits.check_characters(len(text) // 8)  # quotes and empty cells go, but not more than that
    csv.field_size_limit(len(text) + 2)  # of the csv module's own, too low for a long cell
    delimiter, skipped = _delimiter_of(text)
    tables = _tables(_lines_of_records(text, delimiter, skipped, limits), skipped)
    parts, blocks, length = [], [], 0
    for first, lines in tables:
        table = "\n".join(lines)
        blocks.append(Block(length, length + len(table), "table", (), Locator(rows=(first, first + len(lines) - 1))))
        parts.append(table)
        length += len(table) + 2
    limits.check_characters(length - 2)
    media_type = "text/tab-separated-values" if delimiter == "\t" else "text/csv"
    return Document(name, "\n\n".join(parts), tuple(blocks), media_type)


def _delimiter_of(text: str) -> tuple[str, int]:
    """The delimiter, and how many lines at the top only name it."""
    named = _NAMED_DELIMITER.match(text[:20].split("\n", 1)[0])
    if named:
        return named.group(1), 1
    sample = text[:_SAMPLE_CHARACTERS]
    if len(sample) < len(text):
        sample = sample[: sample.rfind("\n") + 1] or sample
    shares = {delimiter: _share_divided(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: round(shares[delimiter], 2))
    if shares[best] >= _LEAST_SHARE or (shares[best] and best in sample.split("\n", 1)[0]):
        return best, 0
    return _NONE, 0


def _share_divided(sample: str, delimiter: str) -> float:
    """How many of the records have the commonest number of cells above one; the first one tells the columns, too."""
    widths = [len(cells) for cells in _records(io.StringIO(sample, newline=None), delimiter) if any(cells)]
    counts = Counter(width for width in widths if width > 1)
    return max(counts.values()) / len(widths) if counts else 0.0


def _lines_of_records(text: str, delimiter: str, skipped: int, limits: ParserLimits) -> list[str]:
    """A line for each record, "" for an empty one."""
    source = io.StringIO(text, newline=None)
    for _ in range(skipped):
        next(source)
    lines: list[str] = []
    length = 0
    for cells in _records(source, delimiter):
        shown = [" ".join(cell.split()) for cell in cells]
        while shown and not shown[-1]:
            shown.pop()
        line = " | ".join(shown).lstrip(" ")
        lines.append(line)
        length += len(line) + 1
        if not len(lines) % 1024:
            limits.check_characters(length)
    limits.check_characters(length - 1)
    return lines


def _records(source: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    """The cells of each record; every record has at least one.

    Only lines with a quote go through the csv module, strictly: a quote that opens a cell and is not closed before
    a delimiter or a line's end is read as a character of its line, so that it swallows nothing behind it.
    """
    pending: list[str] = []  # lines that were read ahead, the next one last
    while True:
        line = pending.pop() if pending else next(source, None)
        if line is None:
            return
        if '"' not in line:
            yield line.rstrip("\n").split(delimiter)
            continue
        taken: list[str] = []
        reader = csv.reader(
            _take(line, pending, source, taken), delimiter=delimiter, strict=True, skipinitialspace=True
        )
        try:
            yield next(reader) or [""]
        except csv.Error:
            pending.extend(reversed(taken[1:]))
            yield _cells_of_line(line, delimiter)


def _take(line: str, pending: list[str], source: Iterator[str], taken: list[str]) -> Iterator[str]:
    """The line and those behind it, each noted in `taken`, as long as the csv module asks for more."""
    following: str | None = line
    while following is not None and len(taken) < _MAX_LINES:
        taken.append(following)
        yield following
        following = pending.pop() if pending else next(source, None)
    if following is not None:
        pending.append(following)


def _cells_of_line(line: str, delimiter: str) -> list[str]:
    """The cells of a line whose quotes are broken: as the csv module forgives it, else with quotes as characters."""
    after = "\x1e"  # a record of its own, unless a quote is open before it
    forgiven = list(csv.reader([line, after], delimiter=delimiter, skipinitialspace=True))
    if forgiven[-1] == [after]:
        return forgiven[0]
    return line.rstrip("\n").split(delimiter)


def _tables(lines: Sequence[str], skipped: int) -> list[tuple[int, list[str]]]:
    """Each run of lines that are not empty, behind the number of its first record."""
    count = sum(1 for at, line in enumerate(lines) if line and not (at and lines[at - 1]))
    shown = sum(1 for line in lines if line)
    if count > _MAX_TABLES or (count > 2 and shown < 1.5 * count):  # double-spaced: one table
        return [(1 + skipped, [line for line in lines if line])]
    tables: list[tuple[int, list[str]]] = []
    goes_on = False
    for number, line in enumerate(lines, 1 + skipped):
        if line and goes_on:
            tables[-1][1].append(line)
        elif line:
            tables.append((number, [line]))
        goes_on = bool(line)
    return tables
