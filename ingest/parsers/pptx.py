"""The slides of a PowerPoint package in their order: shapes, tables, charts, diagrams and speaker notes.

Elements are told apart by their local names, since the strict variant of the format has other namespaces.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ingest.parsers.decoding import clean
from ingest.parsers.limits import ParserLimits
from ingest.parsers.office import MADE_UP
from ingest.parsers.packages import read_xml
from ingest.parsers.transcript import Transcript
from rag.errors import ParseError

NAMED_BY_POWERPOINT = re.compile(r"PowerPoint[- ]\w+|Slide 1|Microsoft PowerPoint.*", re.IGNORECASE)

_TITLES = frozenset({"title", "ctrTitle"})
_ON_EVERY_SLIDE = frozenset({"dt", "ftr", "hdr", "sldNum", "sldImg"})
_BULLETS = frozenset({"buChar", "buAutoNum", "buBlip"})
_FIELDS_LEFT_OUT = re.compile(r"slidenum|datetime\d*")
_FILE_NAME = re.compile(r"\S+\.\w{3,4}|(?:picture|image|grafik|bild)?\s*\d*", re.IGNORECASE)
_MAX_DEPTH = 100
_MAX_LEVEL = 8


class Slides:
    """The slides of a package.

    Args:
        archive: the package, checked.
        limits: how much of it may be inflated.

    Attributes:
        parts: paths of the slides in the order of the presentation.
        has_images: whether a slide written so far holds a picture.
    """

    def __init__(self, archive: zipfile.ZipFile, limits: ParserLimits) -> None:
        self._archive = archive
        self._budget = limits.max_expanded_bytes
        self.has_images = False
        main = next((path for kind, path in self._related("").values() if kind == "officeDocument"), "")
        related = self._related(main)
        order = [node for node in self._xml(main).iter() if local(node) == "sldId"]
        self.parts = [related[key][1] for node in order if (key := _reference(node, "id")) in related]

    def write(self, part: str, transcript: Transcript) -> None:
        """Write a slide: its title first, the other shapes as they lie upon each other, then the notes."""
        related = self._related(part)
        shapes = list(_shapes(self._xml(part)))
        titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
        for shape in titles:
            transcript.heading(1, True)
            for paragraph in _descendants(shape, "p"):
                _write_text(paragraph, transcript)
                transcript.line(paragraph=False)
            transcript.heading(1, False)
        for shape in shapes:
            if shape not in titles:
                self._shape(shape, related, transcript)
        for kind, path in related.values():
            if kind == "notesSlide":
                for shape in _shapes(self._xml(path)):
                    if _placeholder(shape) == "body":
                        _write_paragraphs(_descendants(shape, "p"), transcript, bullets=False)

    def _shape(self, shape: Element, related: dict[str, tuple[str, str]], transcript: Transcript) -> None:
        if local(shape) == "pic":
            self.has_images = True
            _write_description(shape, transcript)
        elif local(shape) == "graphicFrame":
            self._graphic(shape, related, transcript)
        elif _placeholder(shape) not in _ON_EVERY_SLIDE:
            paragraphs = list(_descendants(shape, "p"))
            _write_paragraphs(
                iter(paragraphs), transcript, bullets=_placeholder(shape) == "body" and len(paragraphs) > 1
            )

    def _graphic(self, frame: Element, related: dict[str, tuple[str, str]], transcript: Transcript) -> None:
        for node in frame.iter():
            name = local(node)
            if name == "tbl":
                _write_table([[list(_descendants(cell, "p")) for cell in row if local(cell) == "tc"]
                              for row in node if local(row) == "tr"], transcript)  # fmt: skip
            elif name == "chart" and (key := _reference(node, "id")) in related:
                _write_chart(self._xml(related[key][1]), transcript)
            elif name == "relIds" and (key := _reference(node, "dm")) in related:
                points = [node for node in self._xml(related[key][1]).iter() if local(node) == "pt"]
                _write_paragraphs((p for point in points for p in _descendants(point, "p")), transcript, bullets=True)

    def _xml(self, part: str) -> Element:
        return read_xml(self._archive, part, self._budget)

    def _related(self, part: str) -> dict[str, tuple[str, str]]:
        """The kind and path of each part that `part` names, by the id that it gives them."""
        folder, name = posixpath.split(part)
        path = posixpath.join(folder, "_rels", f"{name}.rels")
        if path not in self._archive.NameToInfo:
            return {}
        found = {}
        for node in self._xml(path):
            if node.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, node.get("Target") or "")).lstrip("/")
                found[node.get("Id") or ""] = (node.get("Type") or "").rpartition("/")[2], target
        return found


def local(node: Element) -> str:
    """An element's name without its namespace."""
    return str(node.tag).rpartition("}")[2]


def _reference(node: Element, name: str) -> str:
    """A relationship's id: the attribute of this local name that has a namespace."""
    return next((value for key, value in node.attrib.items() if key.endswith("}" + name)), "")


def _shapes(root: Element, depth: int = 0) -> Iterator[Element]:
    """The shapes of a slide, those in groups one by one; of alternatives the first."""
    if depth > _MAX_DEPTH:
        raise ParseError("too_deep", f"Shapes are grouped more than {_MAX_DEPTH} deep.")
    for node in root:
        name = local(node)
        if name in ("sp", "pic", "graphicFrame"):
            yield node
        elif name == "AlternateContent":
            yield from _shapes(node[0], depth + 1) if len(node) else ()
        elif name in ("cSld", "spTree", "grpSp"):
            yield from _shapes(node, depth + 1)


def _placeholder(shape: Element) -> str:
    """What a shape stands for: "title", "body" and so on; "" when it is no placeholder."""
    for node in shape.iter():
        if local(node) == "ph":
            kind = node.get("type") or "body"
            return "body" if kind == "obj" else kind
    return ""


def _descendants(node: Element, name: str) -> Iterator[Element]:
    return (inner for inner in node.iter() if local(inner) == name)


def _write_text(paragraph: Element, transcript: Transcript, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ParseError("too_deep", f"Text is nested more than {_MAX_DEPTH} deep.")
    for node in paragraph:
        name = local(node)
        if name == "t":
            transcript.write(clean(node.text or ""))
        elif name == "br":
            transcript.line(paragraph=False)
        elif name == "AlternateContent":
            for choice in node[:1]:
                _write_text(choice, transcript, depth + 1)
        elif name != "fld" or not _FIELDS_LEFT_OUT.fullmatch(node.get("type") or ""):
            _write_text(node, transcript, depth + 1)


def _write_paragraphs(paragraphs: Iterator[Element], transcript: Transcript, *, bullets: bool) -> None:
    """Write paragraphs; those with a bullet of their own, or by default where `bullets`, as items of a list."""
    depth = 0
    for paragraph in paragraphs:
        level = _list_level(paragraph, bullets)
        if level and not any((node.text or "").strip() for node in _descendants(paragraph, "t")):
            continue
        for _ in range(abs(level - depth)):
            transcript.container("list", level > depth)
        depth = level
        if level:
            transcript.item("li", True)
            _write_text(paragraph, transcript)
            transcript.item("li", False)
        else:
            transcript.line(paragraph=True)
            _write_text(paragraph, transcript)
            transcript.line(paragraph=True)
    for _ in range(depth):
        transcript.container("list", False)


def _list_level(paragraph: Element, bullets: bool) -> int:
    """How deep in lists a paragraph lies; 0 when it is no item."""
    properties = next((node for node in paragraph if local(node) == "pPr"), None)
    if properties is None:
        return int(bullets)
    names = {local(node) for node in properties}
    if "buNone" in names or not (bullets or names & _BULLETS):
        return 0
    level = properties.get("lvl") or "0"
    return 1 + min(int(level) if level.isdecimal() else 0, _MAX_LEVEL)


def _write_table(rows: list[list[list[Element]]], transcript: Transcript) -> None:
    transcript.container("table", True)
    for row in rows:
        transcript.item("tr", True)
        for cell in row:
            transcript.cell(True)
            for paragraph in cell:
                _write_text(paragraph, transcript)
                transcript.line(paragraph=True)
            transcript.cell(False)
        transcript.item("tr", False)
    transcript.container("table", False)


def _write_chart(root: Element, transcript: Transcript) -> None:
    """A chart's title, and its numbers as a table: a column for each series, a row for each category."""
    chart = next(_descendants(root, "chart"), root)
    for title in (node for node in chart if local(node) == "title"):
        _write_paragraphs(_descendants(title, "p"), transcript, bullets=False)
    series = [{local(node): _points(node) for node in one} for one in _descendants(chart, "ser")]
    categories = next((found for one in series if (found := one.get("cat") or one.get("xVal"))), {})
    values = [one.get("val") or one.get("yVal") or {} for one in series]
    rows = [["", *(" ".join(one.get("tx", {}).values()) for one in series)]]
    for number in sorted({*categories, *(point for one in values for point in one)}):
        rows.append([categories.get(number, ""), *(one.get(number, "") for one in values)])
    transcript.container("table", True)
    for row in rows if len(rows) > 1 else ():
        transcript.item("tr", True)
        for cell in row:
            transcript.cell(True)
            transcript.write(clean(cell))
            transcript.cell(False)
        transcript.item("tr", False)
    transcript.container("table", False)


def _points(node: Element) -> dict[int, str]:
    """The cached values below an element by their index."""
    found = {}
    for point in _descendants(node, "pt"):
        index = point.get("idx") or ""
        if index.isdecimal():
            found[int(index)] = next((value.text or "" for value in _descendants(point, "v")), "")
    return found


def _write_description(picture: Element, transcript: Transcript) -> None:
    """A picture's description, unless it is a file's name or a number."""
    words = next((node.get("descr") or "" for node in _descendants(picture, "cNvPr")), "")
    words = MADE_UP.sub("", words).strip()
    if words and not _FILE_NAME.fullmatch(words):
        transcript.line(paragraph=True)
        transcript.write(clean(words))
        transcript.line(paragraph=True)
