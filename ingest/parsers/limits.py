"""What a parser may at most produce; the one part of the ingest settings that travels into the child."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.errors import ParseError

if TYPE_CHECKING:  # settings bring pydantic along, which would double the child's start-up
    from rag.settings import IngestSettings

# Where systems and their package managers put programs; the user's own PATH may lead anywhere.
PROGRAM_FOLDERS = "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin:/opt/local/bin"


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """How much a parser may make of a file, and what else it may do.

    Attributes:
        max_characters: of canonical text.
        max_pages: of a paged format.
        max_entries: parts of an archive, or of a format that is one inside.
        max_expanded_bytes: of all parts of such a file together.
        max_depth: archives and attachments inside of each other.
        read_archives: whether ZIP archives are read, also where they are attached to a mail.
        ocr_languages: what tesseract is to read; empty where images are not read.
        ocr_program: the path of tesseract; empty where there is none.
    """

    max_characters: int
    max_pages: int
    max_entries: int = 10_000
    max_expanded_bytes: int = 400_000_000
    max_depth: int = 2
    read_archives: bool = True
    ocr_languages: str = ""
    ocr_program: str = ""

    @classmethod
    def of(cls, settings: IngestSettings, program_folders: str = PROGRAM_FOLDERS) -> ParserLimits:
        """The limits among the ingest settings; tesseract is looked for in `program_folders`, apart by colons."""
        return cls(
            max_characters=settings.max_document_characters,
            max_pages=settings.max_pages,
            max_entries=settings.max_archive_entries,
            max_expanded_bytes=settings.max_expanded_bytes,
            max_depth=settings.max_archive_depth,
            read_archives=settings.read_archives,
            ocr_languages=settings.ocr_languages if settings.ocr == "auto" else "",
            ocr_program=shutil.which("tesseract", path=program_folders) or "" if program_folders else "",
        )

    @property
    def can_recognise(self) -> bool:
        """Whether text in images is read."""
        return bool(self.ocr_languages and self.ocr_program)

    def check_characters(self, count: int) -> None:
        """Raise ParseError `too_long` when a text of `count` characters is too long."""
        if count > self.max_characters:
            raise ParseError(
                "too_long",
                f"The text has more than {self.max_characters:,} characters. Split the file, or raise "
                "QUOTH_INGEST__MAX_DOCUMENT_CHARACTERS.",
            )

    def check_pages(self, count: int) -> None:
        """Raise ParseError `too_long` when there are too many pages."""
        if count > self.max_pages:
            raise ParseError(
                "too_long",
                f"There are {count:,} pages, more than {self.max_pages:,}. Split the file, or raise "
                "QUOTH_INGEST__MAX_PAGES.",
            )
