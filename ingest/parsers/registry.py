"""Suffix to parser. Importing this imports no parser: each is loaded in the child that needs it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, cast

from ingest.parsers.headings import one_line
from rag.errors import ParseError

if TYPE_CHECKING:
    from ingest.parsers.limits import ParserLimits
    from rag.documents import Document


class Parser(Protocol):
    """One format's parser."""

    def __call__(self, data: bytes, name: str, limits: ParserLimits) -> Document:
        """Turn a file into a document; `name` is its title for want of a better one. Raises ParseError."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A format family and the recipe that reads it.

    `recipe` goes into every document's generation: raise its number whenever the parser, or a library beneath it,
    makes another text or other blocks of the same bytes, and the next run reads those files anew.
    """

    module: str
    recipe: str
    suffixes: tuple[str, ...]

    def parser(self) -> Parser:
        """Import the parser."""
        return cast(Parser, import_module(self.module).parse)


FORMATS = (
    Format("ingest.parsers.markdown", "markdown-1", (".md", ".markdown", ".mdx")),
    Format("ingest.parsers.plain", "plain-1", (".txt", ".text", ".log", ".vtt", ".srt", ".tex")),
    Format("ingest.parsers.restructured", "restructured-1", (".rst",)),
    Format("ingest.parsers.hypertext", "hypertext-1", (".html", ".htm", ".xhtml")),
    Format("ingest.parsers.pdf", "pdf-1", (".pdf",)),
    Format("ingest.parsers.docx", "docx-1", (".docx",)),
)
_BY_SUFFIX = {suffix: entry for entry in FORMATS for suffix in entry.suffixes}

# Files that projects traditionally write without a suffix, read as plain text.
_BARE_NAMES = frozenset(
    {"readme", "license", "licence", "copying", "notice", "authors", "changelog", "changes", "contributing", "history"}
)


def format_of(name: str) -> Format | None:
    """The format that a file of this name is read as, or None when there is none."""
    path = PurePath(name)
    if not path.suffix and path.name.lower() in _BARE_NAMES:
        return _BY_SUFFIX[".txt"]
    return _BY_SUFFIX.get(path.suffix.lower())


def supported_suffixes() -> tuple[str, ...]:
    """Every suffix that is read, in alphabetical order."""
    return tuple(sorted(_BY_SUFFIX))


def recipe_of(name: str) -> str:
    """The recipe that reads a file of this name. Raises ParseError `unsupported`."""
    return _format(name).recipe


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Parse a file in this process; files from outside go through `ingest.sandbox` instead.

    Args:
        data: the whole file.
        name: its name or path; the suffix chooses the parser.
        limits: what it may produce.

    Returns:
        A document whose text has at least one character that shows.

    Raises:
        ParseError: `unsupported`, `wrong_type`, `corrupt`, `encrypted`, `binary`, `no_text`, `needs_ocr`, `too_long`,
            `too_deep`.
    """
    parser = _format(name).parser()
    document = parser(data, readable_stem(name), limits)
    limits.check_characters(len(document.text))
    if not document.text or document.text.isspace():
        raise ParseError("no_text", "The file is not empty but has no text in it.")
    return replace(document, title=one_line(document.title) or readable_stem(name))


def readable_stem(name: str) -> str:
    """A file's name without folder and suffix, fit for a title: bytes that are no text are shown as U+FFFD."""
    stem = PurePath(name).stem or "untitled"
    shown = stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return one_line("".join(character if character.isprintable() else " " for character in shown)) or "untitled"


def _format(name: str) -> Format:
    found = format_of(name)
    if found is None:
        known = " ".join(supported_suffixes())
        raise ParseError("unsupported", f"No parser reads files like {readable_stem(name)!r}. Read are: {known}.")
    return found
