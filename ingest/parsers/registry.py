"""Suffix to parser. Importing this imports no parser: each is loaded in the child that needs it."""

from __future__ import annotations

import hashlib
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
        """Turn a file into a document; `name` is its title for want of a better one. Raises ParseError.

        The name comes without its suffix unless the format `keeps_suffix`.
        """
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
    keeps_suffix: bool = False  # code is known as `retrieval.py`, and the suffix tells its language
    recognises: bool = False  # it may run tesseract: its files may take longer, and depend on tesseract's languages
    holds_files: bool = False  # it reads files by other formats' parsers, and so by their recipes

    def parser(self) -> Parser:
        """Import the parser."""
        return cast(Parser, import_module(self.module).parse)


_CODE = tuple(
    (
        ".py .pyi .js .mjs .cjs .jsx .ts .mts .cts .tsx .java .kt .kts .scala .swift .c .h .cc .cpp .cxx .hpp .hh .cs "
        ".go .rs .rb .php .sh .bash .sql .r .lua .pl .pm .m .jl .css .scss .yaml .yml .toml .ini .cfg .conf .proto "
        ".graphql .tf .vue .svelte .dockerfile .makefile"
    ).split()
)
FORMATS = (
    Format("ingest.parsers.markdown", "markdown-1", (".md", ".markdown", ".mdx")),
    Format("ingest.parsers.plain", "plain-1", (".txt", ".text", ".log", ".vtt", ".srt", ".tex")),
    Format("ingest.parsers.restructured", "restructured-1", (".rst",)),
    Format("ingest.parsers.asciidoc", "asciidoc-1", (".adoc", ".asciidoc")),
    Format("ingest.parsers.tabular", "tabular-1", (".csv", ".tsv", ".tab")),
    Format("ingest.parsers.structured", "json-1", (".json",)),
    Format("ingest.parsers.json_lines", "json-lines-1", (".jsonl", ".ndjson")),
    Format("ingest.parsers.xml_text", "xml-1", (".xml",)),
    Format("ingest.parsers.notebook", "notebook-1", (".ipynb",)),
    Format("ingest.parsers.mail", "mail-1", (".eml",), recognises=True, holds_files=True),
    Format("ingest.parsers.outlook", "outlook-1", (".msg",), recognises=True, holds_files=True),
    Format("ingest.parsers.hypertext", "hypertext-1", (".html", ".htm", ".xhtml")),
    Format("ingest.parsers.pdf", "pdf-2", (".pdf",), recognises=True),
    Format("ingest.parsers.written", "written-1", (".docx", ".doc", ".rtf", ".odt", ".epub")),
    Format("ingest.parsers.slides", "slides-1", (".pptx", ".ppt", ".odp")),
    Format("ingest.parsers.sheets", "sheets-1", (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")),
    Format("ingest.parsers.source_code", "source-code-1", _CODE, keeps_suffix=True),
    Format(
        "ingest.parsers.images",
        "images-1",
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"),
        recognises=True,
    ),
    Format("ingest.parsers.archives", "archives-1", (".zip",), recognises=True, holds_files=True),
)
ARCHIVE_SUFFIXES = (".zip",)  # read only where people ask for it
_BY_SUFFIX = {suffix: entry for entry in FORMATS for suffix in entry.suffixes}

# Files that projects traditionally write without a suffix, and the suffix that they are read as.
_BARE_NAMES = dict.fromkeys(
    ("readme", "license", "licence", "copying", "notice", "authors", "changelog", "changes", "contributing", "history"),
    ".txt",
) | {"dockerfile": ".dockerfile", "containerfile": ".dockerfile", "makefile": ".makefile"}


def format_of(name: str) -> Format | None:
    """The format that a file of this name is read as, or None when there is none."""
    path = PurePath(name)
    return _BY_SUFFIX.get(path.suffix.lower() or _BARE_NAMES.get(path.name.lower(), ""))


def is_picture(name: str) -> bool:
    """Whether a file of this name is an image, whose text is a bonus rather than its purpose."""
    found = format_of(name)
    return found is not None and found.module == "ingest.parsers.images"


def supported_suffixes() -> tuple[str, ...]:
    """Every suffix that is read, in alphabetical order."""
    return tuple(sorted(_BY_SUFFIX))


def recipe_of(name: str, limits: ParserLimits | None = None) -> str:
    """The recipe that reads a file of this name; with `limits`, what tesseract is to read is part of it.

    Raises:
        ParseError: `unsupported`.
    """
    found = _format(name)
    recipe = found.recipe
    if found.holds_files:
        inner = "\0".join(entry.recipe for entry in FORMATS)
        recipe += f";files={hashlib.sha256(inner.encode()).hexdigest()[:8]}"
    if found.recognises and limits is not None and limits.can_recognise:
        recipe += f";ocr={limits.ocr_languages}"
    return recipe


def parse(data: bytes, name: str, limits: ParserLimits) -> Document:
    """Parse a file in this process; files from outside go through `ingest.sandbox` instead.

    Args:
        data: the whole file.
        name: its name or path; the suffix chooses the parser.
        limits: what it may produce.

    Returns:
        A document whose text has at least one character that shows.

    Raises:
        ParseError: `unsupported`, `wrong_type`, `corrupt`, `encrypted`, `binary`, `no_text`, `needs_ocr`,
            `image_without_text`, `too_long`, `too_deep`, `parser_timeout` and `parser_killed` (tesseract).
    """
    found = _format(name)
    if not limits.read_archives and PurePath(name).suffix.lower() in ARCHIVE_SUFFIXES:
        raise ParseError("unsupported", "Archives are not read. QUOTH_INGEST__READ_ARCHIVES=true switches that on.")
    shown = readable_name(PurePath(name).name if found.keeps_suffix else PurePath(name).stem)
    document = found.parser()(data, shown, limits)
    limits.check_characters(len(document.text))
    if not document.text or document.text.isspace():
        raise ParseError("no_text", "The file is not empty but has no text in it.")
    return replace(document, title=one_line(document.title) or shown)


def readable_stem(name: str) -> str:
    """A file's name without folder and suffix, fit for a title."""
    return readable_name(PurePath(name).stem)


def readable_name(name: str) -> str:
    """A name fit for a title: bytes that are no text are shown as U+FFFD."""
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return one_line("".join(character if character.isprintable() else " " for character in shown)) or "untitled"


def _format(name: str) -> Format:
    found = format_of(name)
    if found is None:
        known = " ".join(supported_suffixes())
        raise ParseError("unsupported", f"No parser reads files like {readable_stem(name)!r}. Read are: {known}.")
    return found
