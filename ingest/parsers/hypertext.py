"""HTML: a walk over the parsed tree writes readable text and its blocks; what browsers do not show is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.parsers.dates import told_date
from ingest.parsers.decoding import clean, decode
from ingest.parsers.headings import one_line
from ingest.parsers.limits import ParserLimits
from ingest.parsers.transcript import Transcript
from rag.documents import Document
from rag.errors import ParseError

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)|<!--.*?-->", re.DOTALL)
_MAX_DEPTH = 5_000  # the tree is built in time that grows with the square of its depth
# Tags that may stay open or have no end: they say nothing of depth.
_OFTEN_OPEN = frozenset(
    {
        "area", "base", "body", "br", "col", "colgroup", "dd", "dt", "embed", "head", "hr", "html", "img", "input",
        "li", "link", "meta", "optgroup", "option", "p", "param", "rp", "rt", "source", "tbody", "td", "tfoot", "th",
        "thead", "tr", "track", "wbr",
    }
)  # fmt: skip
_NEVER_SHOWN = frozenset(
    {
        "audio", "button", "canvas", "datalist", "dialog", "embed", "head", "iframe", "input", "map", "math",
        "noscript", "object", "script", "select", "style", "svg", "template", "textarea", "video",
    }
)  # fmt: skip
_BOILERPLATE = frozenset({"nav", "footer"})
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
# Names of `<meta>` that tell a page's date, those of its last change first.
_DATES = (
    "article:modified_time", "og:updated_time", "dcterms.modified", "dc.date.modified", "last-modified",
    "article:published_time", "dcterms.date", "dc.date", "dcterms.created", "dc.date.created", "date",
)  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CONTAINERS = {"ul": "list", "ol": "list", "dl": "list", "table": "table", "blockquote": "quote", "pre": "code"}
_LINES = frozenset(
    {
        "address", "article", "aside", "center", "details", "dir", "div", "fieldset", "figcaption", "figure", "footer",
        "form", "header", "hr", "main", "menu", "nav", "p", "section", "summary",
    }
)  # fmt: skip
_ITEMS = frozenset({"li", "dt", "dd", "tr", "caption"})


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Read an HTML page.

    The canonical text is what a reader sees, white space collapsed as browsers do it: a blank line between blocks,
    `- ` before list items, ` | ` between cells, preformatted text as it is. Navigation and the page's footer are left
    out unless nothing else has text. The title is the first h1, else `<title>`, else the file's name.

    Raises:
        ParseError: `binary`, `wrong_type`, `too_long`, `too_deep`, `no_text`.
    """
    markup = decode(data, markup=True)
    limits.check_characters(len(markup) // 20)  # markup outweighs text, but not without end
    if "<" not in markup:
        raise ParseError("wrong_type", "The name says HTML, but there is no markup in it. Give it its right suffix.")
    _check_depth(markup)
    tree = LexborHTMLParser(markup)
    transcript = Transcript(limits)
    if tree.root is not None:
        _walk(tree.root, transcript, boilerplate=False)
        if transcript.is_empty:
            _walk(tree.root, transcript, boilerplate=True)
    title = transcript.title or _title(tree) or name
    return Document(title, transcript.text, tuple(transcript.blocks), "text/html", _own_date(tree))


def _check_depth(markup: str) -> None:
    depth = 0
    for tag in _TAG.finditer(markup):
        if tag.group(2) and tag.group(2).lower() not in _OFTEN_OPEN:
            depth = max(depth - 1, 0) if tag.group(1) else depth + 1
            if depth > _MAX_DEPTH:
                raise ParseError("too_deep", f"Elements are nested more than {_MAX_DEPTH:,} deep, or never closed.")


def _own_date(tree: LexborHTMLParser) -> dict[str, str]:
    said: dict[str, str | None] = {}
    for node in tree.css("meta"):
        name = node.attributes.get("property") or node.attributes.get("name") or node.attributes.get("http-equiv") or ""
        said.setdefault(name.lower(), node.attributes.get("content"))
    return told_date(*(said.get(name) for name in _DATES))


def _title(tree: LexborHTMLParser) -> str:
    node = tree.css_first("title")
    return one_line(clean(node.text())) if node else ""


def _walk(root: LexborNode, transcript: Transcript, *, boilerplate: bool) -> None:
    """Send every shown element's begin and end, and every text, to the transcript, without recursion."""
    for node, entering in _visit(root, boilerplate):
        if node.is_text_node:
            transcript.write(clean(node.text_content or ""))
            continue
        tag = node.tag or ""
        if tag in _HEADINGS:
            transcript.heading(_HEADINGS[tag], entering)
        elif tag in _CONTAINERS and not (tag == "table" and _is_layout(node)):
            transcript.container(_CONTAINERS[tag], entering)
        elif tag in _ITEMS:
            transcript.item(tag, entering)
        elif tag in ("td", "th"):
            transcript.cell(entering)
        elif tag in _LINES or (tag == "br" and entering):
            transcript.line(paragraph=tag != "br")
    transcript.finish()


def _visit(root: LexborNode, boilerplate: bool) -> Iterator[tuple[LexborNode, bool]]:
    """Shown nodes in document order: elements on entering (True) and leaving (False), texts once."""
    node: LexborNode | None = root
    while node is not None:
        shown = node.is_text_node or (node.is_element_node and _is_shown(node, boilerplate))
        if shown:
            yield node, True
            child = node.first_child
            if child is not None:
                node = child
                continue
            if not node.is_text_node:
                yield node, False
        while node is not None and node.mem_id != root.mem_id and node.next is None:
            node = node.parent
            if node is not None:
                yield node, False
        node = node.next if node is not None and node.mem_id != root.mem_id else None


def _is_shown(node: LexborNode, boilerplate: bool) -> bool:
    tag = node.tag or ""
    if tag in _NEVER_SHOWN:
        return False
    if tag in _BOILERPLATE and not boilerplate and (tag == "nav" or _is_of_page(node)):
        return False
    attributes = node.attributes
    if not attributes:
        return True
    if "hidden" in attributes or (attributes.get("role") == "navigation" and not boilerplate):
        return False
    if tag == "a" and "headerlink" in (attributes.get("class") or ""):  # the pilcrow behind Sphinx' headings
        return False
    return not _HIDDEN_STYLE.search(attributes.get("style") or "")


def _is_of_page(node: LexborNode) -> bool:
    """Whether a footer is the page's own, not an article's."""
    parent = node.parent
    while parent is not None:
        if parent.tag in ("article", "main", "section", "blockquote"):
            return False
        parent = parent.parent
    return True


def _is_layout(table: LexborNode) -> bool:
    """Whether a table only places things: its cells hold what no data cell holds."""
    if (table.attributes.get("role") or "") == "presentation":
        return True
    return any(inner.mem_id != table.mem_id for inner in table.css("table, h1, h2, h3, form"))
