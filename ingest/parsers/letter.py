"""A mail as a document: its headers, its text, and what is attached to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ingest.parsers import hypertext, registry
from ingest.parsers.decoding import clean
from ingest.parsers.headings import one_line
from ingest.parsers.joined import join
from ingest.parsers.limits import ParserLimits
from ingest.parsers.lines import split_lines
from rag.documents import AttributeValue, Block, Document
from rag.errors import ParseError

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_HEADER_CHARACTERS = 5_000  # of a list of addresses; nobody looks anything up behind that
# For attachments whose names say nothing. The platform's own table is not the same everywhere.
_SUFFIXES = {
    "text/plain": ".txt", "text/html": ".html", "text/csv": ".csv", "text/markdown": ".md", "text/xml": ".xml",
    "application/pdf": ".pdf", "application/json": ".json", "application/xml": ".xml", "application/rtf": ".rtf",
    "text/rtf": ".rtf",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is attached: bytes, or a mail that was read with the one around it. `name` may be empty."""

    name: str
    media_type: str
    content: bytes | Letter


@dataclass(slots=True)
class Letter:
    """A mail of any format.

    Attributes:
        headers: decoded, by their usual names.
        date: in ISO form, or "".
        texts: the parts to read, in order; each with whether it is HTML.
        attachments: in order.
    """

    headers: dict[str, str] = field(default_factory=dict)
    date: str = ""
    texts: list[tuple[str, bool]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)


def document_of(letter: Letter, name: str, media_type: str, limits: ParserLimits) -> Document:
    """Write a mail: its headers, its text, each attachment that can be read, and the names of those that cannot.

    An attachment's name opens the heading path of its blocks and is their locator's `entry`. Attributes are `from`,
    `date` and `attachments_left_out`, each where there is one. The title is the subject, else `name`.

    Raises:
        ParseError: `too_long`; what is wrong with an attachment is said in the text and in the attributes instead.
    """
    parts = [("", page) for page in (_headers(letter), *(_text(*text, limits) for text in letter.texts)) if page.text]
    left_out: list[str] = []
    left_out_inside: list[str] = []  # which the inner mail says in its own text
    for number, attachment in enumerate(letter.attachments, 1):
        entry = _shown_name(attachment, number)
        try:
            document = _attached(attachment, entry, limits)
        except ParseError as error:
            left_out.append(f"{entry}: {error.reason}")
        else:
            parts.append((entry, document))
            inside = document.attributes.get("attachments_left_out")
            left_out_inside += [f"{entry}/{inside}"] if inside else []
    attributes: dict[str, AttributeValue] = {}
    if letter.headers.get("From"):
        attributes["from"] = one_line(letter.headers["From"])
    if letter.date:
        attributes["date"] = letter.date
    if left_out or left_out_inside:
        attributes["attachments_left_out"] = "; ".join(left_out + left_out_inside)
    if left_out:
        parts.append(("", _paragraph(f"Attachments not read: {'; '.join(left_out)}.")))
    title = one_line(letter.headers.get("Subject", "")) or name
    return join(parts, title, media_type, limits, attributes)


def _headers(letter: Letter) -> Document:
    shown = {name: " ".join(clean(letter.headers.get(name, "")).split()) for name in _HEADERS}
    lines = [f"{name}: {value[:_HEADER_CHARACTERS]}" for name, value in shown.items() if value]
    return _paragraph("\n".join(lines))


def _paragraph(text: str) -> Document:
    return Document("", text, (Block(0, len(text), "paragraph"),) if text else (), "text/plain")


def _text(text: str, is_html: bool, limits: ParserLimits) -> Document:
    if is_html and "<" in text:
        return hypertext.parse(clean(text).encode(), "", limits)
    text = clean(text).replace("\r\n", "\n").replace("\r", "\n").strip()
    lines = split_lines(text)
    blocks = []
    first = 0
    for number in range(len(lines) + 1):
        if number < len(lines) and not lines[number].is_blank:
            continue
        if first < number:
            is_quote = all(line.text.startswith(">") for line in lines[first:number])
            end = lines[number - 1].start + len(lines[number - 1].text)
            start = lines[first].start + len(lines[first].text) - len(lines[first].text.lstrip())
            blocks.append(Block(start, end, "quote" if is_quote else "paragraph"))
        first = number + 1
    return Document("", text, tuple(blocks), "text/plain")


def _shown_name(attachment: Attachment, number: int) -> str:
    """The name without folders, fit to be shown: it never names a file here."""
    name = one_line(clean(attachment.name)).replace("\\", "/").rpartition("/")[2]
    if not name and isinstance(attachment.content, Letter):
        name = one_line(attachment.content.headers.get("Subject", ""))
    return name or f"attachment {number}"


def _attached(attachment: Attachment, entry: str, limits: ParserLimits) -> Document:
    if limits.max_depth <= 0:
        raise ParseError("too_deep", "Attachments are nested too deep. Raise QUOTH_INGEST__MAX_ARCHIVE_DEPTH.")
    inner = replace(limits, max_depth=limits.max_depth - 1)
    if isinstance(attachment.content, Letter):
        return document_of(attachment.content, entry, "message/rfc822", inner)
    name = entry
    if registry.format_of(name) is None:
        is_text = attachment.media_type.startswith("text/")
        name += _SUFFIXES.get(attachment.media_type, ".txt" if is_text else "")
    return registry.parse(attachment.content, name, inner)


def check_parts(count: int, limits: ParserLimits) -> None:
    """Raise ParseError `too_long` when a mail has too many parts."""
    if count > limits.max_entries:
        raise ParseError(
            "too_long",
            f"The mail has more than {limits.max_entries:,} parts. Split it, or raise "
            "QUOTH_INGEST__MAX_ARCHIVE_ENTRIES.",
        )


def joined_names(people: Sequence[tuple[str, str]]) -> str:
    """Names and addresses as headers show them."""
    shown = [
        f"{name} <{address}>" if name and address and name != address else address or name for name, address in people
    ]
    return ", ".join(entry for entry in shown if entry)
