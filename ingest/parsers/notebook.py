"""Jupyter notebooks: cells in order, each code cell with the text that it put out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ingest.parsers.decoding import clean, decode
from ingest.parsers.headings import HeadingPath, one_line
from ingest.parsers.limits import ParserLimits
from ingest.parsers.markdown import Scan
from rag.documents import Block, Document, Locator
from rag.errors import ParseError

MEDIA_TYPE = "application/x-ipynb+json"

_MAX_OUTPUT_CHARACTERS = 2_000
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_HASHES = re.compile(r"\s*(#+)")


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read a notebook of nbformat 3 or later.

    Markdown cells stand as they are, their headings reach over the cells behind them. Of each output the plain text
    is read, up to 2,000 characters; images and HTML are left out. Locators are cells, counted from 1. The title is
    the first heading of level 1, else that of the notebook's metadata, else the file's name.

    Raises:
        ParseError: `binary`, `wrong_type`, `corrupt`, `too_deep`, `too_long`.
    """
    notebook = _loaded(decode(data))
    pages = _Pages(limits)
    for number, cell in enumerate(_cells(notebook), 1):
        pages.add_cell(cell, number)
    metadata = notebook.get("metadata")
    own_title = metadata.get("title") if isinstance(metadata, dict) else None
    title = pages.title or (one_line(clean(own_title)) if isinstance(own_title, str) else "") or name
    return Document(title, "\n\n".join(pages.parts), tuple(pages.blocks), MEDIA_TYPE)


def _loaded(text: str) -> dict[str, Any]:
    if not text.strip():
        raise ParseError("no_text", "The file is not empty but has no text in it.")
    try:
        notebook = json.loads(text, parse_int=str, parse_float=str)  # none is needed, and a long one takes minutes
    except RecursionError as error:
        raise ParseError("too_deep", "The notebook's JSON is nested too deep. Save it in Jupyter anew.") from error
    except json.JSONDecodeError as error:
        raise ParseError(
            "corrupt", f"This is no JSON at line {error.lineno}, column {error.colno}. Save it in Jupyter anew."
        ) from error
    if not isinstance(notebook, dict) or not any(
        isinstance(notebook.get(key), list) for key in ("cells", "worksheets")
    ):
        raise ParseError("wrong_type", "The name says notebook, but there are no cells. Give it its right suffix.")
    return notebook


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sheets = notebook["worksheets"] if isinstance(notebook.get("worksheets"), list) else [notebook]
    for sheet in sheets:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        for cell in cells if isinstance(cells, list) else ():
            yield cell if isinstance(cell, dict) else {}  # a cell that is none still counts


class _Pages:
    """The text and blocks of the cells so far."""

    def __init__(self, limits: ParserLimits) -> None:
        self.parts: list[str] = []
        self.blocks: list[Block] = []
        self.title = ""
        self._limits = limits
        self._length = 0
        self._path = HeadingPath()

    def add_cell(self, cell: dict[str, Any], number: int) -> None:
        """Add a cell and what it put out."""
        source = _text(cell.get("source", cell.get("input"))).strip("\n").rstrip()
        kind = cell.get("cell_type")
        if kind == "heading":  # of nbformat 3
            level = str(cell.get("level", "1"))
            source = "#" * (int(level) if level in "123456" else 1) + " " + one_line(source)
        if kind in ("markdown", "heading"):
            self._add_markdown(source, number)
        else:
            self._add(source, [Block(0, len(source), "code", self._path.path)], number)
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            shown = _shown(output) if isinstance(output, dict) else ""
            self._add(shown, [Block(0, len(shown), "code", self._path.path)], number)

    def _add_markdown(self, source: str, number: int) -> None:
        scan = Scan(source, located=False)
        blocks = []
        for block in scan.blocks:
            if block.kind == "heading":
                self._enter(source[block.start : block.end], block.headings[-1] if block.headings else "")
            blocks.append(replace(block, headings=self._path.path))
        self._add(source, blocks, number)

    def _enter(self, markup: str, heading: str) -> None:
        """Open a heading, whose level the scan of a single cell tells by its markup alone."""
        hashes = _HASHES.match(markup)
        underlined = 1 if markup.rstrip().endswith("=") else 2
        level = len(hashes.group(1)) if hashes else underlined
        self._path.enter(level, heading)
        if level == 1 and not self.title:
            self.title = heading

    def _add(self, text: str, blocks: list[Block], number: int) -> None:
        if not text or text.isspace():
            return
        shift = self._length + 2 if self.parts else 0
        locator = Locator(cell=number)
        self.blocks += (
            Block(block.start + shift, block.end + shift, block.kind, block.headings, locator) for block in blocks
        )
        self.parts.append(text)
        self._length = shift + len(text)
        self._limits.check_characters(self._length)


def _shown(output: dict[str, Any]) -> str:
    """An output's plain text; "" for one that has only images or HTML."""
    kind = output.get("output_type")
    if kind in ("error", "pyerr"):
        text = f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
    elif kind == "stream":
        text = _text(output.get("text"))
    else:
        bundle = output.get("data")  # nbformat 3 has the texts in the output itself
        text = _text(bundle.get("text/plain")) if isinstance(bundle, dict) else _text(output.get("text"))
    text = text.strip("\n").rstrip()
    if len(text) > _MAX_OUTPUT_CHARACTERS:
        text = text[:_MAX_OUTPUT_CHARACTERS].rstrip() + "\n…"
    return text


def _text(value: object) -> str:
    """A text of a notebook: a string, or its lines."""
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    text = _COLOUR.sub("", value) if isinstance(value, str) else ""
    return clean(text.replace("\r\n", "\n"))
